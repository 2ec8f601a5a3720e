"""What a trade-off and the votes of N models prove: certificates of ``gdp`` and ``pointwise``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.confidence import LabelBounds, clopper_pearson_lower
from harness.defenses.dp.tradeoff import Accounted, FloatArray, Gaussian, IntArray, Tradeoff

_NEGLIGIBLE = 1e-6
"""Expected accuracies below it are given as 0: the tail of Phi has no end."""


def tradeoff_for(evidence: Mapping[str, NDArray[Any]], highest: float) -> Tradeoff:
    """The trade-off of the mechanism that ``evidence`` describes.

    Gaussian where every step sees every example (``sample_rate`` 1), else that of the accounted
    pairs ``curve_epsilon``, ``curve_delta``. A rate that is not stated is taken for 1: who is in
    fewer steps is never less private. ``highest`` is the largest probability that will be
    asked about. Raises ValueError for evidence that describes no mechanism.
    """
    sigma, steps = float(evidence["noise_multiplier"]), float(evidence["steps"])
    rate = float(evidence.get("sample_rate", 1.0))
    if not (0 < sigma < math.inf and steps >= 1 and 0 < rate <= 1):
        raise ValueError(
            "wanted noise_multiplier > 0, steps >= 1 and a sample_rate in (0, 1], found "
            f"{sigma:g}, {steps:g} and {rate:g}"
        )
    if rate == 1:
        return Gaussian(math.sqrt(steps) / sigma)
    if "curve_epsilon" not in evidence or "curve_delta" not in evidence:
        raise ValueError(
            f"sample_rate={rate:g} is below 1, which needs curve_epsilon and curve_delta: pairs "
            "that an accountant guarantees"
        )
    epsilon, delta = evidence["curve_epsilon"], evidence["curve_delta"]
    if epsilon.ndim != 1 or epsilon.shape != delta.shape or epsilon.size == 0:
        raise ValueError(
            "curve_epsilon and curve_delta must be two arrays of one length, found shapes "
            f"{epsilon.shape} and {delta.shape}"
        )
    if not ((epsilon >= 0) & (delta >= 0) & (delta <= 1)).all():
        raise ValueError("wanted curve_epsilon >= 0 and curve_delta in [0, 1]")
    return Accounted(epsilon.astype(np.float64), delta.astype(np.float64), highest)


def label_lower_bounds(votes: IntArray, alpha: float) -> FloatArray:
    """A lower bound on the probability of each label of each example, (e, c), at alpha / e.

    The expected accuracy needs one bound an example: that for its right label, which is fixed
    before any model votes, unlike the voted label of SimuEM. So e bounds are used, and all of them
    hold together with probability 1 - alpha, whatever c is.
    """
    return clopper_pearson_lower(votes, int(votes[0].sum()), alpha / len(votes))


@dataclass(frozen=True)
class ExpectedAccuracy:
    """A lower bound on the expected accuracy after r poisonings of ``cost`` units, r <= n.

    E[acc_r] is the mean over the test examples of the probability of a right prediction, and each
    of these obeys the trade-off. With ``average`` the trade-off is applied to the mean of the
    probabilities instead: a trade-off is convex, so by Jensen's inequality that promises less, and
    it does not take a label that all N models hit for one that can never be missed.
    """

    tradeoff: Tradeoff
    cost: int
    n: int
    average: bool

    def __call__(self, p: FloatArray, r: int) -> float:
        """The bound in [0, 1]; ``p`` (e,) is the probability of the right label. 0 beyond n."""
        if r > self.n:
            return 0.0
        before = np.minimum(p.mean(keepdims=True), 1.0) if self.average else p
        after = float(self.tradeoff.lower(before, r * self.cost).mean())
        return after if after >= _NEGLIGIBLE else 0.0


def certified_radii(bounds: LabelBounds, tradeoff: Tradeoff, cost: int, n: int) -> IntArray:
    """The largest r <= n for each example, -1 where the vote is not certain at all.

    The prediction is the label that a model most probably predicts; the votes of N models estimate
    it, as in bagging. After r poisonings of ``cost`` units each it is still the most probable one
    if the trade-off keeps p_l above p_s over r cost units.
    """
    # -1 // cost is -1: abstention stays abstention.
    return tradeoff.withstood(bounds.p_lower, bounds.p_upper, n * cost) // cost
