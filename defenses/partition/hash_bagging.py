"""Hash bagging: many partitions of the training set, each by a hash of its own; all parts vote.

Chen, Li, Li, Yan, Wu: On Collective Robustness of Bagging Against Data Poisoning, ICML 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import DETERMINISTIC, Certificate, Guarantee, PointwiseCertificate
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Lookup,
    Parameters,
    Shape,
    Task,
    certify_field,
    even_blocks,
    features_field,
)
from harness.defenses.partition.collective import (
    CERTIFICATE,
    PREDICTIONS,
    against_one,
    program_field,
    time_limit_field,
)
from harness.defenses.partition.dpa import LABEL_IN_HASH, part_unit
from harness.defenses.partition.parts import Hash, salted_parts_of
from harness.defenses.partition.training import BLOCK, rankings
from harness.errors import DataError, UsageError
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from harness.datasets.poisoning import Poisoning
    from harness.defense import Target

_MOST = 10**6
"""Base models, at most."""

_AT_ONCE = 2**21
"""Counts of votes handled at a time."""

PARTITION = "partition"
"""Evidence: (m,), the partition that each base model's part is of."""


class HashBaggingParameters(Parameters):
    """Parameters of hash bagging: ``partitions`` times ``parts`` base models.

    As in DPA, neither number follows from the training set; the number of parts is DPA's.
    """

    symbols: ClassVar[Mapping[str, str]] = {"n_models": "partitions times parts"}

    partitions: int = Field(
        3, ge=1, le=1000, description="partitions of the training set, each by a hash of its own"
    )
    parts: int = Field(
        1200, ge=1, le=_MOST, description="parts of a partition, and base models for each of them"
    )
    learner: str = Field("ridge", description="how a base model is fitted")
    features: str = features_field("what a base model sees")
    hash: Hash = Field(
        "features",
        description="what decides an example's part: features (a changed label rewrites one part "
        "of each partition) or content (features and label: it rewrites two)",
    )
    certificate: Literal["counting", "collective"] = certify_field(
        "counting", description=CERTIFICATE
    )
    time_limit: float = time_limit_field()
    program_size: int = program_field(1000)


