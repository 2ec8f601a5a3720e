"""What a trade-off and the votes of N models prove: certificates of ``gdp`` and ``pointwise``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.defenses.dp.tradeoff import Accounted, FloatArray, Gaussian, IntArray, Tradeoff
from harness.errors import DataError
from harness.proofs.confidence import LabelBounds, clopper_pearson_lower
from harness.threats import Unit

_NEGLIGIBLE = 1e-6
"""Expected accuracies below it are given as 0: the tail of Phi has no end."""


def tradeoffs_for(
    evidence: Mapping[str, NDArray[Any]], highest: float
) -> tuple[tuple[Tradeoff, Unit], ...]:
    """Every trade-off that the mechanism of ``evidence`` is known to have, and what it counts.

    The Gaussian one holds at every ``sample_rate``; below 1 that of the accounted pairs
    ``curve_epsilon``, ``curve_delta`` holds as well, if they are there. ``highest`` is the largest
    probability that will be asked about. Raises ValueError, DataError for evidence that describes
    no mechanism.
    """
    sigma, steps = number(evidence, "noise_multiplier"), number(evidence, "steps")
    rate = number(evidence, "sample_rate", 1.0)
    if not (0 < sigma < math.inf and steps >= 1 and 0 < rate <= 1):
        raise ValueError(
            "wanted noise_multiplier > 0, steps >= 1 and a sample_rate in (0, 1], found "
            f"{sigma:g}, {steps:g} and {rate:g}"
        )
    gaussian = (Gaussian(math.sqrt(steps) / sigma), sum_unit(evidence))
    given = {"curve_epsilon", "curve_delta"} & set(evidence)
    if rate == 1 or not given:
        return (gaussian,)
    if len(given) == 1:
        raise ValueError(
            f"curve_epsilon and curve_delta belong together, found {given.pop()} alone"
        )
    return gaussian, (_accounted(evidence, highest), Unit.ADD_REMOVE)


def sum_unit(evidence: Mapping[str, NDArray[Any]]) -> Unit:
    """What moves a step's sum of gradients, given who is sampled, by at most one clip.

    :func:`~harness.defenses.dp.mechanism.bounded_examples` has the proof for a flipped label. What
    is not said of ``never_clipped`` is taken for 0. Raises DataError where it cannot be true.
    """
    never_clipped = number(evidence, "never_clipped", 0.0)
    if never_clipped not in (0, 1):
        raise DataError(f"never_clipped must be 0 or 1, found {never_clipped:g}")
    c = evidence["votes"].shape[1]
    if never_clipped and c != 2:
        raise DataError(
            f"never_clipped must be 0 where votes has {c} labels: with more than two, a flipped "
            "label moves a gradient by more than the clip"
        )
    return Unit.ADD_REMOVE_LINEAR_BINARY if never_clipped else Unit.ADD_REMOVE


def number(
    evidence: Mapping[str, NDArray[Any]], name: str, otherwise: float | None = None
) -> float:
    """The one number that the array of that name holds. Raises DataError where it holds more."""
    array = evidence[name] if otherwise is None else evidence.get(name, np.array(otherwise))
    if array.size != 1:
        raise DataError(f"{name} must be one number, found shape {array.shape}")
    return float(array.item())


def _accounted(evidence: Mapping[str, NDArray[Any]], highest: float) -> Accounted:
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
class Route:
    """A trade-off, and how many of the units that it counts one poisoning costs, at least 1."""

    tradeoff: Tradeoff
    cost: int


def method(routes: Sequence[Route]) -> str:
    """The name under which reports show certificates that take the best of several routes."""
    return "-or-".join(route.tradeoff.method for route in routes)


@dataclass(frozen=True)
class ExpectedAccuracy:
    """A lower bound on the expected accuracy after r poisonings, r <= n, by the best route.

    E[acc_r] is the mean over the test examples of the probability of a right prediction, and each
    of these obeys the trade-off of every route, so the largest of their bounds. With ``average``
    the trade-offs are applied to the mean of the probabilities instead: they are convex, so by
    Jensen's inequality that promises less, and it does not take a label that all N models hit for
    one that can never be missed.
    """

    routes: tuple[Route, ...]
    n: int
    average: bool

    def __call__(self, p: FloatArray, r: int) -> float:
        """The bound in [0, 1]; ``p`` (e,) is the probability of the right label. 0 beyond n."""
        if r > self.n:
            return 0.0
        before = np.minimum(p.mean(keepdims=True), 1.0) if self.average else p
        kept = [route.tradeoff.lower(before, r * route.cost) for route in self.routes]
        after = float(np.max(kept, axis=0).mean())
        return after if after >= _NEGLIGIBLE else 0.0


def certified_radii(bounds: LabelBounds, routes: Sequence[Route], n: int) -> IntArray:
    """The largest r <= n for each example, -1 where the vote is not certain at all.

    The prediction is the label that a model most probably predicts; the votes of N models estimate
    it, as in bagging. After r poisonings it is still the most probable one if the trade-off of any
    route keeps p_l above p_s over r times its cost.
    """
    # -1 // cost is -1: abstention stays abstention.
    radii: IntArray = np.max(
        [
            route.tradeoff.withstood(bounds.p_lower, bounds.p_upper, n * route.cost) // route.cost
            for route in routes
        ],
        axis=0,
    )
    return radii
