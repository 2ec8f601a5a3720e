"""How base models are fitted: many at once, each from its own examples and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional

FIXED_LABEL = 0
"""What a base model predicts that has nothing to go by: the first label of the domain, whatever the
training set holds."""

ENVIRONMENT = (OSError, ImportError)
"""Errors of the machine and not of the examples: no base model may vote because of one of these.
A MemoryError is none: an estimator that counts values asks for terabytes because of one example."""

NO_LABEL = "does not predict labels that it was given, one for each example"
"""Why the answer of a base model is none."""

_LONGEST = 100
"""Characters of an error's message that are kept."""


class Models(ABC):
    """A batch of m fitted base models."""

    @abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """Labels (m, e) int64 that each model predicts for the features ``x`` (e, d) float32.

        Ties between labels go to the smaller one.
        """

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        """Scores (m, e, n_labels) float32 of all labels for the features ``x`` (e, d).

        A label is preferred to those with a lower score, and to larger labels with the same; the
        most preferred one is what :meth:`predict` gives. The default knows that one alone: 1 for
        it, 0 for all others.
        """
        return functional.one_hot(self.predict(x), n_labels).float()


class Learner(ABC):
    """Fits a batch of base models.

    Isolation is the contract on which certificates rest: model i is a function of ``x[i]``,
    ``y[i]``, ``present[i]`` and the generator alone, never of another model's examples. A learner's
    parameters are the keyword arguments of its constructor, which raises UsageError for values that
    are not allowed: ``ridge(penalty=0.1)`` builds ``Ridge(penalty=0.1)``.

    Every model answers, whatever the examples are: an attacker may have written them. Defenses fit
    through :func:`harness.learners.fitting.fit_all`, which sees to it where ``fit`` raises.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    images: bool = False
    """Whether it needs raw images (m, k, channels, height, width) and not flat features."""
    linear_in_labels: ClassVar[bool] = False
    """Whether :meth:`label_weights` says what each label does to a model's scores."""
    behind: tuple[type[Any] | ModuleType, ...] = ()
    """Classes and modules beside its own whose code decides what it fits: an estimator's, say. What
    they were trained with is not used any more once they are edited."""

    @cached_property
    def unfitted(self) -> Counter[str]:
        """Why so many models of this learner were not fitted as intended, by reason: those with
        examples of one label alone predict that one, all others FIXED_LABEL.
        """
        return Counter()

    def check(self, example: tuple[int, ...]) -> None:  # noqa: B027 - most take any shape
        """Raises UsageError where raw examples of that shape are none that it learns from.

        Asked before anything is trained, of learners that see images.
        """

    @abstractmethod
    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> Models:
        """m models from ``x`` (m, k, d) float32 and ``y`` (m, k) int64 in 0 ... n_labels - 1.

        ``present`` (m, k) bool says which examples count, where the models have fewer than k; all
        of them without it. Where it is given, a model does not depend on k either, which is the
        size of the largest part: see :func:`own_examples`. A model all of whose examples have one
        label predicts that label, one without examples label 0, and none predicts a label that it
        has not seen. All randomness comes from ``rng``, so the device does not matter for what is
        drawn.
        """

    def label_weights(self, x: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor]:
        """How much each training label counts, for a model of ``x`` (k, d) asked about (e, d).

        Weights (e, k) float64, from the features alone: whatever the labels y are, the model's
        score of label l is less than ``error`` (e,), infinite where nothing is known, from a
        constant times the sum over j of w_j [y_j = l], plus another constant; in units in which
        that constant is 1. Of learners that are ``linear_in_labels``; k is at least 1.
        """
        raise NotImplementedError

    def models_per_block(self, k: int, d: int) -> int:
        """How many models are trained together: fixed by the cell alone, never by the machine.

        The default keeps the gathered examples of one block near 64 MiB.
        """
        return int(np.clip(2**24 // max(k * d, 1), 1, 500))


def own_examples(x: Tensor, y: Tensor, present: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each model's own examples (1, k_i, ...) and labels (1, k_i), without the padding.

    Fit ragged models one by one: k of a padded batch is the size of its largest part, so rounding
    and random draws that follow k would let an example reach a model that it does not belong to.
    """
    for i, own in enumerate(present):
        yield x[i, own].unsqueeze(0), y[i, own].unsqueeze(0)


def reason(error: Exception) -> str:
    """The kind of an error and the first line of its message, cut short."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
