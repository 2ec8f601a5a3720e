"""Changed labels that turn as many parts as it takes, the cheapest first.

Where features are trusted, what a changed label does stays in its part. Of a base model that is
linear in its labels the fewest that turn it are known (:mod:`harness.proofs.linear_votes`); any
other votes for a label that all its examples have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from harness.datasets.poisoning import Poisoning
from harness.proofs.linear_votes import gains_of_flips

if TYPE_CHECKING:
    from torch import Tensor

    from harness.defense import Target
    from harness.learners.base import Learner

IntArray = NDArray[np.int64]
Flips = tuple[IntArray, IntArray]
"""Training examples, by their index, and their new labels."""

_RIVALS = 3
"""Rivals against whom it is planned, at most."""
_ROUNDED = 1e-5
"""Models are fitted in single precision: a rival that is so far ahead is ahead."""


def best_flips(
    target: Target,
    learner: Learner,
    inputs: tuple[Tensor, Tensor],
    parts: Sequence[IntArray],
) -> Flips:
    """The changed labels that turn a plurality vote of the ``parts``' models, the cheapest first.

    ``inputs``: what models see of the training and of the one test example. For two labels and a
    linear learner no others are fewer.
    """
    y, c, a = target.data.y_train, target.data.n_labels, target.predicted
    x, x_test = inputs
    known = [own for own in parts if len(own)]
    weights: list[NDArray[np.float64] | None] = [None] * len(known)
    if learner.linear_in_labels:
        for i, own in enumerate(known):
            index = torch.from_numpy(own).to(x.device)
            weights[i] = learner.label_weights(x[index], x_test)[0][0].cpu().numpy()
    votes = target.arrays["votes"][0]
    plans = [
        _against(known, weights, y, c, (a, b), int(votes[a] - votes[b]) + int(a < b))
        for b in target.rivals[:_RIVALS]
    ]
    needed, flips = min(plans, key=lambda plan: plan[0])
    target.expected = needed if needed <= len(y) else None
    return flips


def poisoning(flips: Flips, r: int) -> Poisoning | None:
    """The first ``r`` of them; None without any."""
    victims, labels = flips
    return Poisoning.flip(victims[:r], labels[:r]) if len(victims) else None


def _against(
    parts: Sequence[IntArray],
    weights: Sequence[NDArray[np.float64] | None],
    y: IntArray,
    c: int,
    labels: tuple[int, int],
    lead: int,
) -> tuple[int, Flips]:
    """How many labels make up for the ``lead`` of the first of two labels over the second; and all
    labels that help, the cheapest parts first: it may take more, where votes are not known.
    """
    a, b = labels
    offers: list[tuple[float, int, Flips]] = []
    for own, w in zip(parts, weights, strict=True):
        vote, flips = _of_part(own, y[own], w, c, b)
        gain = 2 if vote in (a, -1) else int(vote != b)
        if gain and len(flips[0]):
            offers.append((len(flips[0]) / gain, gain, flips))
    offers.sort(key=lambda offer: offer[0])
    if not offers:
        return len(y) + 1, (np.zeros(0, np.int64), np.zeros(0, np.int64))
    needed = 0
    for _, gain, (victims, _) in offers:
        if lead > 0:
            needed, lead = needed + len(victims), lead - gain
    each = [flips for _, _, flips in offers]
    return (
        needed if lead <= 0 else len(y) + 1,
        (np.concatenate([v for v, _ in each]), np.concatenate([new for _, new in each])),
    )


def _of_part(
    own: IntArray, y: IntArray, weights: NDArray[np.float64] | None, c: int, rival: int
) -> tuple[int, Flips]:
    """What the model of a part votes for, -1 where that is not known, and the fewest labels with
    which it votes for the rival.
    """
    other = np.flatnonzero(y != rival)
    every = own[other], np.full(len(other), rival, np.int64)
    if weights is None:
        return (int(y[0]) if (y == y[0]).all() else -1), every
    scores = np.bincount(y, weights, minlength=c)
    vote = int(scores.argmax())
    if vote == rival or (y == y[0]).all():  # with one label alone, that one is predicted
        vote = int(y[0]) if (y == y[0]).all() else vote
        if vote == rival:
            return vote, (every[0][:0], every[1][:0])
    gains = gains_of_flips(weights, y == vote, y == rival)
    order = np.argsort(-gains, kind="stable")
    changed = y.copy()
    for count, j in enumerate(order[: len(other)], start=1):
        changed[j] = rival if weights[j] > 0 else vote
        after = np.bincount(changed, weights, minlength=c)
        if (np.delete(after, rival) + _ROUNDED < after[rival]).all():
            if (changed != y).sum() == count and (changed == rival).any():
                taken = order[:count]
                return vote, (own[taken], changed[taken])
            break
    return vote, every
