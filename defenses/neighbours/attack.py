"""What turns a vote of neighbours, carried out: :mod:`harness.defenses.neighbours.radii` says why.

Jia, Liu, Cao, Gong: Certified Robustness of Nearest Neighbors against Data Poisoning and Backdoor
Attacks, AAAI 2022. The best attack is known for each threat, and needs one poisoning more than is
proved. Only identical examples can ask for more; how they are got around is said where it is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.poisoning import Poisoning
from harness.defenses.neighbours.distances import within
from harness.defenses.neighbours.gathering import NeighbourParameters, distances
from harness.defenses.partition.parts import canonical_order, digests
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.defense import Target
    from harness.defenses.neighbours.ranking import Counts

IntArray = NDArray[np.int64]


def of_nearest(
    p: NeighbourParameters, k: int, target: Target, threat: Threat, r: int
) -> Poisoning | None:
    """The best attack of size ``r`` on the vote of the nearest ``k`` training examples."""
    near, a = _seen(p, target), target.predicted
    if threat is Threat.INSERT:
        return _inserted_among(near, a, k, r)
    if threat is Threat.DELETE:
        return _deleted(near.order[near.labels == a][:r])
    rival = _weakest_lead(near.votes(k), a)
    free, others = near.exchanged(a, k)
    if len(free) < r and threat is not Threat.LABEL_FLIP:
        voters = near.order[:k][near.labels[:k] == a][:r]
        if near.without(voters).with_copies(rival, len(voters), k).argmax() != a:
            return Poisoning.replace(voters, near.first, rival)
    return Poisoning.flip(np.concatenate([free, others])[:r], rival)


def of_radius(
    p: NeighbourParameters, radius: float, target: Target, threat: Threat, r: int
) -> Poisoning | None:
    """The best attack of size ``r`` on the vote of all training examples within ``radius``."""
    near, a = _seen(p, target), target.predicted
    voting = int(near.distance.searchsorted(within(p.metric, p.step, radius), side="right"))
    rival = _weakest_lead(near.votes(voting), a)
    voters = near.order[:voting][near.labels[:voting] == a]
    if threat is Threat.INSERT:
        return Poisoning.insert(_copies(target.x[None], r), rival)
    if threat is Threat.DELETE:
        return _deleted(voters[:r])
    if len(voters):
        return Poisoning.flip(voters[:r], rival)
    # Nobody votes, and label 0 is predicted: one example that does decides.
    moved = near.order[:1]
    return None if threat is Threat.LABEL_FLIP else Poisoning.replace(moved, target.x[None], rival)


@dataclass(frozen=True)
class _Neighbours:
    """The training examples as the test example sees them, nearest first.

    ``order`` (n,): their indices; ``labels`` (n,), ``distance`` (n,) and ``digest`` (n, 2) in that
    order. ``first`` (1, ...): the raw example that is nearer than all of them, or as the nearest.
    """

    order: IntArray
    labels: IntArray
    distance: NDArray[Any]
    digest: NDArray[np.uint64]
    first: NDArray[Any]
    n_labels: int

    def votes(self, m: int) -> Counts:
        """(c,) how many of the nearest m have each label."""
        return np.asarray(np.bincount(self.labels[:m], minlength=self.n_labels))

    @cached_property
    def _as_first(self) -> IntArray:
        """The labels of the training examples that are the same as ``first``."""
        found: IntArray = self.labels[(self.digest == digests(self.first)).all(axis=1)]
        return found

    def with_copies(self, label: int, r: int, k: int) -> Counts:
        """(c,) the votes of the nearest k after ``r`` copies of ``first`` with that label more.

        Only those come before them that are the same example with a smaller label.
        """
        before = int((self._as_first < label).sum())
        copies = min(r, max(k - before, 0))
        votes = self.votes(k - copies)
        votes[label] += copies
        return votes

    def without(self, examples: IntArray) -> _Neighbours:
        """The training set without those."""
        kept = ~np.isin(self.order, examples)
        return replace(
            self,
            order=self.order[kept],
            labels=self.labels[kept],
            distance=self.distance[kept],
            digest=self.digest[kept],
        )

    def exchanged(self, a: int, k: int) -> tuple[IntArray, IntArray]:
        """The examples of label ``a`` whose vote another label takes over, the nearest first.

        Of identical examples of which only some are among the nearest k, those with the smallest
        labels are: if one of them gets a larger label, another may vote in its place. All of these
        that have label a come last, by themselves, whether they vote or not.
        """
        own, voting = self.labels == a, np.arange(len(self.order)) < k
        cut = np.zeros(len(self.order), bool)
        if k < len(self.order) and (self.digest[k - 1] == self.digest[k]).all():
            cut = (self.digest == self.digest[k]).all(axis=1)
        return self.order[own & voting & ~cut], self.order[own & cut]


def _seen(p: NeighbourParameters, target: Target) -> _Neighbours:
    """Kept in the target's notes: distances to all training examples take a while."""
    if "neighbours" not in target.notes:
        target.notes["neighbours"] = _neighbours(p, target)
    found: _Neighbours = target.notes["neighbours"]
    return found


def _neighbours(p: NeighbourParameters, target: Target) -> _Neighbours:
    data = target.data
    if "canonical order" not in target.shared:
        digest = digests(data.x_train)
        target.shared["canonical order"] = digest, canonical_order(digest, data.y_train)
    digest, canonical = target.shared["canonical order"]
    (distance,) = next(distances(target.task(), p, canonical).chunks())
    by_distance = distance.argsort(kind="stable")
    order, distance = canonical[by_distance], distance[by_distance]
    # Nothing is nearer than the test example, but another may be as near and go by its content.
    first = target.x[None]
    if distance[0] == 0 and tuple(digest[order[0]]) < tuple(digests(first)[0]):
        first = data.x_train[order[:1]]
    return _Neighbours(order, data.y_train[order], distance, digest[order], first, data.n_labels)


def _inserted_among(near: _Neighbours, a: int, k: int, r: int) -> Poisoning:
    """Copies of the first example, with the label that they take farthest.

    q of them vote, with the nearest k - q of the others: see
    :func:`harness.defenses.neighbours.radii.withstands_insertions`.
    """
    labels = [b for b in range(near.n_labels) if b != a]
    votes = [near.with_copies(b, r, k) for b in labels]
    behind = [counts[a] - counts[b] + (a < b) for b, counts in zip(labels, votes, strict=True)]
    return Poisoning.insert(_copies(near.first, r), labels[int(np.argmin(behind))])


def _deleted(examples: IntArray) -> Poisoning | None:
    return Poisoning.delete(examples) if len(examples) else None


def _copies(x: NDArray[Any], r: int) -> NDArray[Any]:
    return np.broadcast_to(x, (r, *x.shape[1:]))


def _weakest_lead(votes: Counts, a: int) -> int:
    """The label over which ``a`` leads by the fewest of ``votes`` (c,)."""
    lead = votes[a] - votes + (np.arange(len(votes)) > a)
    lead[a] = np.iinfo(np.int64).max
    return int(lead.argmin())
