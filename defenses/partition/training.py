"""Training the base models of a partition, each as if it were the only one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.defense import Task
from harness.learners.fitting import fit_all

if TYPE_CHECKING:
    from torch import Tensor

    from harness.learners.base import Learner, Models

BLOCK = 250
"""Base models in a block. Fixed, because a model's random numbers follow from its block and place:
a size that followed the number of examples would let an inserted one reach every model."""


def rankings(
    task: Task,
    learner: Learner,
    inputs: tuple[Tensor, Tensor],
    members: Sequence[NDArray[np.int64]],
) -> Iterator[NDArray[Any]]:
    """For each base model of the block, the labels of each test example from best to worst.

    ``inputs`` are the features of the training and the test set; ``members`` the indices of each
    model's training examples, in an order that they themselves determine. Yields (e, c) unsigned
    integers; equal scores rank the smaller label first. A model without examples, or one that its
    examples keep from being fitted, ranks 0, 1, ...

    Every model is fitted and asked by itself, in the exact shape of its own examples and with a
    generator of its own: in a batch, the number of examples in another part could change how
    sums are rounded.
    """
    x, x_test = inputs
    labels, c = task.labels(), task.shape.n_labels
    kind = np.min_scalar_type(c - 1)
    for own, rng in zip(members, task.rng().spawn(len(members)), strict=True):
        index = torch.from_numpy(own).to(x.device)
        with task.phase("train"):
            model = fit_all(learner, x[index][None], labels[index][None], c, rng)
        with task.phase("predict"):
            ranked = _ranking(model, x_test, c).cpu().numpy().astype(kind)
        yield ranked
        task.advance(1)


def _ranking(model: Models, x_test: Tensor, n_labels: int) -> Tensor:
    if n_labels == 2:  # what is not predicted comes second
        best = model.predict(x_test)[0]
        return torch.stack([best, 1 - best], dim=1)
    return model.scores(x_test, n_labels)[0].sort(dim=1, descending=True, stable=True).indices


def positions(ranking: NDArray[Any]) -> NDArray[Any]:
    """The place (..., c) of each label, 0 for the best, from labels (..., c) from best to worst."""
    place = np.empty_like(ranking)
    np.put_along_axis(place, ranking, np.arange(ranking.shape[-1], dtype=ranking.dtype), -1)
    return place
