"""The code of a learner that is only known by what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.plugins.lookup import classes_behind, learner_of
from harness.running.code import code_digest

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


def code_of_learner(registry: Registry, spec: str) -> str:
    """A digest of the code of the learner that ``spec`` names; empty where it names none."""
    try:
        return code_digest(*classes_behind(learner_of(registry, spec)))
    except UsageError:
        return ""
