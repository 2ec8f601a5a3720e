"""Radius neighbours: all training examples within a distance of a test example vote.

Jia, Liu, Cao, Gong: Certified Robustness of Nearest Neighbors against Data Poisoning and Backdoor
Attacks, AAAI 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import DETERMINISTIC, Certificate, Guarantee, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.defense import Arrays, Defense, Evidence, Lookup, Parameters, Shape, Target, Task
from harness.defenses.neighbours import gathering, radii
from harness.defenses.neighbours.collective import against_one
from harness.defenses.neighbours.distances import within
from harness.defenses.neighbours.voters import Voters
from harness.defenses.partition.parts import canonical_order, digests
from harness.threats import Threat, Unit, covered


class _Radius(Parameters):
    """The default was chosen on the MNIST digit pairs 2/7, 3/8 and 4/9, and suits no other features
    than these.
    """

    radius: float = Field(
        0.4,
        ge=0,
        le=2**40,
        description="training examples within this distance vote, in units of the features",
    )


class RnnParameters(gathering.NeighbourParameters, _Radius):
    """Parameters of the radius neighbours: the radius first, where they are listed."""

    symbols: ClassVar[Mapping[str, str]] = {"r": "radius"}


class Rnn(Defense[RnnParameters]):
    """The vote of all training examples within a radius, and exactly what turns it. Deterministic.

    Where there is none, the first label is predicted; ties in the vote go to the smaller label.
    """

    name = "rnn"
    title = "Radius neighbours: vote of all training examples within a radius"
    paper = "Jia, Liu, Cao, Gong: Certified Robustness of Nearest Neighbors, AAAI 2022"
    Params = RnnParameters
    tried_with: ClassVar[Mapping[str, Any]] = {"radius": 4.0, "features": "raw"}

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.POISONED_EXAMPLE)

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        """Test examples: each has a model of its own, its neighbours."""
        return gathering.blocks(shape)

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of the block's test examples; for the collective certificate also who
        votes: :mod:`harness.defenses.neighbours.voters`.
        """
        p, c = self.params, task.shape.n_labels
        votes: list[NDArray[np.int64]] = []
        y, order, voters = task.y_train, None, None
        if p.certificate == "collective":
            digest = digests(task.x_train)
            order = canonical_order(digest, y)
            y = y[order]
            voters = Voters(digest[order], y, len(task.models))
        distances = gathering.distances(task, p, order)
        limit = within(p.metric, p.step, p.radius)
        with task.phase("predict"):
            for chunk in distances.chunks():
                for near in chunk <= chunk.dtype.type(limit):
                    if voters is not None:
                        voters.put(len(votes), near)
                    votes.append(np.bincount(y[near], minlength=c))
                task.advance(len(chunk))
        found: dict[str, NDArray[Any]] = {"votes": np.stack(votes)}
        return found if voters is None else found | voters.arrays()

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        return gathering.joined(parts)

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """Certified poisoning size: see :mod:`harness.defenses.neighbours.radii`."""
        votes = evidence["votes"]
        radius = radii.of_radius_votes(votes, evidence.n_train, threat)
        simple = PointwiseCertificate(
            "within-radius", threat, DETERMINISTIC, votes.argmax(axis=1), radius
        )
        return against_one(self.params, evidence, simple)

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """As little as turns the vote: see :mod:`harness.defenses.neighbours.attack`."""
        from harness.defenses.neighbours.attack import of_radius

        return of_radius(self.params, self.params.radius, target, threat, r)
