"""A scikit-learn pipeline as a base learner, every step fitted inside each base model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.learners.estimator import Estimator, EstimatorLearner
from harness.learners.imported import classifier, transformer
from harness.specs.grammar import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

_WANTED = (
    "wanted transformers and, last, a classifier, as in "
    "pipeline(sklearn.preprocessing.StandardScaler, sklearn.linear_model.LogisticRegression)"
)


class Pipeline(EstimatorLearner):
    """Transformers and, last, a classifier: scikit-learn's ``make_pipeline`` of these steps.

    A scaler, a selection of features or a projection follows its training examples, so fitted to
    the whole training set it would carry one poisoned example into every base model. Here each base
    model has steps of its own, fitted to its own examples alone: isolation holds as without them.

    ``steps`` are import paths, each with parameters of its own. Raises UsageError for fewer than
    two, for a step that is no transformer, a last one that is no classifier, and for parameters
    that a step does not have or refuses.
    """

    name = "pipeline"
    summary = (
        "scikit-learn transformers and, last, a classifier, all fitted inside each base model, "
        "one model at a time"
    )

    def __init__(self, *steps: Spec) -> None:
        spec = Spec(self.name, {}, steps)
        for step in steps:
            if "." not in step.name:
                raise UsageError(
                    f"{self.name}: the step {step.name!r} is no import path; {_WANTED}"
                )
        if len(steps) < 2:
            raise UsageError(f"learner {str(spec)!r} has fewer than two steps; {_WANTED}")
        classes = [*(transformer(step) for step in steps[:-1]), classifier(steps[-1])]
        made = [(cls, dict(step.kwargs)) for cls, step in zip(classes, steps, strict=True)]
        super().__init__(partial(_pipeline, made), str(spec))
        self.behind = tuple(classes)


def _pipeline(steps: Sequence[tuple[type[Any], dict[str, Any]]]) -> Estimator:
    """A new, unfitted pipeline."""
    from sklearn.pipeline import make_pipeline

    made: Estimator = make_pipeline(*(cls(**kwargs) for cls, kwargs in steps))
    return made
