"""What one attacker who changes labels does to all test examples: their neighbours are shared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from harness.certificates import CollectiveCertificate, PointwiseCertificate
from harness.defense import Evidence
from harness.defenses.neighbours.voters import LABELS, TIED, VOTERS, unpacked
from harness.defenses.partition.collective import Wanted
from harness.proofs.collective import Ballot, Limits, needed_by_rivals
from harness.threats import Threat

CERTIFICATE = (
    "exact: each test example by itself; collective: under label-flip, the accuracy on the whole "
    "test set after one attack"
)


def against_one(
    p: Wanted, evidence: Evidence, simple: PointwiseCertificate
) -> PointwiseCertificate | CollectiveCertificate:
    """The certificate that ``p`` wants, given that for each test example.

    Each changed label takes one voter from one label and gives it to another, in the neighbourhood
    of every test example for which it votes (Chen et al., ICML 2022, with training examples in the
    place of models). That it may help one prediction where it hurts another is left out: the bound
    is reached where all predictions are the same label of two.
    """
    if p.certificate != "collective" or simple.threat is not Threat.LABEL_FLIP:
        return simple
    tied, limits = evidence[TIED].astype(bool), Limits(p.time_limit, p.program_size)
    ballot = _ballot(evidence, simple.predictions)

    def turned(which: NDArray[np.bool_], r: int) -> int:
        return int((which & tied).sum()) + ballot.turned(which & ~tied, r, limits)

    return CollectiveCertificate(
        "collective",
        simple.threat,
        simple.guarantee,
        simple.predictions,
        simple.radii,
        turned,
    )


def _ballot(evidence: Evidence, predictions: NDArray[np.int64]) -> Ballot:
    voters, labels = evidence[VOTERS], evidence[LABELS]
    needed = needed_by_rivals(evidence["votes"], predictions)

    def gains(examples: NDArray[np.int64], rivals: NDArray[np.int64]) -> sparse.csr_array:
        rows = [
            _yields(labels, predictions[i], rival, unpacked(voters[i : i + 1], len(labels))[0])
            for i, rival in zip(examples, rivals, strict=True)
        ]
        return sparse.csr_array(sparse.vstack(rows, format="csr"))

    return Ballot(predictions, needed, gains, np.zeros(len(labels), np.int64))


def _yields(
    labels: NDArray[np.int64], ahead: int, rival: int, voting: NDArray[np.bool_]
) -> sparse.csr_array:
    """(1, n): what changing each training label yields a rival of the label that is ahead."""
    gain: NDArray[Any] = (labels == ahead).astype(np.int8) + (labels != rival)
    return sparse.csr_array((gain * voting)[None])
