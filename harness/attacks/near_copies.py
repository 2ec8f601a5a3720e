"""Copies of the test example that differ in the last bit of a value, with a rival's label."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.attacks.base import Attack
from harness.attacks.copies import planted
from harness.datasets.poisoning import Poisoning
from harness.defense import Target
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset


class NearCopies(Attack):
    """r copies of the test example, each with another last bit, labelled as the likeliest rival.

    To a model they are copies; to whatever follows from an example's content, such as the part of a
    partition, they are as many different examples.
    """

    name = "near-copies"
    summary = "copies that differ in a last bit, labelled as the likeliest rival"
    threats = frozenset({Threat.INSERT, Threat.MODIFY, Threat.ANY})

    def poison(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        rows: list[NDArray[Any]] = target.notes.setdefault("near copies", [])
        rows += [near_copy(target.data, target.example, i) for i in range(len(rows), r)]
        return planted(target, threat, np.stack(rows[:r]))


def near_copy(data: Dataset, example: int, place: int) -> NDArray[Any]:
    """The test example with the last bit of a value changed, another one for each ``place``.

    The first is the example itself. Where there are more of them than values, several are changed.
    Values stay within the domain.
    """
    copy: NDArray[Any] = data.x_test[example].copy()
    if place == 0:
        return copy
    flat = copy.reshape(-1)
    d = flat.size
    more, start = divmod(place - 1, d)
    at = _shuffled(d)[np.arange(start, start + 1 + min(more, d - 1)) % d]
    if copy.dtype == np.uint8:
        flat[at] ^= 1
        low, high = data.domain.lowest, data.domain.highest
        flat[at] = np.where((flat[at] < low) | (flat[at] > high), flat[at] ^ 1, flat[at])
    else:
        down = np.nextafter(flat[at], np.float32(data.domain.lowest))
        up = np.nextafter(flat[at], np.float32(data.domain.highest))
        flat[at] = np.where(down == flat[at], up, down)
    return copy


@lru_cache(maxsize=4)
def _shuffled(d: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).permutation(d)
