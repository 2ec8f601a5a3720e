"""Copies of the test example with a rival's label."""

from __future__ import annotations

import numpy as np

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
        rival, x = target.rivals[0], target.x[None]
        if threat is Threat.INSERT:
            return Poisoning.insert(np.broadcast_to(x, (r, *target.x.shape)), rival)
        victims = supporters(target)[:r]
        if threat is Threat.MODIFY:
            return Poisoning.replace(victims, x, rival) if len(victims) else None
        # Of those that there are enough of, the others come in addition: a larger training set.
        more = np.broadcast_to(x, (r - len(victims), *target.x.shape))
        return Poisoning(
            replaced=victims,
            replaced_x=np.broadcast_to(x, (len(victims), *target.x.shape)),
            replaced_y=np.full(len(victims), rival, np.int64),
            inserted_x=more,
            inserted_y=np.full(len(more), rival, np.int64),
        )


def supporters(target: Target) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The training examples of the predicted label, the nearest to the test example first."""
    near = target.nearness()
    found: np.ndarray[tuple[int], np.dtype[np.int64]]
    found = near[target.data.y_train[near] == target.predicted].astype(np.int64)
    return found
