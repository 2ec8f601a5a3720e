"""The code of a learner, or of features, that are only known by what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.features.spec import resolve
from harness.plugins.lookup import classes_behind, learner_of
from harness.running.code import code_digest

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


def code_of_learner(registry: Registry, spec: str) -> str:
    """A digest of the code of the learner that ``spec`` names; empty where it names none."""
    try:
        learner = learner_of(registry, spec)
    except UsageError:
        return ""
    return code_digest(*classes_behind(learner))


def code_of_features(registry: Registry, name: str) -> str:
    """The same for the features of that canonical name."""
    try:
        made = resolve(name, registry.features.values())
    except UsageError:
        return ""
    digest, content = code_digest(type(made), *made.behind), made.content()
    return f"{digest}:{content}" if content else digest
