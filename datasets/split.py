"""A test set out of data that come without one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def split(n: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions, rising, of the training and of the test examples among ``n`` >= 2.

    ``fraction`` in (0, 1) of them, rounded, are for testing, at least one and not all. Who is drawn
    follows from the seed and n alone. The split comes before any attack: the test examples are held
    out for good, and the attacker poisons what is left.
    """
    size = min(max(1, round(n * fraction)), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[size:]), np.sort(order[:size])
