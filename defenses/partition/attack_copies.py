"""Copies of a test example that differ in their last bits, so that a hash sends them elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.domain import Domain

IntArray = NDArray[np.int64]

_SEED = 1
"""Of which values are changed: the same whenever the attack is carried out."""


@dataclass(frozen=True)
class Copies:
    """K examples that are ``x`` but for two of its values.

    ``places`` (K, 2) say which values, ``values`` (K, 2) what they are instead. Made when they are
    asked for: all of them would take K times the memory of one.
    """

    x: NDArray[Any]
    places: IntArray
    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.places)

    def some(self, which: IntArray) -> Copies:
        """Those with these numbers."""
        return Copies(self.x, self.places[which], self.values[which])

    def rows(self, which: slice | IntArray) -> NDArray[Any]:
        """The examples (k, ...) with these numbers."""
        places = self.places[which]
        rows = np.repeat(self.x.reshape(1, -1), len(places), axis=0)
        np.put_along_axis(rows, places, self.values[which], axis=1)
        return rows.reshape(len(places), *self.x.shape)


def copies(x: NDArray[Any], domain: Domain, count: int) -> Copies:
    """``count`` copies of ``x`` (...) with two values moved to their neighbours, in the domain.

    A value moves by one, or by one unit in the last place of a float32; further only where an
    example has too few values for that many different copies. Some may be equal to one another.
    """
    rng = np.random.default_rng(_SEED)
    d = x.size
    furthest = max(1, int(np.ceil(np.sqrt(8 * count) / (2 * d))))  # (2 d far)^2 / 2 >= 4 count
    places = rng.integers(d, size=(count, 2))
    steps = rng.integers(1, furthest + 1, size=(count, 2)) * rng.choice([-1, 1], size=(count, 2))
    values = x.reshape(-1)[places]
    moved = _moved(values, steps, domain)
    stuck = moved == values  # at the end of the domain
    moved[stuck] = _moved(values[stuck], -steps[stuck], domain)
    return Copies(x, places, moved)


def _moved(values: NDArray[Any], steps: IntArray, domain: Domain) -> NDArray[Any]:
    """The values so many steps further, or as far as the domain goes."""
    if values.dtype.kind != "f":
        moved = values.astype(np.int64) + steps
        return moved.clip(math.ceil(domain.lowest), math.floor(domain.highest)).astype(values.dtype)
    # The bits of a float, read as a sign and a whole number, are in the order of the floats.
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    place = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + steps
    bits = np.where(place < 0, -place | 0x80000000, place).astype(np.uint32)
    moved = bits.view(np.float32).clip(np.float32(domain.lowest), np.float32(domain.highest))
    return moved.astype(values.dtype)
