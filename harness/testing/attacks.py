"""The definition of a certificate, tried: no attack of a certified size changes a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.certificates import ABSTAIN, PointwiseCertificate
from harness.testing.bench import NotApplicable
from harness.testing.properties import property_of
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset
    from harness.testing.bench import Bench

_MEANS = {
    Threat.ANY: (Threat.MODIFY, Threat.INSERT, Threat.DELETE),
    Threat.MODIFY: (Threat.MODIFY, Threat.LABEL_FLIP),
}
"""What an attacker may do, where it is more than the threat's own name."""


@property_of("a bound that lacks a factor 2 or a tie, or a base model that sees more than assumed")
def certified_attacks_change_nothing(bench: Bench) -> Iterator[str]:
    """A prediction with radius r is the same after any r poisonings (Jia et al., Eq. 3). The
    example with the largest radius is attacked with just so many.
    """
    attacked = False
    for threat in bench.threats:
        before = bench.certify(threat)
        if not isinstance(before, PointwiseCertificate) or before.radii.max() < 1:
            continue
        attacked = True
        target = int(before.radii.argmax())
        r = int(before.radii[target])
        for means in _MEANS.get(threat, (threat,)):
            arrays = poisoned(bench.dataset, means, r, target, int(before.predictions[target]))
            after = bench.on(**arrays).certify(threat)
            assert isinstance(after, PointwiseCertificate)
            for i in _contradicted(before, after, r):
                yield (
                    f"test example {i} is predicted {before.predictions[i]} with radius "
                    f"{before.radii[i]} under {threat}, and {after.predictions[i]} after {r} "
                    f"poisonings ({means.meaning})"
                )
    if not attacked:
        raise NotApplicable("it certifies no single test example of the data set against r = 1")


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
