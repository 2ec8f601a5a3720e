"""What a property is: a check that explains in words how a defense, or features, break it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from harness.testing.verdicts import Failure, NotApplicable, Postponed


class Judged(Protocol):
    """What is tried, with what is known about it already, by the property's name."""

    @property
    def judged(self) -> dict[str, Failure | None]: ...


Check = Callable[[Any], Iterator[str]]
"""Of a bench, of the kind that the properties are about."""

_SHOWN = 3
"""Violations of one property that are told; the others are seldom news."""


@dataclass(frozen=True)
class Property:
    """A check over a bench. Its docstring says which theorem or rule it protects."""

    check: Check
    usually: str
    after: tuple[Property, ...] = ()
    """Properties without which this one would only tell the same again, in other words."""

    @property
    def name(self) -> str:
        """The property's name, in words."""
        return self.check.__name__.replace("_", " ")

    @property
    def protects(self) -> str:
        """Which theorem or rule the property protects, in one line."""
        return " ".join((self.check.__doc__ or "").split())

    def failure(self, bench: Judged) -> Failure | None:
        """What breaks the property; None where it holds. Raises NotApplicable, Postponed."""
        for first in self.after:
            if first.broken(bench):
                raise Postponed(f"cannot be judged while this does not hold: {first.name}")
        if self.name not in bench.judged:
            bench.judged[self.name] = self._failure(bench)
        return bench.judged[self.name]

    def broken(self, bench: Judged) -> bool:
        """Whether it does not hold, or could not be judged yet."""
        try:
            return self.failure(bench) is not None
        except Postponed:
            return True
        except NotApplicable:
            return False

    def _failure(self, bench: Judged) -> Failure | None:
        try:
            found = tuple(islice(self.check(bench), _SHOWN))
        except NotApplicable:
            raise
        except Exception as error:
            return Failure(self.name, (_crash(error),), self.protects, _cause(error))
        return Failure(self.name, found, self.protects, self.usually) if found else None


_CRASHES = (
    "a shape or a type that was assumed (how many labels, how many test examples), or sizes that "
    "`check` should refuse with a UsageError"
)
_FORGOTTEN = (
    "a misspelt name, or something that gather kept on self: certify may run in another process "
    "and has nothing but the parameters and the evidence"
)
_REFUSED = (
    "a bound that was not rounded down to whole numbers or not floored at -1, or arrays that do "
    "not have one value for each test example"
)


def property_of(usually: str, *, after: tuple[Property, ...] = ()) -> Callable[[Check], Property]:
    """Makes a property of a generator of violations; ``usually`` says what is then wrong."""
    return lambda check: Property(check, usually, after)


_HERE = str(Path(__file__).parents[1])
"""The harness: what goes wrong in here was mostly caused by its caller."""


def _cause(error: Exception) -> str:
    """What is usually wrong where such an error is raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ValueError) and any(frame.name == "__post_init__" for frame in frames):
        return _REFUSED  # a certificate does not take these arrays
    return _FORGOTTEN if isinstance(error, AttributeError) else _CRASHES


def _crash(error: Exception) -> str:
    """The error, and where in the code that was called it came about."""
    frames = traceback.extract_tb(error.__traceback__)
    skipped = ("site-packages", _HERE, "<string>")  # the last is the code that dataclasses make
    outside = [f for f in frames if not any(part in f.filename for part in skipped)]
    last = (outside or list(frames))[-1]
    text = " ".join(str(error).split())
    return f"raised {type(error).__name__}: {text} ({last.filename}, line {last.lineno})"
