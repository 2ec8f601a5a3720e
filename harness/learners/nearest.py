"""The nearest neighbour's label, in whole numbers: no rounding, so no dependence on the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.errors import UsageError
from harness.learners.base import Learner, Models
from harness.specs.values import number

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_KEYS = 2**21
"""Distances held at once."""
_ABSENT = 2**63 - 1
"""The key of an example that does not count: larger than any other."""


@dataclass(frozen=True)
class _NearestModels(Models):
    learner: NearestNeighbour
    x: Tensor
    """(m, k, d)"""
    y: Tensor
    """(m, k)"""
    n_labels: int
    present: Tensor
    """(m, k)"""

    def predict(self, x: Tensor) -> Tensor:
        predicted = torch.empty(len(self.x), len(x), dtype=torch.int64, device=x.device)
        rows = max(1, _KEYS // max(self.y.shape[1], 1))
        for model, (own, labels, counts) in enumerate(
            zip(self.x, self.y, self.present, strict=True)
        ):
            if not counts.any():
                predicted[model] = 0
                continue
            for start in range(0, len(x), rows):
                keys = self.learner.keys(own, labels, x[start : start + rows], self.n_labels)
                nearest = keys.masked_fill_(~counts, _ABSENT).amin(1)
                predicted[model, start : start + rows] = nearest % self.n_labels
        return predicted


class NearestNeighbour(Learner):
    """Predicts the label of the nearest example, the smallest label among the nearest ones.

    Features are rounded to multiples of ``step`` (1/1024 unless said: made for features in [0, 1])
    and cut off where squared distances would no longer fit into 53 bits: at 1024 for 784 features.
    Distances are then whole numbers that float64 holds exactly, so a distance depends on its two
    examples alone, not on where they stand in a matrix product. Raises UsageError for a step that
    is not positive.
    """

    name = "1nn"
    summary = "label of the nearest neighbour (step); bagging knows its votes without sampling"

    def __init__(self, step: float = 2**-10) -> None:
        self.step = number(self.name, "step", step)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> Models:
        if x.ndim != 3:
            raise UsageError(f"{self.name} needs flat features, not images")
        counts = torch.ones_like(y, dtype=torch.bool) if present is None else present
        return _NearestModels(self, x, y, n_labels, counts)

    def keys(self, x: Tensor, y: Tensor, x_test: Tensor, n_labels: int) -> Tensor:
        """How (e, k) int64 test examples rank the examples ``x`` (k, d) with labels ``y`` (k,).

        A smaller key is a smaller distance or, at the same distance, a smaller label: the squared
        distance in steps, times c, plus the label, so that ``key % n_labels`` is the label.
        """
        examples, tests = self._on_grid(x, n_labels), self._on_grid(x_test, n_labels)
        distance = (tests @ examples.T).mul_(-2)
        distance += (tests * tests).sum(1, keepdim=True)
        distance += (examples * examples).sum(1)
        return distance.long().mul_(n_labels).add_(y)

    def _on_grid(self, x: Tensor, n_labels: int) -> Tensor:
        # Whole numbers up to 2^53 are exact in float64, and so is any sum of them up to there, in
        # any order. Keys have 63 bits, of which the label needs a few.
        bits = min(53, 62 - n_labels.bit_length()) - x.shape[1].bit_length()
        cut = 2 ** (bits // 2 - 1)
        return (x.double() / self.step).round_().clamp_(-cut, cut)
