"""Changed labels that give a cluster another meaning.

A cluster has label a because the best assignment in which it means a agrees with more training
labels than the best in which it means b. Where the two assignments call a cluster differently, a
label that becomes the one from the other moves their difference by 2, and more is not possible: see
:mod:`harness.proofs.assignment`. In the cluster itself that is so against every third assignment as
well; elsewhere one of those may come to the front, so what is best there is found out step by step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from harness.datasets.poisoning import Poisoning
from harness.proofs.assignment import agreements

if TYPE_CHECKING:
    from harness.defense import Target

IntArray = NDArray[np.int64]

_SHARE = 8
"""This part of what is missing is taken in one step, before assignments are compared anew."""


def best_flips(target: Target, clusters: IntArray, r: int) -> Poisoning | None:
    """The first ``r`` of the changed labels that turn the label of the target's cluster.

    ``clusters`` (n,): of the training examples. None where no labels do.
    """
    if "flips" not in target.notes:
        target.notes["flips"] = _planned(target, clusters)
    victims, labels = target.notes["flips"]
    return Poisoning.flip(victims[:r], labels[:r]) if len(victims) else None


def _planned(target: Target, clusters: IntArray) -> tuple[IntArray, IntArray]:
    """The shortest plan against any rival, as training examples and their new labels."""
    counts, own, a = target.arrays["counts"], int(target.arrays["clusters"][0]), target.predicted
    agreed = agreements(counts)[own]
    best: _Plan | None = None
    for rival in sorted(target.rivals, key=lambda b: (agreed[a] - agreed[b], b)):
        if best is not None and agreed[a] - agreed[rival] >= 2 * best.size:
            break  # no plan against this one or those that follow is shorter
        plan = _Plan(counts.astype(np.int64), own, a, rival)
        if plan.made() and (best is None or plan.size < best.size):
            best = plan
    if best is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return best.carried_out(clusters, target.data.y_train)


@dataclass
class _Plan:
    """What is to be relabelled so that cluster ``own`` means ``rival`` rather than ``a``.

    ``counts`` (m, c): how many training examples of each cluster have each label by now.
    """

    counts: IntArray
    own: int
    a: int
    rival: int
    steps: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Cluster, old label, new label, how many."""

    def __post_init__(self) -> None:
        self._left = self.counts.copy()  # each label is changed once

    @property
    def size(self) -> int:
        """How many labels it changes."""
        return sum(step[3] for step in self.steps)

    def made(self) -> bool:
        """Whether labels suffice; then the steps are complete."""
        while True:
            kept, wanted = self._assignment(self.a), self._assignment(self.rival)
            missing = self._agreement(kept) - self._agreement(wanted) + (self.a < self.rival)
            if missing <= 0:
                return True
            step = next(self._possible(kept, wanted), None)
            if step is None:
                return False
            cluster, old, new = step
            left = int(self._left[cluster, old])
            most = -(-missing // 2) if (cluster, old) == (self.own, self.a) else missing // _SHARE
            self._take(cluster, old, new, min(left, max(1, int(most))))

    def _possible(self, kept: IntArray, wanted: IntArray) -> Iterator[tuple[int, int, int]]:
        """Steps (cluster, old label, new label), those that move most first.

        ``kept`` and ``wanted`` (m,): what each cluster means in the two assignments, -1 where that
        does not matter.
        """
        apart: list[int] = np.flatnonzero(kept != wanted).tolist()
        apart.sort(key=lambda g: g != self.own)
        for g in apart:
            if self._left[g, kept[g]]:
                yield g, int(kept[g]), int(wanted[g])
        for g in apart:
            for old in np.flatnonzero(self._left[g]):
                if old not in (kept[g], wanted[g]):
                    yield g, int(old), int(wanted[g])

    def _take(self, cluster: int, old: int, new: int, many: int) -> None:
        self.steps.append((cluster, old, new, many))
        self._left[cluster, old] -= many
        self.counts[cluster, old] -= many
        self.counts[cluster, new] += many

    def _assignment(self, label: int) -> IntArray:
        """(m,) the labels of all clusters that agree most if the cluster itself has ``label``."""
        m, c = self.counts.shape
        found = np.full(m, -1, np.int64)
        found[self.own] = label
        if m == c:  # each label goes to one cluster
            clusters, labels = (np.delete(np.arange(m), gone) for gone in (self.own, label))
            rows, columns = linear_sum_assignment(
                self.counts[np.ix_(clusters, labels)], maximize=True
            )
            found[clusters[rows]] = labels[columns]
        return found

    def _agreement(self, assignment: IntArray) -> int:
        given = np.flatnonzero(assignment >= 0)
        return int(self.counts[given, assignment[given]].sum())

    def carried_out(self, clusters: IntArray, y: IntArray) -> tuple[IntArray, IntArray]:
        """The training examples that it relabels, by their index, and their new labels."""
        victims, labels = [], []
        used: dict[tuple[int, int], int] = {}
        for cluster, old, new, many in self.steps:
            start = used.get((cluster, old), 0)
            of_kind = np.flatnonzero((clusters == cluster) & (y == old))
            victims.append(of_kind[start : start + many])
            labels.append(np.full(many, new, np.int64))
            used[cluster, old] = start + many
        return np.concatenate(victims), np.concatenate(labels)
