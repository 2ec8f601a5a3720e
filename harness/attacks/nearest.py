"""The training examples nearest to the test example: gone, or with a rival's label."""

from __future__ import annotations

from harness.attacks.base import Attack
from harness.attacks.copies import supporters
from harness.datasets.poisoning import Poisoning
from harness.defense import Target
from harness.threats import Threat


class Nearest(Attack):
    """The r training examples of the predicted label that are nearest to the test example.

    They are deleted, or they get the label of the likeliest rival.
    """

    name = "nearest"
    summary = "the nearest examples of the predicted label, deleted or with a rival's label"
    threats = frozenset({Threat.DELETE, Threat.LABEL_FLIP, Threat.MODIFY, Threat.ANY})

    def poison(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        victims = supporters(target)[:r]
        if not len(victims):
            return None
        if threat is Threat.DELETE:
            return Poisoning.delete(victims)
        return Poisoning.flip(victims, target.rivals[0])
