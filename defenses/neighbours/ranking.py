"""How many of the nearest m training examples have each label, for any m, without sorting them all.

Training examples are in order by their distance; those at the same distance in the order in which
they are given, which is to be that of their content: then neither their places nor a change of
another example moves any. A distance is first put into one of some hundred buckets. Labels are
counted by bucket, and only the few examples of the bucket in which a count gets somewhere are
sorted. Where the buckets lie changes nothing but the time taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Holds = Callable[[Counts], NDArray[np.bool_]]
"""From counts by label (c, t) of t numbers of nearest examples to whether something holds (t,)."""

_BUCKETS = 512
_BINS = 2**16
"""Buckets times labels, at most."""
_SAMPLE = 512
"""Distances by which it is judged where buckets should lie."""
_RUNS = 64
_CELLS = 2**13
"""Counts by label, one example after another, that are held at once."""


class Ranking:
    """Ranks the training examples, whose labels are ``y`` (n,), for one test example after another.

    Memory: some numbers for each training example.
    """

    def __init__(self, y: NDArray[np.int64], n_labels: int) -> None:
        self.y, self.n_labels = y, n_labels
        self.buckets = max(1, min(_BUCKETS, _BINS // n_labels))
        self._offset = y * self.buckets
        self._bucket = np.empty(len(y), np.int64)
        self._bin = np.empty(len(y), np.int64)

    def by(self, distance: NDArray[Any]) -> Ranked:
        """The ranking by those distances (n,), until the next call. Whole numbers, any type."""
        self._put(distance)
        np.add(self._bucket, self._offset, out=self._bin)
        counts = np.bincount(self._bin, minlength=self.n_labels * self.buckets)
        ends = np.zeros((self.n_labels, self.buckets + 1), np.int64)
        counts.reshape(self.n_labels, self.buckets).cumsum(axis=1, out=ends[:, 1:])
        return Ranked(ends, self._bucket, distance, self.y)

    def _put(self, distance: NDArray[Any]) -> None:
        """Buckets that rise with the distance. Extremes share one, however far out they are."""
        sample = np.sort(distance[:: max(1, len(distance) // _SAMPLE)])
        edge = len(sample) // 128
        low, high = sample[edge], sample[-1 - edge]
        place = distance - low
        place *= distance.dtype.type((self.buckets - 1) / max(high - low, 1))
        np.clip(place, 0, self.buckets - 1, out=place)
        np.copyto(self._bucket, place, casting="unsafe")


class Ranked:
    """The training examples in order for one test example.

    ``ends`` (c, buckets + 1): counts by label before the first bucket and at the end of each.
    """

    def __init__(
        self, ends: Counts, bucket: Counts, distance: NDArray[Any], y: NDArray[np.int64]
    ) -> None:
        self.ends, self._bucket, self._distance, self._y = ends, bucket, distance, y

    @property
    def all(self) -> Counts:
        """(c,) how many training examples have each label."""
        return self.ends[:, -1]

    def first(self, holds: Holds) -> Counts | None:
        """The counts by label (c,) of the smallest number of nearest examples for which ``holds``.

        What holds for some number must hold for all larger ones. None if it never does.
        """
        at = holds(self.ends)
        reached = int(at.argmax())
        if not at[reached]:
            return None
        if reached == 0:
            return self.ends[:, 0]
        return _first_of(self.ends[:, reached - 1], self._y[self.members(reached - 1)], holds)

    def voting(self, k: int) -> NDArray[np.bool_]:
        """(n,) whether a training example is one of the nearest k."""
        nearest = self.ends.sum(axis=0)
        last = int(nearest.searchsorted(k))  # the k-th is in the bucket before this end
        if last == len(nearest):
            return np.ones(len(self._y), bool)
        found = np.asarray(self._bucket < last - 1)
        found[self.members(last - 1)[: k - nearest[last - 1]]] = True
        return found

    def members(self, bucket: int) -> NDArray[np.int64]:
        """The training examples of a bucket, by their index, nearest first."""
        found = np.flatnonzero(self._bucket == bucket)
        return found[self._distance[found].argsort(kind="stable")]


def _first_of(before: Counts, labels: NDArray[np.int64], holds: Holds) -> Counts:
    """The same among examples with those ``labels``, in their order, after ``before`` (c,)."""
    while len(labels) > _RUNS and len(labels) * len(before) > _CELLS:  # as by buckets, above
        size = -(-len(labels) // _RUNS)
        bins = labels * _RUNS + np.arange(len(labels)) // size
        counts = np.bincount(bins, minlength=len(before) * _RUNS).reshape(-1, _RUNS)
        ends = before[:, None] + counts.cumsum(axis=1)
        run = int(holds(ends).argmax())
        before = ends[:, run - 1] if run else before
        labels = labels[run * size : (run + 1) * size]
    each = np.zeros((len(before), len(labels)), np.int64)
    each[labels, np.arange(len(labels))] = 1
    counts = before[:, None] + each.cumsum(axis=1)
    return np.asarray(counts[:, int(holds(counts).argmax())])
