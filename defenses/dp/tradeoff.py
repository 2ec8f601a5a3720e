"""How far a private learner's probabilities can move, one example after another.

A trade-off says how probable an event must stay when the training set changes by some units of the
adjacency that the privacy is stated for (Dong, Roth, Su: Gaussian Differential Privacy, JRSS-B
2022). Everything is rounded against the certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from harness.certificates import ABSTAIN

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_DOWN, _UP = 1 - 1e-13, 1 + 1e-13
"""Relative; SciPy's normal quantiles err by less than 1e-14."""
_SLACK = 2e-15
"""Absolute; more than the rounding of one step of an accounted curve."""
_PER_UNIT = 64
"""Rungs of the ladder in one unit: a bound is late by at most one rung."""
_LOWEST = 1e-9
"""Probabilities below it count as 0."""
_LONGEST = 20_000
"""Units after which a ladder ends: what is below its last rung counts as 0."""


class Tradeoff(Protocol):
    """What is known of a learner's output on data sets that differ by some units."""

    @property
    def method(self) -> str:
        """The name under which reports show it."""

    def lower(self, p: FloatArray, units: int) -> FloatArray:
        """How probable an event must stay ``units`` away that has probability >= ``p`` here.

        ``p`` (any shape) in [0, 1]; the bound is at most ``p`` and falls with ``units`` >= 0.
        """

    def withstood(self, p_lower: FloatArray, p_upper: FloatArray, most: int) -> IntArray:
        """The largest number of units, up to ``most``, for which the voted label stays ahead.

        ``p_lower`` (e,) bounds its probability from below, ``p_upper`` (e,) that of each rival from
        above; -1 where p_lower <= p_upper.
        """


@dataclass(frozen=True)
class Gaussian:
    """``mu``-Gaussian differential privacy; a group of u units is u mu.

    Dong et al., Theorem 2 (2.14 in arXiv 1905.02383). Exact for T full-batch steps with noise
    multiplier sigma: one unit moves a step's sum of gradients by at most the clip, so u of them by
    at most u clips under noise of sigma clips; T adaptive steps compose to mu = u sqrt(T) / sigma
    (their Corollary 2; 3.3 in arXiv).

    It holds at every sample rate. That is our own remark, not a theorem of theirs. The masks of
    Poisson sampling, one draw for each example and step, do not depend on what the data hold, so
    they may be drawn first, the same for both training sets. Whatever they are, a step's sum then
    moves by at most u clips, and given the masks the steps compose to G = G_(u sqrt(T) / sigma) as
    above. A test of level a has levels a(masks) of mean a, and the error E G(a(masks)) >= G(a) on
    average: trade-offs are convex. What sampling hides beyond that, :class:`Accounted` sees and
    this does not; but that one loses something with every unit. Near rate 1 this is the larger.

    - An event of probability p keeps at least Phi(Phi^-1(p) - u mu), by the definition, and,
      applied to its complement, gets at most Phi(Phi^-1(p) + u mu).
    - So a label of probability >= p_l stays ahead of one of probability <= p_s while
      Phi^-1(p_l) - u mu > Phi^-1(p_s) + u mu, that is, 2 u mu < Phi^-1(p_l) - Phi^-1(p_s).

    The two bounds of the second item cannot be improved on jointly, whatever the number of labels:
    for N(0, 1) against N(u mu, 1) the label that wins below Phi^-1(p_l) and the rival that wins
    above -Phi^-1(p_s) exclude each other, since p_l + p_s <= 1, and both bounds are attained.
    """

    mu: float

    @property
    def method(self) -> str:
        return "gaussian-dp"

    def lower(self, p: FloatArray, units: int) -> FloatArray:
        if units == 0:
            return p
        moved = _towards(ndtri(p), -1) - units * self.mu
        kept: FloatArray = ndtr(_towards(moved, -1) - 1e-15) * _DOWN
        return kept

    def withstood(self, p_lower: FloatArray, p_upper: FloatArray, most: int) -> IntArray:
        ahead = p_lower > p_upper
        first, second = np.where(ahead, (p_lower, p_upper), 0.5)
        gap = _towards(ndtri(first), -1) - _towards(ndtri(second), 1)
        # Strictly below gap / (2 mu): an integer there is not reached.
        units = np.ceil(np.minimum(gap / (2 * self.mu) * _DOWN, most + 1.0)) - 1
        return np.where(ahead, np.maximum(units, 0), ABSTAIN).astype(np.int64)


