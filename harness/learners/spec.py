"""How a learner is named: ``ridge``, ``ridge(penalty=0.1)`` or a scikit-learn import path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.errors import unknown
from harness.learners.imported import classifier, imported
from harness.specs.grammar import Spec, parse
from harness.specs.making import make, plain

if TYPE_CHECKING:
    from harness.learners.base import Learner


def parse_spec(text: str) -> Spec:
    """The learner that ``text`` describes; nothing is evaluated. Raises UsageError."""
    return parse("learner", text)


def resolve(text: str, registry: Mapping[str, type[Learner]]) -> Learner:
    """The learner that ``text`` names: one of ``registry``, else an estimator's import path.

    Raises UsageError for text that is no specification, for a name or path that does not exist, for
    a path that is no class with ``fit`` and ``predict`` or is a regressor, and for parameters that
    the learner does not have or refuses.
    """
    spec = parse_spec(text)
    if spec.name in registry:
        learner: Learner = make("learner", spec, registry[spec.name])
        return learner
    if "." not in spec.name:
        raise unknown("learner", spec.name, registry)
    from harness.learners.estimator import EstimatorLearner

    made: Callable[..., Any] = classifier(spec)
    return EstimatorLearner(partial(made, **spec.kwargs), str(spec))


def canonical(text: str, registry: Mapping[str, type[Learner]]) -> str:
    """The one spelling of all texts that mean the same learner.

    Parameters in alphabetical order, without those at their default: ``ridge`` for
    ``ridge( penalty = 2e-2 )``. Where the default of a registered learner is a float, 1 is 1.0.
    Raises UsageError for a name or path that does not exist.
    """
    return str(_canonical(parse_spec(text), registry))


def _canonical(spec: Spec, registry: Mapping[str, type[Learner]]) -> Spec:
    steps = tuple(_canonical(step, {}) for step in spec.steps)
    spec = Spec(spec.name, spec.kwargs, steps)
    return plain(spec, _find(spec.name, registry), floats=spec.name in registry)


def _find(name: str, registry: Mapping[str, type[Learner]]) -> Callable[..., Any]:
    if name in registry:
        return registry[name]
    if "." not in name:
        raise unknown("learner", name, registry)
    return imported(name, "fit")
