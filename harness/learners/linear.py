"""Linear base models: what ridge and logistic regression share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.learners.base import Learner, Models, own_examples
from harness.specs.values import number

SCORES_AT_ONCE = 2**25
"""Scores computed at a time when predicting: 128 MiB of float32."""
CACHED = 2**20
"""Values of training examples handled at a time on a CPU: 4 MiB, which stay in its cache."""


@dataclass(frozen=True)
class LinearModels(Models):
    """m linear models: the label with the largest score wins.

    ``weights`` (m, s, d) and ``intercepts`` (m, s) float32. With s = 1 there are two labels, and
    label 1 wins where the score is above 0; otherwise s is the number of labels, and the intercept
    of a label that a model never saw is minus infinity.
    """

    weights: Tensor
    intercepts: Tensor

    def predict(self, x: Tensor) -> Tensor:
        models, scores, d = self.weights.shape
        weights, intercepts = self.weights.reshape(-1, d), self.intercepts.reshape(-1, 1)
        labels = [
            self._labels(torch.addmm(intercepts, weights, part.T).view(models, scores, -1))
            for part in x.split(max(1, SCORES_AT_ONCE // (models * scores)))
        ]
        return labels[0] if len(labels) == 1 else torch.cat(labels, dim=1)

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        models, scores, d = self.weights.shape
        weights, intercepts = self.weights.reshape(-1, d), self.intercepts.reshape(-1, 1)
        values = torch.addmm(intercepts, weights, x.T).view(models, scores, -1)
        return torch.stack([-values[:, 0], values[:, 0]], 2) if scores == 1 else values.mT

    @staticmethod
    def _labels(scores: Tensor) -> Tensor:
        """Labels (m, e) of scores (m, s, e); ``argmax`` takes the first of equal maxima."""
        return (scores[:, 0] > 0).long() if scores.shape[1] == 1 else scores.argmax(1)

    @classmethod
    def concatenate(cls, batches: Iterable[LinearModels]) -> LinearModels:
        """All the models of several batches, as one batch."""
        batches = list(batches)
        if len(batches) == 1:
            return batches[0]
        return cls(
            torch.cat([batch.weights for batch in batches]),
            torch.cat([batch.intercepts for batch in batches]),
        )


class LinearLearner(Learner):
    """A learner of linear models with a penalty on the squared norm of the weights.

    The penalty is not divided by k, and the intercept is not penalised. With two labels there is
    one score a model; with more, one for each label.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = number(self.name, "penalty", penalty)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> LinearModels:
        if present is not None:
            return LinearModels.concatenate(
                self._fit(*own, n_labels) for own in own_examples(x, y, present)
            )
        size = len(x) if x.is_cuda else max(1, CACHED // max(1, x[0].numel()))
        return LinearModels.concatenate(
            self._fit(*part, n_labels) for part in zip(x.split(size), y.split(size), strict=True)
        )

    def _fit(self, x: Tensor, y: Tensor, n_labels: int) -> LinearModels:
        models, k, d = x.shape
        if k == 0:  # no example at all: the smallest label
            alone = torch.full(
                (models, n_labels if n_labels > 2 else 1), -math.inf, device=x.device
            )
            if n_labels > 2:
                alone[:, 0] = 0
            return LinearModels(x.new_zeros(models, alone.shape[1], d), alone)
        mean = centre(x)
        weights, intercepts = self.solve(x - mean, y, n_labels)
        # Features so large that float32 overflows must not keep a model from answering.
        weights = torch.where(weights.isfinite(), weights, 0)
        intercepts = torch.nan_to_num(intercepts - (weights @ mean.mT).squeeze(2))
        if n_labels > 2:
            seen = functional.one_hot(y, n_labels).any(dim=1)
            intercepts = intercepts.masked_fill(~seen, -math.inf)
        return LinearModels(weights, intercepts)

    @abstractmethod
    def solve(self, x: Tensor, y: Tensor, n_labels: int) -> tuple[Tensor, Tensor]:
        """Weights (m, s, d) and intercepts (m, s) for ``x`` (m, k, d), each model's mean taken off.

        ``y`` (m, k) are the labels; m, k and d are at least 1.
        """


def centre(x: Tensor) -> Tensor:
    """(m, 1, d) what is taken off the features (m, k, d) of each model: their mean, if finite."""
    return torch.nan_to_num(x.mean(dim=1, keepdim=True), posinf=0.0, neginf=0.0)
