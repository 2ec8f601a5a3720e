"""Nearest neighbours: the k training examples nearest to a test example vote.

Jia, Liu, Cao, Gong: Certified Robustness of Nearest Neighbors against Data Poisoning and Backdoor
Attacks, AAAI 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from harness.certificates import DETERMINISTIC, Certificate, Guarantee, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.defense import Arrays, Defense, Evidence, Lookup, Parameters, Shape, Target, Task
from harness.defenses.neighbours import gathering, radii
from harness.defenses.neighbours.collective import against_one
from harness.defenses.neighbours.ranking import Ranking
from harness.defenses.neighbours.voters import Voters
from harness.defenses.partition import elections
from harness.defenses.partition.parts import canonical_order, digests
from harness.errors import UsageError
from harness.threats import Threat, Unit, covered


class _K(Parameters):
    """k is a number and follows from nothing: where an attacker has left fewer training examples,
    all of them vote. The default was chosen on the MNIST digit pairs 2/7, 3/8 and 4/9: large, since
    every vote is one that an attacker has to outdo.
    """

    k: int = Field(5000, ge=1, le=10**9, description="training examples that vote, the nearest")


class KnnParameters(gathering.NeighbourParameters, _K):
    """Parameters of the nearest neighbours: k first, where they are listed."""


class Knn(Defense[KnnParameters]):
    """The vote of the k nearest training examples, and exactly what turns it. Deterministic.

    Ties in distance go by content, never by place; those in the vote to the smaller label. Nothing
    but labels and distances decides, and each distance is a function of its own two examples.
    """

    name = "knn"
    title = "Nearest neighbours: vote of the k nearest training examples"
    paper = "Jia, Liu, Cao, Gong: Certified Robustness of Nearest Neighbors, AAAI 2022"
    Params = KnnParameters
    tried_with: ClassVar[Mapping[str, int]] = {"k": 9}

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.POISONED_EXAMPLE)

    def check(self, shape: Shape) -> None:
        if self.params.k > shape.n_public:
            raise UsageError(
                f"knn: k={self.params.k:,} nearest of {shape.n_public:,} training examples; "
                f"allowed: k from 1 to {shape.n_public:,}"
            )

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        """Test examples: each has a model of its own, its neighbours."""
        return gathering.blocks(shape)

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of the block's test examples, and how many inserted and deleted training
        examples they withstand, ``insert`` (e,) and ``delete`` (e,): that needs the order. For the
        collective certificate also who votes: :mod:`harness.defenses.neighbours.voters`.
        """
        with task.phase("train"):
            digest = digests(task.x_train)
            order = canonical_order(digest, task.y_train)
        distances = gathering.distances(task, self.params, order)
        ranking = Ranking(task.y_train[order], task.shape.n_labels)
        e, k = len(task.models), self.params.k
        votes = np.zeros((e, task.shape.n_labels), np.int64)
        inserted, deleted, i = np.zeros(e, np.int64), np.zeros(e, np.int64), 0
        wanted = self.params.certificate == "collective"
        voters = Voters(digest[order], task.y_train[order], e) if wanted else None
        with task.phase("predict"):
            for chunk in distances.chunks():
                for distance in chunk:
                    ranked = ranking.by(distance)
                    votes[i] = radii.nearest(ranked, k)
                    winner = int(votes[i].argmax())
                    inserted[i] = radii.withstands_insertions(ranked, k, winner)
                    deleted[i] = radii.withstands_deletions(ranked, k, winner)
                    if voters is not None:
                        voters.put(i, ranked.voting(k))
                    i += 1
                task.advance(len(chunk))
        more = {} if voters is None else voters.arrays()
        return {"votes": votes, "insert": inserted, "delete": deleted, **more}

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        return gathering.joined(parts)

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """Certified poisoning size: see :mod:`harness.defenses.neighbours.radii`."""
        winner, radius = elections.plurality(evidence["votes"])
        if threat in (Threat.INSERT, Threat.DELETE):
            radius = evidence[threat.value]
        simple = PointwiseCertificate("k-nearest", threat, DETERMINISTIC, winner, radius)
        return against_one(self.params, evidence, simple)

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """As little as turns the vote: see :mod:`harness.defenses.neighbours.attack`."""
        from harness.defenses.neighbours.attack import of_nearest

        return of_nearest(self.params, self.params.k, target, threat, r)
