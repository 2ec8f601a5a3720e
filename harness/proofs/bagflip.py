"""Bagging whose drawn examples are noised as well: how many changed examples its vote withstands.

Zhang, Albarghouthi, D'Antoni: BagFlip: A Certified Defense against Data Poisoning, NeurIPS 2022.

A base model is trained on k of n examples, drawn with replacement. Some values of each drawn one
are noised: each is kept with probability rho, else it becomes one of the K others, each with
probability beta = (1 - rho) / K < rho. An attacker changes up to s such values of up to r examples.

Whoever knows which examples were drawn and what they became knows most. Examples that are not
changed, and values that are not, have the same distribution with and without the attack. For a
changed value, the ratio of the probabilities of what it became is rho / beta if that is the value
of the clean example, beta / rho if it is that of the poisoned one, else 1. So the ratio of the
whole is (rho / beta)^L, where L adds up over the drawn changed values: each +1 with probability
rho, -1 with beta, else 0 on the clean set, and the same with -L on the poisoned one. Each draw is
of a changed example with probability r / n. By Neyman and Pearson, a label of clean probability
p_l keeps at least the poisoned mass of the outcomes of largest L that have the clean mass p_l; a
rival of clean probability p_s gets at most that of those of smallest L that have the mass p_s.

Fewer changed examples, or fewer values, are no better for the attacker: what then became of the
others does not depend on the attack and can be replaced by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from harness.certificates import ABSTAIN

FloatArray = NDArray[np.float64]


@dataclass
class BagFlip:
    """The outcomes of ``k`` draws from ``n`` examples of which each has ``values`` changed values.

    ``keep``: rho in (1 / (others + 1), 1); ``others``: K >= 1. Raises ValueError for anything else.
    """

    n: int
    k: int
    keep: float
    others: int
    values: int
    _changed: FloatArray = field(init=False, repr=False)
    _poured: dict[int, tuple[FloatArray, FloatArray]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if min(self.n, self.k, self.others, self.values) < 1:
            raise ValueError("n, k, others and values must be at least 1")
        if not 1 / (self.others + 1) < self.keep < 1:
            raise ValueError(
                f"keep={self.keep:g} must lie between {1 / (self.others + 1):g} and 1, exclusively"
            )
        self._changed = _sums(self.keep, self.others, self.values, self.k)

    def radii(self, p_lower: FloatArray, p_upper: FloatArray) -> NDArray[np.int64]:
        """The largest certified r, at most n, for each pair of bounds; ABSTAIN where p_l <= p_s.

        ``p_lower`` (e,) bounds the probability of the voted label from below, ``p_upper`` (e,)
        that of every other label from above.
        """
        pairs, where = np.unique(np.stack([p_lower, p_upper], 1), axis=0, return_inverse=True)
        found = np.array([self._radius(float(low), float(high)) for low, high in pairs])
        return np.asarray(found[where.ravel()], dtype=np.int64)

    def _radius(self, p_lower: float, p_upper: float) -> int:
        if not p_lower > p_upper:
            return ABSTAIN
        low, beyond = 0, self.n + 1
        while beyond - low > 1:
            middle = (low + beyond) // 2
            if self.holds(middle, p_lower, p_upper):
                low = middle
            else:
                beyond = middle
        return low

    def holds(self, r: int, p_lower: float, p_upper: float) -> bool:
        """Whether ``r`` changed examples leave the voted label ahead of every other."""
        clean, poisoned = self._outcomes(r)
        return _least(clean, poisoned, p_lower, self._rounding) > _most(
            clean, poisoned, p_upper, self._rounding
        )

    @property
    def _rounding(self) -> float:
        """The relative error of a probability: sums of positive products, nothing cancels."""
        return 2.0**-50 * (self.k + 4) * (self.values + 4) + 1e-12

    def _outcomes(self, r: int) -> tuple[FloatArray, FloatArray]:
        """The probabilities of L = k s ... -k s on the clean set, and on the poisoned one."""
        if r not in self._poured:
            of_draws = self._draws(r)
            poisoned = of_draws @ self._changed  # by L = -k s ... k s on the clean set, mirrored
            self._poured[r] = poisoned[::-1], poisoned
        return self._poured[r]

    def _draws(self, r: int) -> FloatArray:
        """(k + 1,) how probable it is that 0 ... k of the draws are of changed examples."""
        drawn = np.arange(self.k + 1)
        if 2 * r <= self.n:
            return np.asarray(binom.pmf(drawn, self.k, r / self.n))
        # SciPy takes the probability from 1, which loses digits where hardly any is left.
        return np.asarray(binom.pmf(drawn[::-1], self.k, (self.n - r) / self.n))


def states(k: int, values: int) -> int:
    """How many numbers :class:`BagFlip` keeps: for each number of changed draws, every L."""
    return (k + 1) * (2 * k * values + 1)


def _sums(keep: float, others: int, values: int, k: int) -> FloatArray:
    """(k + 1, 2 k s + 1): how probable each L = -k s ... k s is when 0 ... k changed examples are
    drawn, on the clean set.
    """
    other = (1 - keep) / others
    step = np.array([other, (others - 1) * other, keep])
    example = np.ones(1)
    for _ in range(values):
        example = np.convolve(example, step)
    most = k * values
    found = np.zeros((k + 1, 2 * most + 1))
    found[0, most] = 1.0
    for drawn in range(1, k + 1):
        reach = (drawn - 1) * values
        before = found[drawn - 1, most - reach : most + reach + 1]
        found[drawn, most - drawn * values : most + drawn * values + 1] = np.convolve(
            before, example
        )
    return found


def _least(clean: FloatArray, poisoned: FloatArray, p: float, rounding: float) -> float:
    """The least poisoned mass of outcomes of clean mass ``p``, given from the largest ratio on."""
    return _poured(clean * (1 + rounding), poisoned, p) * (1 - rounding)


def _most(clean: FloatArray, poisoned: FloatArray, p: float, rounding: float) -> float:
    """The most poisoned mass of outcomes of clean mass ``p``."""
    return _poured(clean[::-1] * (1 - rounding), poisoned[::-1], p) * (1 + rounding)


def _poured(clean: FloatArray, poisoned: FloatArray, p: float) -> float:
    """The poisoned mass when the clean mass ``p`` is poured into the outcomes in their order."""
    filled = clean.cumsum()
    whole = int(np.searchsorted(filled, p, side="right"))  # those before are full
    mass = float(poisoned[:whole].sum())
    if whole < len(clean):
        left = p - (float(filled[whole - 1]) if whole else 0.0)
        if left > 0 and clean[whole] > 0:
            mass += float(poisoned[whole]) * min(left / float(clean[whole]), 1.0)
    return mass
