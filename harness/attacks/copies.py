"""Copies of the test example with a rival's label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.attacks.base import Attack
from harness.datasets.poisoning import Poisoning
from harness.defense import Target
from harness.threats import Threat


class Copies(Attack):
    """r copies of the test example, labelled as the likeliest rival.

    What a model that generalises at all learns best. Under ``modify`` and ``any`` they take the
    place of the training examples of the predicted label that are nearest to it.
    """

    name = "copies"
    summary = "copies of the test example, labelled as its likeliest rival"
    threats = frozenset({Threat.INSERT, Threat.MODIFY, Threat.ANY})

    def poison(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        return planted(target, threat, np.broadcast_to(target.x, (r, *target.x.shape)))


def planted(target: Target, threat: Threat, rows: NDArray[Any]) -> Poisoning | None:
    """The raw examples ``rows`` (r, ...), labelled as the likeliest rival: inserted, or in the
    place of as many of the supporters as there are. None where nobody's place could be taken.
    """
    rival = target.rivals[0]
    if threat is Threat.INSERT:
        return Poisoning.insert(rows, rival)
    victims = supporters(target)[: len(rows)]
    m = len(victims)
    if threat is Threat.MODIFY:
        return Poisoning.replace(victims, rows[:m], rival) if m else None
    # Of those that there are enough of, the others come in addition: a larger training set.
    return Poisoning(
        replaced=victims,
        replaced_x=rows[:m],
        replaced_y=np.full(m, rival, np.int64),
        inserted_x=rows[m:],
        inserted_y=np.full(len(rows) - m, rival, np.int64),
    )


def supporters(target: Target) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The training examples of the predicted label, the nearest to the test example first."""
    near = target.nearness()
    found: np.ndarray[tuple[int], np.dtype[np.int64]]
    found = near[target.data.y_train[near] == target.predicted].astype(np.int64)
    return found
