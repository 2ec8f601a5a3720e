"""The learner that a text names, among those that are registered and what can be imported."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from harness.learners.spec import parse_spec, resolve

if TYPE_CHECKING:
    from harness.learners.base import Learner
    from harness.plugins.registry import Registry


def learner_of(registry: Registry, spec: str) -> Learner:
    """The learner that ``spec`` names. Raises UsageError."""
    name = parse_spec(spec).name
    if registry.learners.claims(name) or "." not in name:
        registry.learners[name]  # its errors know of clashes and of broken plugins
    return resolve(spec, registry.learners.values())


def classes_behind(learner: Learner) -> list[type[Any]]:
    """The learner's class and, where it fits an estimator, the estimator's."""
    factory = getattr(learner, "factory", None)
    made = factory.func if isinstance(factory, partial) else None
    return [type(learner), made] if isinstance(made, type) else [type(learner)]
