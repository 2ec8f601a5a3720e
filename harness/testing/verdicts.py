"""What can be said of a property: it fails, it says nothing, it cannot be judged yet."""

from __future__ import annotations

import unittest
from dataclasses import dataclass


class NotApplicable(unittest.SkipTest):
    """The property says nothing about what is tried; test runners show the test as skipped."""


class Postponed(NotApplicable):
    """The property cannot be judged while another one, which it builds on, does not hold."""


class NothingAttacked(NotApplicable):
    """No certificate excludes an attack on the small data sets, so none could be contradicted."""


class ConformanceError(AssertionError):
    """Properties that certificates rest on are broken; the message explains each of them."""


@dataclass(frozen=True)
class Failure:
    """One property that does not hold: what was violated, and by which examples."""

    name: str
    found: tuple[str, ...]
    protects: str
    usually: str

    def __str__(self) -> str:
        found = "\n   ".join(self.found)
        return f"{self.name}: {found}\n   Why: {self.protects}\n   Usually: {self.usually}"
