"""Fitting base models so that every one of them answers, whatever its examples are.

An attacker writes examples, so it can write some that a learner fails on. A base model that gave no
answer, or a run that ended there, would be a change that no certificate counted. So what cannot be
fitted votes for a fixed label, and is counted: see :attr:`harness.learners.base.Learner.unfitted`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.learners.base import ENVIRONMENT, FIXED_LABEL, Learner, Models, reason

NO_EXAMPLES = "no examples"
ONE_LABEL = "examples of one label alone"

_ELSEWHERE = (HarnessError, *ENVIRONMENT)
"""Errors that say nothing about the examples: a user's mistake, or the machine's trouble."""


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


def fit_all(
    learner: Learner, x: Tensor, y: Tensor, n_labels: int, rng: np.random.Generator
) -> Models:
    """m models from ``x`` (m, k, ...) and ``y`` (m, k), as ``learner.fit`` makes them.

    Where that raises, each model is fitted alone, with a generator of its own, and those that
    cannot be are constant: which they are follows from their own examples. Raises UsageError for
    what the learner refuses whatever the examples are.
    """
    m, k = y.shape
    if k == 0:
        learner.unfitted[NO_EXAMPLES] += m
        return ConstantModels(m)
    learner.unfitted[ONE_LABEL] += int((y == y[:, :1]).all(dim=1).sum())
    try:
        return learner.fit(x, y, n_labels, rng)
    except _ELSEWHERE:
        raise
    except Exception:
        each = enumerate(rng.spawn(m))
        parts = [_alone(learner, x[i : i + 1], y[i : i + 1], n_labels, own) for i, own in each]
        return _Joined(tuple(parts))


def _alone(
    learner: Learner, x: Tensor, y: Tensor, n_labels: int, rng: np.random.Generator
) -> Models:
    try:
        return learner.fit(x, y, n_labels, rng)
    except _ELSEWHERE:
        raise
    except Exception as error:
        learner.unfitted[reason(error)] += 1
        return ConstantModels(1)
