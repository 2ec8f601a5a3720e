"""Poisonings against many test examples: spread over them, or put together of those on each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.attacks.influence import PENALTY
from harness.attacks.near_copies import near_copy
from harness.datasets.poisoning import Poisoning
from harness.proofs.influence import ridge_system, with_constant
from harness.threats import Threat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.attacking.victim import Victim
    from harness.datasets.base import Dataset

    IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Crowd:
    """Test examples that are predicted rightly, in the ``order`` (m,) in which they are attacked.

    ``predicted`` (e,), ``rivals`` (e,): of every test example its label and the likeliest other
    one; ``cost`` (e,): what orders them, the cheapest first.
    """

    order: IntArray
    predicted: IntArray
    rivals: IntArray
    cost: NDArray[Any]

    def of(self, label: int | None) -> IntArray:
        """Those of that label, or all."""
        if label is None:
            return self.order
        of_label: IntArray = self.order[self.predicted[self.order] == label]
        return of_label

    def sides(self, most: int) -> list[int]:
        """The labels that most of them have."""
        counts = np.bincount(self.predicted[self.order])
        order = np.argsort(-counts, kind="stable")[:most]
        return [int(label) for label in order if counts[label]]


def spread(
    victim: Victim,
    threat: Threat,
    crowd: Crowd,
    targets: IntArray,
    r: int,
    shared: dict[str, Any],
) -> Poisoning | None:
    """The r most harmful changes for the test examples ``targets`` together.

    ``insert``: copies of them with their rivals' labels. Else the training examples that support
    them most in a ridge regression on the defense's features are deleted, get the label that harms
    most or, under ``modify`` and ``any``, become such copies. ``shared``: remembered from one call
    to the next.
    """
    data = victim.data
    if threat is Threat.INSERT:
        return Poisoning.insert(*_copies(data, crowd, targets, r))
    harm = _harm(victim, crowd, targets, shared)
    now = harm[np.arange(len(harm)), data.y_train]
    best = harm.argmax(axis=1)
    gain = harm.max(axis=1) - now if threat is Threat.LABEL_FLIP else -now
    victims = np.argsort(-gain, kind="stable")[:r]
    victims = victims[gain[victims] > 0]
    if not len(victims):
        return None
    if threat is Threat.DELETE:
        return Poisoning.delete(victims)
    if threat is Threat.LABEL_FLIP:
        return Poisoning.flip(victims, best[victims])
    return Poisoning.replace(victims, *_copies(data, crowd, targets, len(victims)))


def _copies(
    data: Dataset, crowd: Crowd, targets: IntArray, r: int
) -> tuple[NDArray[Any], IntArray]:
    """(r, ...) copies of the targets in turn, no two alike, and (r,) their rivals' labels.

    Partitions by content take equal examples into one part.
    """
    of = targets[np.arange(r) % len(targets)]
    x = np.stack([near_copy(data, int(i), k // len(targets)) for k, i in enumerate(of)])
    return x, crowd.rivals[of]


def _harm(
    victim: Victim, crowd: Crowd, targets: IntArray, shared: dict[str, Any]
) -> NDArray[np.float64]:
    """(n, c): how much each training example, if it had that label, would move the scores of the
    targets from the predicted labels to the rivals', summed over the targets.
    """
    c = victim.data.n_labels
    if "joint" not in shared:
        spec = str(getattr(victim.defense.params, "features", "auto"))
        x, x_test = victim.task(np.arange(victim.data.n_test)).features(spec)
        phi, phi_test = with_constant(x), with_constant(x_test)
        system = ridge_system(phi, PENALTY * victim.data.domain.n_public)
        shared["joint"] = phi, phi_test, torch.linalg.cholesky(system)
    phi, phi_test, factor = shared["joint"]
    pull = torch.zeros((phi.shape[1], c), dtype=phi.dtype, device=phi.device)
    for labels, sign in ((crowd.rivals, 1.0), (crowd.predicted, -1.0)):
        for label in range(c):
            those = torch.from_numpy(targets[labels[targets] == label]).to(phi.device)
            pull[:, label] += sign * phi_test[those].sum(0)
    found: NDArray[np.float64] = (phi @ torch.cholesky_solve(pull, factor)).cpu().numpy()
    return found


def merged(some: Iterable[Poisoning], threat: Threat, r: int) -> Poisoning | None:
    """All those poisonings in one, as far as r goes: what one has done, the next ones need not.

    None where there are none.
    """
    touched: set[int] = set()
    whole = Poisoning()
    for one in some:
        room = r - whole.size(threat)
        if room <= 0:
            break
        picked = {}
        for name in ("deleted", "flipped", "replaced"):
            own = getattr(one, name)
            fresh = np.array([int(i) not in touched for i in own], dtype=bool)
            picked[name] = np.flatnonzero(fresh)[:room]
            room -= len(picked[name])
            touched.update(int(i) for i in own[picked[name]])
        added = np.arange(len(one.inserted_y))[:room]
        flipped, replaced = picked["flipped"], picked["replaced"]
        whole = Poisoning(
            deleted=np.concatenate([whole.deleted, one.deleted[picked["deleted"]]]),
            flipped=np.concatenate([whole.flipped, one.flipped[flipped]]),
            flipped_y=np.concatenate([whole.flipped_y, one.flipped_y[flipped]]),
            replaced=np.concatenate([whole.replaced, one.replaced[replaced]]),
            replaced_x=_both(whole.replaced_x, one.replaced_x, replaced),
            replaced_y=np.concatenate([whole.replaced_y, one.replaced_y[replaced]]),
            inserted_x=_both(whole.inserted_x, one.inserted_x, added),
            inserted_y=np.concatenate([whole.inserted_y, one.inserted_y[added]]),
        )
    return whole if whole.size(threat) else None


def _both(
    whole: NDArray[Any] | None, one: NDArray[Any] | None, picked: IntArray
) -> NDArray[Any] | None:
    if one is None or not len(picked):
        return whole
    return one[picked] if whole is None else np.concatenate([whole, one[picked]])
