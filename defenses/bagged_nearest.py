"""Bagged nearest neighbours: the exact label probabilities, without drawing a single subsample.

Jia, Cao, Gong: Intrinsic Certified Robustness of Bagging, AAAI 2021, bound the probabilities by
sampling. For this base learner they are a sum over the training examples, sorted by distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.learners.nearest import NearestNeighbour
from harness.proofs.confidence import LabelBounds

_KEYS = 2**22
"""Distances sorted at once: an array of 32 MiB."""


def rank_probabilities(n: int, k: int) -> NDArray[np.float64]:
    """(n,): how probably the nearest of k draws with replacement is the i-th nearest of all n.

    ``((n - i + 1) / n)^k - ((n - i) / n)^k`` for i = 1 ... n: none of the draws is any of the i - 1
    nearest, and not all of them are beyond the i-th. As a product, so that small ones keep their
    digits: the relative error is below 1e-12, except where a probability is below 1e-300.
    """
    left = np.arange(n, 0, -1, dtype=np.float64)  # n - i + 1
    with np.errstate(divide="ignore", under="ignore"):
        log_reached = k * np.where(2 * left > n, np.log1p((left - n) / n), np.log(left / n))
        stopped = -np.expm1(k * np.log1p(-1 / left))
        return np.asarray(np.exp(log_reached) * stopped)


def label_probabilities(
    learner: NearestNeighbour, x: Tensor, y: Tensor, x_test: Tensor, n_labels: int, k: int
) -> NDArray[np.float64]:
    """(e, c): how probably a nearest neighbour among k draws from the training set has each label.

    ``x`` (n, d) and ``x_test`` (e, d) features, ``y`` (n,) labels. Examples at the same distance
    are ranked by their label, as ``learner`` prefers them; examples equal in both may be in any
    order, for only the label counts.
    """
    chance = torch.from_numpy(rank_probabilities(len(x), k)).to(x.device)
    rows = max(1, _KEYS // len(x))
    parts = []
    for tests in x_test.split(rows):
        labels = _sorted(learner.keys(x, y, tests, n_labels)).remainder_(n_labels)
        sums = [torch.where(labels == label, chance, 0.0).sum(1) for label in range(n_labels)]
        parts.append(torch.stack(sums, 1))
    return torch.cat(parts).cpu().numpy()


def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type != "cpu":
        return keys.sort(1).values
    # NumPy sorts whole numbers in place several times faster than torch on a processor.
    keys.numpy().sort(axis=1)
    return keys


def exact_bounds(probabilities: NDArray[Any], n: int) -> LabelBounds:
    """Bounds that hold for certain, as near to the ``probabilities`` (e, c) as their rounding.

    Each is a sum of at most ``n`` positive terms that are good to 1e-12, so it is good to little
    more; what is not the predicted label's is summed up from the others, which keeps the digits of
    a probability near one. The predicted label is the smaller one in a tie.
    """
    relative = 2e-12 + 2.0**-51 * n
    rows = np.arange(len(probabilities))
    prediction = probabilities.argmax(axis=1)
    top = probabilities[rows, prediction] * (1 - relative)
    others = probabilities * (1 + relative) + 1e-290
    others[rows, prediction] = 0.0
    rest = others.sum(axis=1) * (1 + relative)
    lower = np.maximum(top, np.nextafter(1 - rest, -1))
    return LabelBounds(
        prediction.astype(np.int64), np.clip(lower, 0.0, 1.0), np.minimum(others.max(axis=1), 1.0)
    )
