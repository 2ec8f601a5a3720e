"""Which base models an example reaches, whatever it is: what an attacker on parts goes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.defenses.partition.parts import Hash, digests, part_of, salted_part_of

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Which of ``n_models`` base models an example reaches.

    ``reached(x, y)`` (k, G) are those of raw examples ``x`` (k, ...) with labels ``y`` (k,).
    ``label_moves``: whether it reaches others with another label. ``run_off``: whether the election
    compares the two labels with most votes once more.
    """

    n_models: int
    reached: Callable[[NDArray[Any], IntArray], IntArray]
    label_moves: bool
    run_off: bool = False


def shared(n_models: int, offsets: IntArray, covers: Hash, *, run_off: bool) -> Partition:
    """Part h is used by the models h + offset: Finite Aggregation, and DPA with one offset, 0."""

    def reached(x: NDArray[Any], y: IntArray) -> IntArray:
        part = part_of(digests(x, None if covers == "features" else y), n_models)
        found: IntArray = (part[:, None] + offsets) % n_models
        return found

    return Partition(n_models, reached, covers == "content", run_off)


def salted(partitions: int, parts: int, covers: Hash) -> Partition:
    """A part of each of several partitions, whose models stand one partition after another."""

    def reached(x: NDArray[Any], y: IntArray) -> IntArray:
        digest = digests(x, None if covers == "features" else y)
        own = [salt * parts + salted_part_of(digest, parts, salt) for salt in range(partitions)]
        return np.stack(own, axis=1)

    return Partition(partitions * parts, reached, covers == "content")
