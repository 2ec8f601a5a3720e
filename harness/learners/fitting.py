"""Fitting base models so that every one of them answers, whatever its examples are.

An attacker writes examples, so it can write some that a learner fails on. A base model that gave no
answer, or a run that ended there, would be a change that no certificate counted. So what cannot be
fitted votes for a fixed label, and is counted: see :attr:`harness.learners.base.Learner.unfitted`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.learners.base import ENVIRONMENT, FIXED_LABEL, NO_LABEL, Learner, Models, reason

NO_EXAMPLES = "no examples"
ONE_LABEL = "examples of one label alone"

_ELSEWHERE = (HarnessError, *ENVIRONMENT)
"""Errors that say nothing about the examples: a user's mistake, or the machine's trouble."""

Instead = Callable[[str], Models]
"""What answers in the place of models that do not, given the reason."""


def fit_all(
    learner: Learner, x: Tensor, y: Tensor, n_labels: int, rng: np.random.Generator
) -> Models:
    """m models from ``x`` (m, k, ...) and ``y`` (m, k), as ``learner.fit`` makes them.

    Where that raises, or they raise when asked, each model is fitted alone, with a generator of its
    own, and those that still do are constant: which they are follows from their own examples. That
    all are then fitted anew is no way for one example to reach the others: with other random
    numbers their labels are as probable. Raises UsageError for what the learner refuses whatever
    the examples are.
    """
    m, k = y.shape
    if k == 0:
        learner.unfitted[NO_EXAMPLES] += m
        return ConstantModels(m)
    learner.unfitted[ONE_LABEL] += int((y == y[:, :1]).all(dim=1).sum())

    def constant(why: str) -> Models:
        learner.unfitted[why] += 1
        return ConstantModels(1)

    def one_by_one(_: str) -> Models:
        return _Joined(
            tuple(
                _answering(learner, x[i : i + 1], y[i : i + 1], n_labels, own, constant)
                for i, own in enumerate(rng.spawn(m))
            )
        )

    return _answering(learner, x, y, n_labels, rng, constant if m == 1 else one_by_one)


def _answering(
    learner: Learner, x: Tensor, y: Tensor, n_labels: int, rng: np.random.Generator, other: Instead
) -> Models:
    try:
        return _Answering(learner.fit(x, y, n_labels, rng), n_labels, other)
    except _ELSEWHERE:
        raise
    except Exception as error:
        return other(reason(error))


class _Answering(Models):
    """Models in whose place others answer, from the first time that these do not."""

    def __init__(self, models: Models, n_labels: int, other: Instead) -> None:
        self._models, self._n_labels, self._other = models, n_labels, other

    def predict(self, x: Tensor) -> Tensor:
        return self._ask(lambda models: self._checked(models.predict(x)))

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        return self._ask(lambda models: models.scores(x, n_labels))

    def _checked(self, labels: Tensor) -> Tensor:
        if not bool(((labels >= 0) & (labels < self._n_labels)).all()):
            raise ValueError(NO_LABEL)
        return labels

    def _ask(self, question: Callable[[Models], Tensor]) -> Tensor:
        try:
            return question(self._models)
        except _ELSEWHERE:
            raise
        except Exception as error:
            if isinstance(self._models, ConstantModels | _Joined):  # these answer
                raise
            self._models = self._other(reason(error))
            return question(self._models)


@dataclass(frozen=True)
class ConstantModels(Models):
    """m models that predict FIXED_LABEL, whatever they are asked."""

    m: int

    def predict(self, x: Tensor) -> Tensor:
        return torch.full((self.m, len(x)), FIXED_LABEL, dtype=torch.int64, device=x.device)


@dataclass(frozen=True)
class _Joined(Models):
    """The models of several batches, one after another."""

    parts: tuple[Models, ...]

    def predict(self, x: Tensor) -> Tensor:
        return torch.cat([part.predict(x) for part in self.parts])

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        return torch.cat([part.scores(x, n_labels) for part in self.parts])
