"""The attack on votes of parts: the base models that are cheapest to turn are turned first.

Certificates that count take every example to turn every base model that it reaches. Which ones it
turns is found out by training (:mod:`harness.defenses.partition.attack_training`), and the examples
are spent where they turn most votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from harness.defenses.partition.attack_chains import chains
from harness.defenses.partition.attack_choice import rows_in_turn
from harness.defenses.partition.attack_copies import copies
from harness.defenses.partition.attack_partitions import Partition
from harness.defenses.partition.attack_plan import Inserting, Plan
from harness.defenses.partition.attack_training import GONE, Change, Part, Trial
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.poisoning import Poisoning
    from harness.defense import Target

IntArray = NDArray[np.int64]

_PARTS = "parts"
"""What is remembered for the whole cell: the parts of the clean training set."""
_TRIED = 16
"""Copies that are hashed for each part of a partition: one part in e^16 is not hit."""
_HASHED = 2**30
"""Bytes that are hashed, at most: a second or two."""
_VALUES = 2**21
"""Models that copies reach, at most, all together."""
_WEIGHED = 24
"""Of parts so large not all changes are tried: then the first ones have to be good."""
_RIVALS = 3
"""Rivals against whom it is planned, at most."""
_AT_ONCE = 2**24
"""Bytes of copies that are made at once."""


def poison(target: Target, threat: Threat, r: int, partition: Partition) -> Poisoning | None:
    """As :meth:`harness.Defense.attack`, where models of that partition vote.

    Against the rival that takes the fewest examples; it is planned once, for all sizes.
    """
    if "plan" not in target.notes:
        plan = _Case.of(target, threat, partition).best()
        target.notes["plan"] = plan
        target.expected = int(plan.cost) if plan.cost < np.inf else None
    known: Plan = target.notes["plan"]
    return known.poisoning(threat, r)


@dataclass(frozen=True)
class _Case:
    """A target, the parts of the clean training set, and their models' ``scores`` (m, c) of it."""

    target: Target
    threat: Threat
    partition: Partition
    trial: Trial
    parts: Sequence[Part]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, target: Target, threat: Threat, partition: Partition) -> _Case:
        if _PARTS not in target.shared:
            y = target.data.y_train
            reached = partition.reached(target.data.x_train, y)
            target.shared[_PARTS] = [
                Part(rows, y[rows]) for rows in _grouped(reached, partition.n_models)
            ]
        parts: list[Part] = target.shared[_PARTS]
        trial = Trial.of(target)
        return cls(target, threat, partition, trial, parts, trial.scores(parts))

    def best(self) -> Plan:
        """The plan that takes the fewest examples, of those against each rival.

        The rivals that lack the fewest votes come first. Those that lack more than the best plan
        could bring, if its examples turned all models that they reach, are left out.
        """
        lacking = {rival: self.gains(rival)[1] for rival in self.target.rivals}
        first, *others = sorted(lacking, key=lambda rival: lacking[rival])[:_RIVALS]
        best = self.plan(first)
        group = self.partition.reached(self.target.x[None], np.array([first])).shape[1]
        twice = self.threat not in {Threat.INSERT, Threat.DELETE}
        for rival in others:
            if lacking[rival] > 2 * group * (1 + twice) * (best.cost - 1):
                break
            plan = self.plan(rival)
            best = plan if plan.cost < best.cost else best
        return best

    def gains(self, rival: int) -> tuple[IntArray, int]:
        """What each model (m,) yields on the difference of two labels once it votes for the rival,
        and what the rival lacks.
        """
        a, c = self.target.predicted, self.scores.shape[1]
        if self.partition.run_off and c > 2:  # the second round, between these two
            ahead, behind = self.scores[:, a], self.scores[:, rival]
            prefers = (ahead > behind) | ((ahead == behind) & (a < rival))
            return 2 * prefers.astype(np.int64), int(2 * prefers.sum() - len(prefers)) + (a < rival)
        votes = self.scores.argmax(axis=1)
        gains = (votes == a).astype(np.int64) + (votes != rival)
        return gains, int((votes == a).sum() - (votes == rival).sum()) + (a < rival)

    def plan(self, rival: int) -> Plan:
        """What to change, and what to insert, against that rival."""
        gains, needed = self.gains(rival)
        near, y = self.target.nearness(), self.target.data.y_train
        plan = Plan(rival, gains, needed, near[y[near] == self.target.predicted])
        inserts = self.threat in {Threat.INSERT, Threat.MODIFY, Threat.ANY}
        if inserts:
            plan.inserting = self.inserting(rival, gains, needed)
        if self.threat is not Threat.INSERT:
            # An example that takes another's place does half of the work where it comes.
            half = needed // 2 + 1 if inserts else needed
            found = chains(self.trial, self.parts, self.changes(rival), rival, gains, half)
            plan.turn = rows_in_turn(found, gains)
        return plan

    def inserting(self, rival: int, gains: IntArray, needed: int) -> Inserting:
        """Copies of the example, the models that each reaches, and how many turn a model."""
        copy = Change(self.trial.n, rival, copied=True)
        often = [[copy] * (len(part.rows) + 1) for part in self.parts]
        found = chains(self.trial, self.parts, often, rival, gains, needed)
        many = np.zeros(len(self.parts), np.int64)
        many[list(found)] = [len(chain) for chain in found.values()]
        x, domain = self.target.x, self.target.data.domain
        group = self.partition.reached(x[None], np.array([rival])).shape[1]
        count = _TRIED * -(-len(self.parts) // group)
        made = copies(x, domain, min(count, _HASHED // x.nbytes, _VALUES // group))
        size = max(1, _AT_ONCE // x.nbytes)
        reached = np.concatenate(
            [
                self.partition.reached(rows, np.full(len(rows), rival))
                for start in range(0, len(made), size)
                for rows in [made.rows(slice(start, start + size))]
            ]
        )
        distinct = np.sort(np.unique(reached, axis=0, return_index=True)[1])
        return Inserting(made.some(distinct), reached[distinct], many)

    def changes(self, rival: int) -> list[list[Change]]:
        """What may be done to each part without a new example, the most promising first.

        That is what has the label that its model votes for, then what has another one that is not
        the rival's, each time the nearest first.
        """
        y, near = self.target.data.y_train, self.target.nearness()
        rank = np.empty(len(near))
        rank[near] = np.arange(len(near))
        flips = self.threat is Threat.LABEL_FLIP
        away = self.partition.label_moves or not flips
        moves = flips and away
        votes = self.scores.argmax(axis=1)
        found = []
        entering = self.entering(rival) if moves else [np.zeros(0, np.int64)] * len(votes)
        for part, vote, new in zip(self.parts, votes, entering, strict=True):
            rows = np.concatenate([part.rows[part.labels != rival], new])
            order = rank if moves else self.weight(part, rank)
            rows = rows[np.lexsort((order[rows], y[rows] != vote))]
            here = set(part.rows.tolist()) if away else set()
            found.append([Change(row, GONE if row in here else rival) for row in rows.tolist()])
        return found

    def weight(self, part: Part, rank: NDArray[np.float64]) -> NDArray[np.float64]:
        """A place for each training example, which in a large part of a learner that is linear in
        the labels is the smaller the more its label counts; else as ``rank`` has it.
        """
        if len(part.rows) < _WEIGHED or not self.trial.learner.linear_in_labels:
            return rank
        x = self.trial.x[torch.from_numpy(part.rows).to(self.trial.x.device)]
        found = np.zeros(len(rank))
        weights = self.trial.learner.label_weights(x, self.trial.x_test)[0][0]
        found[part.rows] = -weights.cpu().numpy()
        return found

    def entering(self, rival: int) -> list[IntArray]:
        """The training examples that each model gets once they have the rival's label."""
        data = self.target.data
        rows = np.flatnonzero(data.y_train != rival)
        reached = self.partition.reached(data.x_train[rows], np.full(len(rows), rival))
        return [rows[own] for own in _grouped(reached, len(self.parts))]


def _grouped(reached: IntArray, n_models: int) -> list[IntArray]:
    """The examples of each model, given the models (n, G) that each example reaches."""
    group = reached.shape[1]
    order = np.argsort(reached.ravel(), kind="stable")
    ends = np.bincount(reached.ravel(), minlength=n_models).cumsum()
    return np.split(order // group, ends[:-1])
