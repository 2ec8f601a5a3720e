"""The same test examples before and after: exact tests on the examples that changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from harness.results.pointwise import Pointwise

SIGNIFICANCE = 0.05
"""A difference that chance alone makes at least this often is noise."""

_ENOUGH = 6
"""With fewer test examples even a change of all of them could be chance: nothing is tested."""


@dataclass(frozen=True)
class Paired:
    """How many test examples became worse and better, and how often chance does as much.

    ``p_value`` is that of the exact two-sided sign test on the examples that changed; for right
    and wrong it is the exact test of McNemar (1947).
    """

    worse: int
    better: int

    @property
    def p_value(self) -> float:
        changed = self.worse + self.better
        return float(binomtest(self.worse, changed).pvalue) if changed else 1.0

    @property
    def noise(self) -> bool:
        """Whether chance alone would do."""
        return self.p_value >= SIGNIFICANCE

    def __str__(self) -> str:
        p = f"p = {self.p_value:.2g}" if self.p_value >= 1e-4 else "p < 0.0001"
        examples = "example" if self.worse == 1 else "examples"
        return f"{self.worse:,} {examples} worse, {self.better:,} better, {p}"


def compare(metric: str, base: Pointwise, new: Pointwise, r: int | None) -> Paired | None:
    """The paired comparison of a metric; None where examples cannot decide.

    ``r`` is that of a certified accuracy; for the median radius, the larger of the two medians:
    there one run certifies a half and the other does not. None for a metric that no single example
    has a value of, for too few examples, and for examples that are not the same.
    """
    if len(base.labels) < _ENOUGH or not np.array_equal(base.labels, new.labels):
        return None
    pairs: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {
        "clean_accuracy": (base.right.astype(np.int64), new.right.astype(np.int64)),
        "abstained": (-base.abstained.astype(np.int64), -new.abstained.astype(np.int64)),
    }
    if r is not None:
        at_r = (base.certified >= r).astype(np.int64), (new.certified >= r).astype(np.int64)
        pairs |= {"certified_accuracy": at_r, "median_radius": at_r}
    if metric not in pairs:
        return None
    before, after = pairs[metric]
    return Paired(int(np.sum(after < before)), int(np.sum(after > before)))
