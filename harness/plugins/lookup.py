"""The learner or features that a text names: registered, or an estimator by its import path."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.features import spec as features_spec
from harness.learners.spec import parse_spec, resolve

if TYPE_CHECKING:
    from harness.features.base import Features
    from harness.learners.base import Learner
    from harness.plugins.registry import Registry


def learner_of(registry: Registry, spec: str) -> Learner:
    """The learner that ``spec`` names. Raises UsageError."""
    name = parse_spec(spec).name
    if registry.learners.claims(name) or "." not in name:
        registry.learners[name]  # its errors know of clashes and of broken plugins
    return resolve(spec, registry.learners.values())


def features_name(registry: Registry, spec: str, example: tuple[int, ...]) -> str:
    """The canonical text of the features that ``spec`` names for examples of that shape.

    ``auto`` is never among the answers. Raises UsageError for what names no features.
    """
    if features_spec.is_auto(spec):
        spec = features_spec.chosen(example)
    registry.features[features_spec.parse_spec(spec).name]  # as with learners
    return features_spec.canonical(spec, registry.features.values())


def features_of(registry: Registry, spec: str, example: tuple[int, ...]) -> Features:
    """The features that ``spec`` names for examples of that shape.

    Raises UsageError for what names none, and where the examples have no such features.
    """
    name = features_name(registry, spec, example)
    features = features_spec.resolve(name, registry.features.values())
    features.check(example)
    return features


@dataclass(frozen=True)
class Installed:
    """What is installed, as :class:`harness.defense.Lookup`, for examples of one shape."""

    registry: Registry
    example: tuple[int, ...]

    def learner(self, spec: str) -> Learner:
        """The learner that ``spec`` names. Raises UsageError."""
        return learner_of(self.registry, spec)

    __call__ = learner
    """Before features were plugins, ``blocks`` was given a function."""

    def features(self, spec: str) -> Features:
        """The features that ``spec`` names. Raises UsageError."""
        return features_of(self.registry, spec, self.example)


def classes_behind(learner: Learner) -> list[type[Any] | ModuleType]:
    """The learner's class, and what else decides what it fits: an estimator's class, the module
    of a user's function.
    """
    return [type(learner), *learner.behind]
