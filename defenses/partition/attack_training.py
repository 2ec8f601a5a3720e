"""What base models would say of a test example if their parts held others: tried in batches.

This is the attacker's planning and proves nothing. So models are fitted many at once, those of
equally large parts together, and may differ from those of ``gather`` in their rounding and in their
random numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from harness.learners.fitting import fit_all

if TYPE_CHECKING:
    from torch import Tensor

    from harness.defense import Target
    from harness.learners.base import Learner

IntArray = NDArray[np.int64]

_AT_ONCE = 2**22
"""Values of training examples that are gathered at a time: 16 MiB."""

GONE = -1
"""The label of an example that is taken out of a part."""


class Change(NamedTuple):
    """What becomes of example ``row`` in a part: it gets ``label``, or is GONE.

    One that was not there is added; one that is ``copied`` is added once more. The row n, behind
    the training set, is the test example itself.
    """

    row: int
    label: int
    copied: bool = False


class Part(NamedTuple):
    """The examples of a base model, ``rows`` (k,) and their ``labels`` (k,)."""

    rows: IntArray
    labels: IntArray

    def after(self, change: Change) -> Part:
        """The part after that change."""
        here = np.flatnonzero(self.rows == change.row)
        if len(here) and not change.copied:
            at = int(here[0])
            if change.label != GONE:
                labels = self.labels.copy()
                labels[at] = change.label
                return Part(self.rows, labels)
            without = np.arange(len(self.rows)) != at
            return Part(self.rows[without], self.labels[without])
        if change.label == GONE:
            return self
        return Part(np.append(self.rows, change.row), np.append(self.labels, change.label))


@dataclass(frozen=True)
class Trial:
    """Fits base models of any parts, and asks them about the one test example.

    ``x`` (n, ...) are the features of the training set, ``x_test`` (1, ...) those of the example.
    """

    learner: Learner
    x: Tensor
    x_test: Tensor
    n_labels: int

    @classmethod
    def of(cls, target: Target) -> Trial:
        """Of the learner and the features that the defense's parameters name."""
        task, params = target.task(), target.defense.params
        learner = task.learner(str(getattr(params, "learner", "ridge")))
        spec = str(getattr(params, "features", "auto"))
        x, x_test = task.images() if learner.images else task.features(spec)
        return cls(learner, x, x_test, task.shape.n_labels)

    @property
    def n(self) -> int:
        """The size of the training set, and the row of the test example."""
        return len(self.x)

    def size(self, parts: Iterable[Part]) -> int:
        """How many values the training examples of these parts have: the work of fitting them."""
        return sum(len(part.rows) + 1 for part in parts) * max(1, self.x_test.numel())

    def scores(self, parts: Sequence[Part]) -> NDArray[np.float32]:
        """(q, c) what the models of ``q`` parts say of the test example."""
        by_size = defaultdict(list)
        for i, part in enumerate(parts):
            by_size[len(part.rows)].append(i)
        found = np.zeros((len(parts), self.n_labels), np.float32)
        width = max(1, self.x_test.numel())
        for size, places in sorted(by_size.items()):
            step = max(1, _AT_ONCE // (max(1, size) * width))
            for start in range(0, len(places), step):
                some = places[start : start + step]
                rows = np.stack([parts[i].rows for i in some])
                labels = np.stack([parts[i].labels for i in some])
                found[some] = self._fitted(rows, labels)
        return found

    def _fitted(self, rows: IntArray, labels: IntArray) -> NDArray[np.float32]:
        device = self.x.device
        x = self.x[torch.from_numpy(np.minimum(rows, self.n - 1)).to(device)]
        own = rows == self.n
        if own.any():
            x[torch.from_numpy(own).to(device)] = self.x_test
        y = torch.from_numpy(labels).to(device)
        # Models that draw random numbers draw these, whatever else is tried.
        models = fit_all(self.learner, x, y, self.n_labels, np.random.default_rng(0))
        scores: NDArray[np.float32] = models.scores(self.x_test, self.n_labels)[:, 0].cpu().numpy()
        return scores


def lead(scores: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    """(q,) how far ``label`` is ahead of the best other one: above 0 where it is predicted, at most
    0 where it is not. Ties go to the smaller label.
    """
    ahead = scores[:, label] - np.delete(scores, label, axis=1).max(axis=1)
    predicted = scores.argmax(axis=1) == label
    least = np.finfo(np.float32).tiny
    found: NDArray[np.float32] = np.where(predicted, np.maximum(ahead, least), np.minimum(ahead, 0))
    return found
