"""Training the base models of a partition, each as if it were the only one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
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

    def fitted(own: NDArray[np.int64], i: int) -> Models:
        index = torch.from_numpy(own).to(x.device)
        with task.phase("train"):
            return fit_all(learner, x[index][None], labels[index][None], c, _spawned(task.rng(), i))

    def ranked(own: NDArray[np.int64], i: int) -> NDArray[Any]:
        model = task.once(own, (x, learner, i, "model"), lambda: fitted(own, i))
        with task.phase("predict"):
            return _ranking(model, x_test, c).cpu().numpy().astype(kind)

    for i, own in enumerate(members):
        given = x, x_test, learner, i, "ranking"
        yield task.once(own, given, partial(ranked, own, i))
        task.advance(1)


def _spawned(rng: np.random.Generator, i: int) -> np.random.Generator:
    """``rng.spawn(i + 1)[i]`` of a generator that spawned none: the others need not be made."""
    seeds = rng.bit_generator.seed_seq
    assert isinstance(seeds, np.random.SeedSequence)
    key = *seeds.spawn_key, i
    child = np.random.SeedSequence(seeds.entropy, spawn_key=key, pool_size=seeds.pool_size)
    return np.random.Generator(type(rng.bit_generator)(child))


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
