"""The definition of a certificate, tried: no attack of a certified size changes a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.certificates import ABSTAIN, PointwiseCertificate
from harness.testing.bench import NotApplicable
from harness.testing.certificates import predictions_and_radii
from harness.testing.properties import property_of
from harness.testing.training import training_can_be_repeated
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset
    from harness.testing.bench import Bench

_MEANS = {
    Threat.ANY: (Threat.MODIFY, Threat.INSERT, Threat.DELETE),
    Threat.MODIFY: (Threat.MODIFY, Threat.LABEL_FLIP),
}
"""What an attacker may do, where it is more than the threat's own name."""


_FEW = (2, 3)
"""Base models of the small variants: a lead of few votes shows a tie that was forgotten."""


@property_of(
    "a radius that is too large: a vote that the winner loses is one that a rival may gain (a "
    "factor 2), a tie goes to the smaller label, a modified example leaves one part and enters "
    "another (a factor 2); or a base model that sees more than was assumed",
    after=(training_can_be_repeated, predictions_and_radii),
)
def certified_attacks_change_nothing(bench: Bench) -> Iterator[str]:
    """A prediction with radius r is the same after any r poisonings (Jia et al., Eq. 3). Of each
    predicted label, the example with the largest radius is attacked with just so many.
    """
    few = (bench.with_params(n_models=n_models) for n_models in _FEW)
    attacked = False
    for variant in (bench, *few):
        for threat in bench.threats if variant is not None else ():
            assert variant is not None
            before = variant.certify(threat)
            if isinstance(before, PointwiseCertificate) and before.radii.max() >= 1:
                attacked = True
                yield from _attacks(variant, threat, before)
    if not attacked:
        raise NotApplicable("it certifies no single test example of the data set against r = 1")


def _attacks(bench: Bench, threat: Threat, before: PointwiseCertificate) -> Iterator[str]:
    """What contradicts the certificate, by attacks on one test example of each predicted label."""
    for label in np.unique(before.predictions):
        target = int(np.where(before.predictions == label, before.radii, ABSTAIN).argmax())
        r = int(before.radii[target])
        if r < 1:
            continue
        for means in _MEANS.get(threat, (threat,)):
            after = bench.on(**poisoned(bench.dataset, means, r, target, int(label)))
            if not after.accepted:
                continue
            now = after.certify(threat)
            assert isinstance(now, PointwiseCertificate)
            for i in _contradicted(before, now, r):
                yield (
                    f"{bench.label} certifies test example {i} under {threat}: predicted "
                    f"{before.predictions[i]}, radius {before.radii[i]}; yet an attack that may "
                    f"{means.meaning}, {_times(r)}, makes it {now.predictions[i]}"
                )


def _times(r: int) -> str:
    return "once" if r == 1 else f"{r} times"


def _contradicted(
    before: PointwiseCertificate, after: PointwiseCertificate, r: int
) -> NDArray[np.int64]:
    """Test examples whose prediction an attack of size r changed though the radius is r or more.

    A probabilistic certificate speaks of infinitely many base models, of which it has a few: only
    another prediction that is certified as well contradicts it.
    """
    changed = (before.radii >= r) & (before.predictions != after.predictions)
    if before.guarantee.kind != "deterministic":
        changed &= after.radii > ABSTAIN
    return np.flatnonzero(changed)


def poisoned(
    data: Dataset, means: Threat, r: int, target: int, predicted: int
) -> dict[str, NDArray[Any]]:
    """The training set after r poisonings against one test example that is predicted so.

    What supports the prediction is hit first: training examples of that label, the nearest before
    the others. In their place, or beside them, come near copies of the target with another label.
    """
    x, y, wrong = data.x_train.copy(), data.y_train.copy(), (predicted + 1) % data.n_labels
    away = np.abs(x.reshape(len(x), -1).astype(float) - data.x_test[target].ravel()).sum(1)
    support = np.lexsort((away, y != predicted))[: min(r, len(x) - 1)]
    if means is Threat.DELETE:
        kept = np.setdiff1d(np.arange(len(x)), support)
        return {"x_train": x[kept], "y_train": y[kept]}
    if means is Threat.LABEL_FLIP:
        y[support[y[support] == predicted]] = wrong
        return {"x_train": x, "y_train": y}
    size = min(r, 4 * len(x)) if means is Threat.INSERT else len(support)
    copies = _near_copies(data.x_test[target], size)
    if means is Threat.INSERT:
        return {
            "x_train": np.concatenate([x, copies]),
            "y_train": np.concatenate([y, np.full(size, wrong)]),
        }
    x[support], y[support] = copies, wrong
    return {"x_train": x, "y_train": y}


def _near_copies(example: NDArray[Any], size: int) -> NDArray[Any]:
    """Copies of an example that differ from one another in a value or two."""
    copies = np.repeat(example[None], size, axis=0)
    flat = copies.reshape(size, -1)
    i = np.arange(size)
    flat[i, i % flat.shape[1]] = flat[(i + 1) % size, (i // flat.shape[1]) % flat.shape[1]]
    return copies
