"""What one attacker does to all test examples, for partitions: the fields, the votes, the proof."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from harness.certificates import CollectiveCertificate, PointwiseCertificate
from harness.defense import Arrays, Evidence, certify_field
from harness.errors import DataError, UsageError
from harness.proofs.collective import Limits, ballot_of_models

PREDICTIONS = "predictions"
"""Evidence: (m, e), the label that each base model predicts for each test example."""

CERTIFICATE = (
    "counting: each test example by itself, every rewritten part counts alike; collective: the "
    "accuracy on the whole test set after one attack (election=plurality)"
)


def time_limit_field() -> Any:
    """A pydantic field that says where the solver of a collective certificate stops."""
    return certify_field(
        60.0,
        gt=0,
        description="certificate=collective: seconds that the solver has for each program; what "
        "it has proved by then holds, so more time proves no less",
    )


def program_field(examples: int) -> Any:
    """A pydantic field that says how many test examples are in one integer program."""
    return certify_field(
        examples,
        ge=1,
        description="certificate=collective: test examples in one program; each program has an "
        "attacker of its own, so larger ones prove more and take longer",
    )


def check_election(name: str, certificate: str, election: str) -> None:
    """Raises UsageError for more than counting of anything but a plurality vote."""
    if certificate != "counting" and election != "plurality":
        raise UsageError(
            f"{name}: certificate={certificate} is for election=plurality, not election={election}"
        )


def joined(parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """The ``predictions`` of all blocks, one model after another; nothing where none are kept."""
    if PREDICTIONS not in parts[0]:
        return {}
    return {PREDICTIONS: np.concatenate([part[PREDICTIONS] for part in parts])}


class Wanted(Protocol):
    """The parameters of a defense that decide which certificate it gives."""

    @property
    def certificate(self) -> str: ...
    @property
    def time_limit(self) -> float: ...
    @property
    def program_size(self) -> int: ...


def against_one(
    p: Wanted,
    evidence: Evidence,
    simple: PointwiseCertificate,
    price: int | None,
    *,
    groups: NDArray[np.int64] | None = None,
    fed: sparse.csr_array | None = None,
) -> PointwiseCertificate | CollectiveCertificate:
    """The certificate that ``p`` wants of a plurality vote, given that for each test example.

    The collective one is of the models that cast ``predictions`` (m, e). One poisoning rewrites
    ``price`` parts in each of the ``groups`` (p,), all in one unless said; ``fed`` is as
    :class:`harness.proofs.collective.Ballot` has it. Raises DataError where ``predictions`` are
    missing.
    """
    if p.certificate != "collective" or price is None:
        return simple
    if PREDICTIONS not in evidence:
        raise DataError(
            "certificate=collective needs predictions (m, e): the label that each base model "
            "predicts for each test example"
        )
    predictions = evidence[PREDICTIONS]
    if groups is None:
        parts = len(predictions) if fed is None else fed.shape[1]
        groups = np.zeros(parts, np.int64)
    ballot = ballot_of_models(predictions, evidence.n_labels, groups, fed)
    limits = Limits(p.time_limit, p.program_size)
    return CollectiveCertificate(
        "collective",
        simple.threat,
        simple.guarantee,
        simple.predictions,
        simple.radii,
        lambda which, r: ballot.turned(which, r * price, limits),
    )


def feeding(n_models: int, offsets: NDArray[np.int64]) -> sparse.csr_array:
    """(m, m): which parts each model uses, where part h is used by the models h + offset mod m."""
    parts = np.arange(n_models)
    models = ((parts[:, None] + offsets) % n_models).ravel()
    used = np.repeat(parts, len(offsets))
    return sparse.csr_array((np.ones(len(models)), (models, used)), (n_models, n_models))
