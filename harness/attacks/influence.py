"""The training examples that move a ridge regression's score of the test example most."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from harness.attacks.base import Attack
from harness.datasets.poisoning import Poisoning
from harness.defense import Target
from harness.proofs.influence import ridge_system, with_constant
from harness.threats import Threat

PENALTY = 0.01
"""Of the regression, as a fraction of n: as the linear defenses have it."""


class Influence(Attack):
    """What supports the prediction most in a ridge regression on the defense's features.

    The score of a test example is a sum over the training labels, each with its influence (see
    :mod:`harness.proofs.influence`). Those that support the predicted label most are
    deleted, relabelled or replaced by copies of the test example with the rival's label.
    """

    name = "influence"
    summary = "the examples with most influence on a ridge regression's score"

    threats = frozenset({Threat.DELETE, Threat.LABEL_FLIP, Threat.MODIFY})

    def poison(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        if "order" not in target.notes:
            target.notes["order"] = _order(target, threat)
        order, labels = target.notes["order"]
        victims = order[:r]
        if not len(victims):
            return None
        if threat is Threat.DELETE:
            return Poisoning.delete(victims)
        if threat is Threat.LABEL_FLIP:
            return Poisoning.flip(victims, labels[:r])
        return Poisoning.replace(victims, target.x[None], target.rivals[0])


def _order(target: Target, threat: Threat) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The training examples whose loss helps the rival, the most helpful first; and the label that
    each does most harm with: the rival's, or, where it pulls away from its label, the predicted.
    """
    a = _influence(target)
    y = target.data.y_train
    supports = (y == target.predicted).astype(float) - (y == target.rivals[0])
    if threat is Threat.LABEL_FLIP:  # whichever way its label pulls, it may pull the other way
        gain = np.where(a > 0, a * (supports + 1), -a * (1 - supports))
    else:
        gain = a * supports
    order = np.argsort(-gain, kind="stable")
    order = np.asarray(order[gain[order] > 0])
    return order, np.where(a[order] > 0, target.rivals[0], target.predicted)


def _influence(target: Target) -> NDArray[np.float64]:
    """a(x) (n,), in the defense's features."""
    spec = str(getattr(target.defense.params, "features", "auto"))
    x, x_test = target.task().features(spec)
    if "influence" not in target.shared:
        phi = with_constant(x)
        system = ridge_system(phi, PENALTY * target.data.domain.n_public)
        target.shared["influence"] = phi, torch.linalg.cholesky(system)
    phi, factor = target.shared["influence"]
    direction = torch.cholesky_solve(with_constant(x_test).T, factor)[:, 0]
    found: NDArray[np.float64] = (phi @ direction).cpu().numpy()
    return found