@dataclass(frozen=True)
class Accounted:
    """Pairs (``epsilon``, ``delta``), both (m,), that all hold for data sets one unit apart.

    With D_0, ..., D_u each one unit from the last, an event of probability p at D_k has at D_(k+1)
    at least L(p), the largest over the pairs and 0 of

        e^-epsilon (p - delta)    and    1 - e^epsilon (1 - p) - delta,

    the definition of (epsilon, delta)-privacy for the event and for its complement. L is
    increasing, so u units leave at least L^u(p). This is the group property with a pair of its own
    at each step: with the same pair u times it is the familiar (u epsilon,
    delta (e^(u epsilon) - 1) / (e^epsilon - 1)).

    L^u is read from a ladder p_0 > p_1 > ... with L(p_i) = p_(i + 64): if p >= p_i, then
    L^u(p) >= p_(i + 64 u). That costs at most 1/64 of a unit. It starts at ``highest``, the largest
    probability that will be asked about.
    """

    epsilon: FloatArray
    delta: FloatArray
    highest: float

    @property
    def method(self) -> str:
        return "accounted-curve"

    def one_unit(self, p: FloatArray) -> FloatArray:
        """L(p): what an event of probability ``p`` (s,) keeps one unit away."""
        kept = np.exp(-self.epsilon[:, None]) * (p - self.delta[:, None])
        # Beyond e^700 the second form is below 0 anyway, unless p is 1.
        grown = np.exp(np.minimum(self.epsilon, 700.0))[:, None] * (1 - p)
        bound = np.maximum(kept, 1 - (grown + self.delta[:, None])).max(axis=0)
        fallen: FloatArray = np.maximum(bound * _DOWN - _SLACK, 0.0)
        return fallen

    @cached_property
    def _ladder(self) -> FloatArray:
        top = np.array([self.highest])
        fall = top - self.one_unit(top)
        rungs = [np.maximum(top - fall * np.arange(_PER_UNIT) / _PER_UNIT, top - fall)]
        while rungs[-1][0] > _LOWEST and len(rungs) < _LONGEST:
            rungs.append(self.one_unit(rungs[-1]))
        return np.concatenate([*rungs, np.zeros(1)])

    def lower(self, p: FloatArray, units: int | IntArray) -> FloatArray:
        below = np.searchsorted(-self._ladder, -p)  # the first rung that is not above p
        place = np.minimum(below + _PER_UNIT * np.asarray(units), self._ladder.size - 1)
        return np.where(np.asarray(units) == 0, p, np.minimum(self._ladder[place], p))

    def withstood(self, p_lower: FloatArray, p_upper: FloatArray, most: int) -> IntArray:
        ahead = p_lower > p_upper
        others = np.nextafter(1 - p_upper, 0)  # of the event that this rival does not win
        low, high = np.zeros(p_lower.shape, np.int64), np.full(p_lower.shape, most + 1)
        while (high - low > 1).any():
            middle = (low + high) // 2
            good = self.lower(p_lower, middle) + self.lower(others, middle) > 1 + _SLACK
            low, high = np.where(good, middle, low), np.where(good, high, middle)
        return np.where(ahead, low, ABSTAIN)


def _towards(z: FloatArray, sign: int) -> FloatArray:
    """``z``, infinite ones included, moved up (1) or down (-1) by more than its error."""
    return np.where((z > 0) == (sign > 0), z * _UP, z * _DOWN)