class HashBagging(Defense[HashBaggingParameters]):
    """Hash bagging. The certificate is deterministic; alpha plays no part."""

    name = "hash-bagging"
    title = "Hash bagging: vote of models trained on the parts of several partitions"
    paper = "Chen, Li, Li, Yan, Wu: On Collective Robustness of Bagging, ICML 2022"
    Params = HashBaggingParameters
    isolated: ClassVar[bool] = True
    tried_with: ClassVar[Mapping[str, Any]] = {"partitions": 2, "parts": 9}
    needs: ClassVar[Mapping[str, str]] = {
        PREDICTIONS: "(m, e): the label that each base model predicts for each test example",
        PARTITION: "(m,): the number of the partition that each base model's part is of",
    }
    takes: ClassVar[Mapping[str, str]] = {
        LABEL_IN_HASH: "0 where the part of an example does not depend on its label, else 1",
    }

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.FEATURE_PART if self.params.hash == "features" else Unit.PART)

    def check(self, shape: Shape) -> None:
        p = self.params
        if p.partitions * p.parts > _MOST:
            raise UsageError(
                f"hash-bagging: partitions={p.partitions} times parts={p.parts} are "
                f"{p.partitions * p.parts:,} base models; allowed: up to {_MOST:,}"
            )

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        return even_blocks(self.params.partitions * self.params.parts, BLOCK)

    def gather(self, task: Task) -> Arrays:
        """``predictions`` (m, e) of this block's base models and the ``partition`` (m,) of each."""
        p = self.params
        learner = task.learner(p.learner)
        inputs = task.images() if learner.images else task.features(p.features)
        partition = np.arange(task.models.start, task.models.stop) // p.parts
        with task.phase("train"):
            salts = np.unique(partition).tolist()
            parts = salted_parts_of(task, p.parts, salts, p.hash)
        own = [parts[model // p.parts][model % p.parts] for model in task.models]
        ranked = rankings(task, learner, inputs, own)
        return {
            PREDICTIONS: np.stack([ranking[:, 0] for ranking in ranked]),
            PARTITION: partition,
            LABEL_IN_HASH: np.array(p.hash == "content", dtype=np.int64),
        }

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        """The models of all blocks, one after another."""
        by_model = {
            key: np.concatenate([p[key] for p in parts]) for key in (PREDICTIONS, PARTITION)
        }
        return {**parts[0], **by_model}

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """Certified poisoning size, see :func:`withstands`.

        Evidence that does not say what the hash covered is certified as if it covered the label.
        """
        price = cost(part_unit(evidence), threat)
        if price is None:
            raise ValueError(f"a partition does not cover {threat}")
        groups = _groups(evidence)
        winner, rewritten = withstands(evidence[PREDICTIONS], groups, evidence.n_labels)
        simple = PointwiseCertificate(
            "plurality", threat, DETERMINISTIC, winner, rewritten // price
        )
        return against_one(self.params, evidence, simple, price, groups=groups)

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        from harness.defenses.partition.attack import poison
        from harness.defenses.partition.attack_partitions import salted

        p = self.params
        return poison(target, threat, r, salted(p.partitions, p.parts, p.hash))


def withstands(
    predictions: NDArray[Any], groups: NDArray[np.int64], n_labels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The label with the most votes, and how many rewritten parts in each partition it withstands.

    ``predictions`` (m, e): the label that each model gives; ``groups`` (m,): its partition. A
    poisoned example is in one part of each partition, so r of them rewrite at most r parts of each,
    and which ones may be chosen for each by itself: the worst case. A rewritten model that had
    voted for the label a yields a rival b 2 on the difference of their votes, one that votes
    neither 1, one that votes b nothing. So b wins with r parts in each iff the largest r gains of
    each partition, added up, reach n_a - n_b + [a < b] (Chen et al., section 4.2, with ties to the
    smaller label). It is tight in rewritten parts. Returns two (e,) int64.
    """
    sizes = np.bincount(groups)
    at_once = max(1, _AT_ONCE // (len(sizes) * n_labels))
    pieces = [
        _withstands(predictions[:, start : start + at_once], groups, sizes, n_labels)
        for start in range(0, predictions.shape[1], at_once)
    ]
    return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])


def _withstands(
    predictions: NDArray[Any], groups: NDArray[np.int64], sizes: NDArray[np.int64], n_labels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    e = predictions.shape[1]
    votes = np.zeros((n_labels, len(sizes), e), np.int64)
    for group, predicted in zip(groups, predictions, strict=True):
        votes[predicted, group, np.arange(e)] += 1
    total = votes.sum(axis=1)
    winner = total.argmax(axis=0)
    of_winner = votes[winner, :, np.arange(e)].T  # (G, e)
    radius = np.full(e, int(sizes.max()), np.int64)
    for rival in range(n_labels):
        needed = total[winner, np.arange(e)] - total[rival] + (winner < rival)
        neither = sizes[:, None] - of_winner - votes[rival]
        turned = _fewest(of_winner, neither, needed, int(sizes.max()))
        radius = np.where(winner == rival, radius, np.minimum(radius, turned - 1))
    return winner.astype(np.int64), radius


def _fewest(
    twos: NDArray[np.int64], ones: NDArray[np.int64], needed: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """(e,) the smallest r up to ``most`` with sum over partitions of the r largest gains >= needed.

    ``twos`` and ``ones`` (G, e): how many models of each partition yield so much. ``most`` + 1
    where even all of them do not reach it, as those of the winner itself.
    """
    low, high = np.zeros(needed.shape, np.int64), np.full(needed.shape, most + 1, np.int64)
    while (high - low > 1).any():  # low does not reach it, high does
        middle = (low + high) // 2
        first = np.minimum(twos, middle)
        gained = (2 * first + np.minimum(ones, middle - first)).sum(axis=0)
        reached = gained >= needed
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def _groups(evidence: Evidence) -> NDArray[np.int64]:
    """``partition`` as numbers from 0 on. Raises DataError unless there is one for each model."""
    told, models = np.atleast_1d(evidence[PARTITION]), len(evidence[PREDICTIONS])
    if told.shape != (models,):
        raise DataError(
            f"partition must be (m,), here ({models},): one number for each base model, "
            f"found {told.shape}"
        )
    return np.unique(told, return_inverse=True)[1].astype(np.int64)
