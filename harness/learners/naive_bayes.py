"""Bernoulli naive Bayes on binary features, many models at once, from counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.errors import UsageError
from harness.learners.base import Learner, Models

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class _NaiveBayesModels(Models):
    weights: Tensor
    """(m, c, d)"""
    offsets: Tensor
    """(m, c)"""

    def predict(self, x: Tensor) -> Tensor:
        labels = []
        for weights, offsets in zip(self.weights.split(64), self.offsets.split(64), strict=True):
            scores = torch.einsum("ed,mcd->mce", x, weights) + offsets[..., None]
            labels.append(scores.argmax(1))
        return torch.cat(labels)

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        values = torch.einsum("ed,mcd->mce", x, self.weights) + self.offsets[..., None]
        return values.mT


class NaiveBayes(Learner):
    """Bernoulli naive Bayes; a value above one half counts as 1.

    ``flip_probability`` in [0, 1/2): how often each training value is known to have been flipped;
    the estimated frequencies are freed from it. ``floor`` in (0, 1/2): no frequency is believed to
    be nearer to 0 or 1.
    """

    name = "naive-bayes"
    summary = "Bernoulli naive Bayes on binary features"

    def __init__(self, flip_probability: float = 0.0, floor: float = 0.01) -> None:
        if not 0 <= flip_probability < 0.5:
            raise UsageError(
                f"naive-bayes: flip_probability must be in [0, 0.5), found {flip_probability}"
            )
        if not 0 < floor < 0.5:
            raise UsageError(f"naive-bayes: floor must be in (0, 0.5), found {floor}")
        self.flip_probability = flip_probability
        self.floor = floor

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> Models:
        member = torch.nn.functional.one_hot(y, n_labels).to(x.dtype)
        if present is not None:
            member = member * present[..., None].to(x.dtype)
        ones = torch.einsum("mkc,mkd->mcd", member, (x > 0.5).to(x.dtype))
        return self.from_counts(ones, member.sum(1))

    def from_counts(self, ones: Tensor, members: Tensor) -> Models:
        """Models from how many of each label's examples have each value at 1.

        ``ones`` (m, c, d) float: counts; ``members`` (m, c): examples with that label. A label
        without examples is never predicted.
        """
        frequency = (ones + 1) / (members[..., None] + 2)
        freed = (frequency - self.flip_probability) / (1 - 2 * self.flip_probability)
        p = freed.clamp(self.floor, 1 - self.floor)
        off = torch.log1p(-p)
        prior = torch.log(members / members.sum(1, keepdim=True).clamp_min(1))
        return _NaiveBayesModels((p.log() - off).float(), (off.sum(2) + prior).float())
