"""Which test examples are attacked: some at random, and those about which the least is proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.results.pointwise import Pointwise

WEAK = 6
"""Test examples with small radii that are looked at in addition, to find unsound certificates."""


def sampled(found: Pointwise, examples: int | None, seed: int) -> NDArray[np.int64]:
    """Test examples that are predicted rightly and have a radius, drawn at random; all if None.

    All cells of a run are asked in one and the same random order, so that they are attacked at the
    same examples as far as they can be.
    """
    order = np.random.default_rng(seed).permutation(len(found.radii))
    fitting = order[found.right[order] & ~found.abstained[order]]
    return fitting if examples is None else fitting[:examples]


def weakest(found: Pointwise, beside: NDArray[np.int64], most: int = WEAK) -> NDArray[np.int64]:
    """Test examples with the smallest radii of at least 1, rightly predicted or not, but for those
    ``beside``: of each predicted label about as many.
    """
    free = found.radii >= 1
    free[beside] = False
    order = np.argsort(found.radii, kind="stable")
    order = order[free[order]]
    of_label = [order[found.predictions[order] == label] for label in np.unique(found.predictions)]
    turns = [label[i] for i in range(most) for label in of_label if i < len(label)]
    return np.array(turns[:most], dtype=np.int64)
