"""The labels that turn a ridge regression, the fewest of them: the best prefix, carried out.

Scores are linear in the labels, so an attacker who changes r of them does best with the r largest
gains (Meyer, Albarghouthi, D'Antoni: Certifying Data-Bias Robustness in Linear Regression, 2022):
see :mod:`harness.proofs.linear_votes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.datasets.poisoning import Poisoning
from harness.proofs.influence import ridge_system
from harness.proofs.linear_votes import flips_to_each, gains_of_flips

if TYPE_CHECKING:
    from harness.defense import Target


def best_flips(target: Target, features: str, penalty: float, r: int) -> Poisoning | None:
    """The ``r`` changed labels that do most against a regression on one-hot labels.

    ``features``: what the regression sees; ``penalty``: as a fraction of the public n. None where
    no label helps.

    The same prefix is best where labels are smoothed by random flips and the mean score decides:
    that changes what each label yields by one factor for all of them.
    """
    if "flips" not in target.notes:
        target.notes["flips"] = _in_order(target, _weights(target, features, penalty))
    victims, labels = target.notes["flips"]
    return Poisoning.flip(victims[:r], labels[:r]) if len(victims) else None


def _in_order(
    target: Target, weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels that help the cheapest rival, by their index, the most helpful first; and what
    becomes of them.
    """
    y, a, c = target.data.y_train, target.predicted, target.data.n_labels
    rival = target.rivals[0]
    if c > 2:
        predicted, flips = flips_to_each(weights[None], y, c)
        rival = int(flips[0].argmin()) if predicted[0] == a else rival
    gains = gains_of_flips(weights, y == a, y == rival)
    order = np.argsort(-gains, kind="stable")
    order = order[gains[order] > 0]
    return order, np.where(weights[order] > 0, rival, a)


def _weights(target: Target, features: str, penalty: float) -> NDArray[np.float64]:
    """(n,) how much each training label counts for the test example."""
    x, x_test = target.task().features(features)
    if "ridge system" not in target.shared:  # which is the same for all test examples
        phi = functional.pad(x.double(), (0, 1), value=1.0)
        system = ridge_system(phi, penalty * target.data.domain.n_public)
        target.shared["ridge system"] = phi, *torch.linalg.lu_factor(system)
    phi, factors, pivots = target.shared["ridge system"]
    asked = functional.pad(x_test.double(), (0, 1), value=1.0)
    direction = torch.linalg.lu_solve(factors, pivots, asked.T)[:, 0]
    found: NDArray[np.float64] = (phi @ direction).cpu().numpy()
    return found
