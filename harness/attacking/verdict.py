"""When an attack has succeeded, and when its success refutes a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.certificates import ABSTAIN, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.errors import ClusterError, NoSpaceError, RunFolderError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.attacking.victim import Victim
    from harness.certificates import Certificate
    from harness.threats import Threat

NOT_ITS_FAULT = (MemoryError, torch.OutOfMemoryError, NoSpaceError, RunFolderError, ClusterError)
"""Errors that say nothing of a defense which is trained on a poisoned set."""
REPEATS = 3
"""Other seeds with which a success against a probabilistic certificate is repeated."""


def turned(
    before: NDArray[np.int64], after: PointwiseCertificate, *, deterministic: bool
) -> NDArray[np.bool_]:
    """(e,) which of the predictions ``before`` (e,) an attack has changed.

    A probabilistic certificate speaks of infinitely many base models, of which a run has a few:
    they may vote the other way by chance, near a radius that is tight. So another prediction counts
    only where it is certified itself, at the same alpha.
    """
    changed = np.asarray(before != after.predictions)
    return changed if deterministic else changed & (after.radii > ABSTAIN)


def contradicted(
    before: PointwiseCertificate, after: PointwiseCertificate, r: int
) -> NDArray[np.int64]:
    """Test examples that an attack of size ``r`` has turned though their radius is r or more."""
    deterministic = before.guarantee.kind == "deterministic"
    changed = turned(before.predictions, after, deterministic=deterministic)
    return np.flatnonzero(changed & (before.radii >= r))


def pointwise(certificate: Certificate) -> PointwiseCertificate:
    """What it says of each test example. Raises UsageError where it says nothing of any."""
    found = certificate.by_example
    if found is None:
        raise UsageError(f"{certificate.method} is a statement about {certificate.kind}")
    return found


@dataclass(frozen=True)
class Confirmed:
    """What became of an attack that refutes, when it was carried out again.

    ``holds``: whether it succeeds again. ``chance``: how probable it is that such a success is an
    accident of a certificate that holds, 0 for a deterministic one.
    """

    holds: bool
    chance: float


def confirm(
    victim: Victim, threat: Threat, poisoning: Poisoning, example: int, predicted: int
) -> Confirmed:
    """Carries an attack of a certified size out again, that nothing else may explain it.

    Deterministic: the defense is trained on the poisoned set with all test examples, as in the run,
    nothing remembered, and on the clean one, where it must predict what the run says.
    Probabilistic: with other seeds, each of which must certify another label at the run's alpha.
    Each of these certificates is wrong with probability alpha at most, and so is the run's; the
    success that is repeated does not count beside them, for it was looked for. A defense that fails
    on the poisoned set again has no prediction again.
    """
    guarantee = victim.defense.guarantee(victim.cell.alpha)
    if guarantee.kind == "deterministic":
        tests = np.arange(victim.data.n_test)
        evidence = victim.evidence(Poisoning(), tests, remembered=False)
        clean = pointwise(victim.certify(evidence, threat))
        if clean.predictions[example] != predicted:
            return Confirmed(holds=False, chance=1.0)
        after = _after(victim, threat, poisoning, tests)
        return Confirmed(after is None or after.predictions[example] != predicted, 0.0)
    alone, before = np.array([example]), np.array([predicted])
    for repeat in range(1, REPEATS + 1):
        after = _after(victim, threat, poisoning, alone, victim.cell.seed + repeat)
        if after is not None and not turned(before, after, deterministic=False)[0]:
            return Confirmed(holds=False, chance=1.0)
    return Confirmed(holds=True, chance=chance(guarantee.alpha or 0.0))


def chance(alpha: float) -> float:
    """How probable it is that a success against a certificate that holds is confirmed: the run's
    is wrong, or all of those with other seeds are.
    """
    return min(1.0, alpha + alpha**REPEATS)


def _after(
    victim: Victim,
    threat: Threat,
    poisoning: Poisoning,
    tests: NDArray[np.int64],
    seed: int | None = None,
) -> PointwiseCertificate | None:
    """What the defense says, trained on the poisoned set; None where it fails."""
    try:
        evidence = victim.evidence(poisoning, tests, seed, remembered=False)
        return pointwise(victim.certify(evidence, threat))
    except NOT_ITS_FAULT:
        raise
    except (Exception, SystemExit):  # of a plugin
        return None
