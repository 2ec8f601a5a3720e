"""When an attack has succeeded, and when its success refutes a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.certificates import ABSTAIN, PointwiseCertificate
from harness.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.attacking.victim import Victim
    from harness.certificates import Certificate
    from harness.datasets.poisoning import Poisoning
    from harness.threats import Threat

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
    Each of these certificates is wrong with probability alpha at most, and so is the run's.
    """
    guarantee = victim.defense.guarantee(victim.cell.alpha)
    if guarantee.kind == "deterministic":
        tests = np.arange(victim.data.n_test)
        from harness.attacking.victim import CLEAN

        clean, after = (
            int(_trained_anew(victim, threat, one, tests)[example]) for one in (CLEAN, poisoning)
        )
        return Confirmed(bool(clean == predicted and after != predicted), 0.0)
    alone, before = np.array([example]), np.array([predicted])
    for repeat in range(1, REPEATS + 1):
        evidence = victim.evidence(poisoning, alone, victim.cell.seed + repeat)
        poisoned = pointwise(victim.certify(evidence, threat))
        if not turned(before, poisoned, deterministic=False)[0]:
            return Confirmed(holds=False, chance=1.0)
    alpha = guarantee.alpha or 0.0
    return Confirmed(holds=True, chance=min(1.0, alpha + alpha ** (REPEATS + 1)))


def _trained_anew(
    victim: Victim, threat: Threat, poisoning: Poisoning, tests: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(e,) the predictions of a defense that has nothing from earlier trainings."""
    evidence = victim.evidence(poisoning, tests, remembered=False)
    return pointwise(victim.certify(evidence, threat)).predictions
