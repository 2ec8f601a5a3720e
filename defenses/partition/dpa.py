"""Deep Partition Aggregation: one base model for each part of the training set, and a vote.

Levine, Feizi: Deep Partition Aggregation: Provable Defenses against General Poisoning Attacks, ICLR
2021; Rezaei, Banihashem, Chegini, Feizi: Run-Off Election, ICML 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from harness.defenses.partition import elections
from harness.defenses.partition.collective import (
    PREDICTIONS,
    against_one,
    check_election,
    joined,
    program_field,
    time_limit_field,
)
from harness.defenses.partition.elections import Election
from harness.defenses.partition.parts import Hash, parts_of
from harness.defenses.partition.training import BLOCK, positions, rankings
from harness.defenses.partition.white_box import (
    CERTIFICATE,
    COSTS,
    check_learner,
    costs,
    joined_costs,
    strengthened,
)
from harness.errors import DataError, UsageError
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from torch import Tensor

    from harness.datasets.poisoning import Poisoning
    from harness.defense import Target
    from harness.learners.base import Learner

ELECTION = (
    "plurality: most votes; run-off: of the two labels with most votes, the one that more models "
    "prefer (the same with two labels)"
)
LABEL_IN_HASH = "label_in_hash"
"""Evidence: 1 where a changed label may move an example to another part, 0 where it never does."""


class DpaParameters(Parameters):
    """Parameters of DPA.

    The number of parts is a number and follows from nothing: if it were found from the training
    set's size, one example more could change every part. For the same reason it may exceed that
    size: parts without examples vote for the first label. The default was chosen on the MNIST digit
    pairs 2/7, 3/8 and 4/9.
    """

    symbols: ClassVar[Mapping[str, str]] = {"k": "n_models"}

    n_models: int = Field(
        1200, ge=1, le=10**6, description="parts, and base models: one for each part"
    )
    learner: str = Field("ridge", description="how a base model is fitted")
    features: str = features_field("what a base model sees")
    hash: Hash = Field(
        "features",
        description="what decides an example's part: features (a changed label rewrites one part) "
        "or content (features and label: it rewrites two)",
    )
    election: Election = certify_field("plurality", description=ELECTION)
    certificate: Literal["counting", "white-box", "collective"] = Field(
        "counting", description=CERTIFICATE
    )
    time_limit: float = time_limit_field()
    program_size: int = program_field(1000)


class Dpa(Defense[DpaParameters]):
    """Deep Partition Aggregation. The certificate is deterministic; alpha plays no part."""

    name = "dpa"
    title = "Deep Partition Aggregation: vote of models trained on disjoint parts"
    paper = "Levine, Feizi: Deep Partition Aggregation, ICLR 2021"
    Params = DpaParameters
    isolated: ClassVar[bool] = True
    needs: ClassVar[Mapping[str, str]] = {
        "votes": "(e, c): how many base models, each of a part of its own, vote for each label"
    }
    takes: ClassVar[Mapping[str, str]] = {
        LABEL_IN_HASH: "0 where the part of an example does not depend on its label, else 1",
        "preferences": "(e, c, c): how many base models prefer label a to label b, for run-off",
        COSTS: "(m, e, c): the fewest changed labels that make each base model vote for each "
        "label, 0 for the one that it votes for, for certificate=white-box",
    }

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.FEATURE_PART if self.params.hash == "features" else Unit.PART)

    def check(self, shape: Shape) -> None:
        p = self.params
        check_election(self.name, p.certificate, p.election)
        if p.certificate == "white-box" and p.hash != "features":
            raise UsageError(
                f"dpa: certificate=white-box is for hash=features, not hash={p.hash}, with which a "
                "changed label moves its example to another part"
            )

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        p = self.params
        check_learner(self.name, p.certificate, p.learner, lookup.learner(p.learner))
        return even_blocks(self.params.n_models, BLOCK)

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of this block's base models, and their ``preferences`` (e, c, c) where
        there are more than two labels: how many prefer label a to label b at [a, b]. For the
        collective certificate also ``predictions`` (m, e), which model voted for what, and for the
        white-box one ``costs`` (m, e, c).
        """
        p = self.params
        learner = task.learner(p.learner)
        inputs = task.images() if learner.images else task.features(p.features)
        with task.phase("train"):
            parts = parts_of(task, p.n_models, p.hash)
        own = [parts[i] for i in task.models]
        counts = counted(task, learner, inputs, own, p.certificate)
        return counts | {LABEL_IN_HASH: np.array(p.hash == "content", dtype=np.int64)}

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        of_models = (PREDICTIONS, COSTS)
        added = [{k: v for k, v in part.items() if k not in of_models} for part in parts]
        label = {LABEL_IN_HASH: parts[0][LABEL_IN_HASH]}
        return {**super().merge(added), **joined(parts), **joined_costs(parts), **label}

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """Certified poisoning size: rewritten parts over the parts that one poisoning rewrites.

        Evidence that does not say what the hash covered is certified as if it covered the label.
        """
        unit = part_unit(evidence)
        simple = certified(self.params.election, evidence, threat, unit)
        simple = strengthened(self.params.certificate, evidence, simple, unit)
        return against_one(self.params, evidence, simple, cost(unit, threat))

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        from harness.defenses.partition.attack import poison
        from harness.defenses.partition.attack_partitions import shared

        p, alone = self.params, np.zeros(1, np.int64)
        of = shared(p.n_models, alone, p.hash, run_off=p.election == "run-off")
        return poison(target, threat, r, of)


def counted(
    task: Task,
    learner: Learner,
    inputs: tuple[Tensor, Tensor],
    members: Sequence[NDArray[np.int64]],
    certificate: str,
) -> dict[str, NDArray[Any]]:
    """What the models of these parts vote, as :func:`count` has it, with what the certificate
    needs besides.
    """
    ranked = rankings(task, learner, inputs, members)
    kept: list[NDArray[np.uint16]] = []
    if certificate == "white-box":
        ranked = costs(task, learner, inputs, members, ranked, kept)
    found = count(ranked, task.shape, keep=certificate == "collective")
    return found | ({COSTS: np.stack(kept)} if kept else {})


def count(
    ranked: Iterator[NDArray[Any]], shape: Shape, *, keep: bool = False
) -> dict[str, NDArray[Any]]:
    """``votes`` and, for more than two labels, ``preferences`` of models' rankings (e, c); if they
    are to be kept, ``predictions`` (m, e) as well.
    """
    e, c = shape.n_test, shape.n_labels
    votes, preferences = np.zeros((e, c), np.int64), np.zeros((e, c, c), np.int64)
    first: list[NDArray[Any]] = []
    for ranking in ranked:
        if keep:
            first.append(ranking[:, 0].copy())
        votes[np.arange(e), ranking[:, 0]] += 1
        if c > 2:
            place = positions(ranking)
            preferences += place[:, :, None] < place[:, None, :]
    found = {"votes": votes} | ({"preferences": preferences} if c > 2 else {})
    return found | ({PREDICTIONS: np.stack(first)} if keep else {})


def part_unit(evidence: Evidence) -> Unit:
    """What the models of that evidence are trained on: parts by the features, or by the label too.

    Who does not say so is taken to have hashed the label: never more is certified than holds.
    """
    return Unit.PART if evidence.get(LABEL_IN_HASH, np.array(1)).any() else Unit.FEATURE_PART


def certified(
    election: Election, evidence: Evidence, threat: Threat, unit: Unit
) -> PointwiseCertificate:
    """The certificate from ``votes`` and, for a run-off of many labels, ``preferences``."""
    votes = evidence["votes"]
    if election == "plurality" or votes.shape[1] == 2:
        winner, rewritten = elections.plurality(votes)
    elif "preferences" in evidence:
        winner, rewritten = elections.run_off(votes, _preferences(evidence))
    else:
        raise UsageError(
            "election=run-off with more than two labels needs preferences (e, c, c): how many "
            "base models prefer label a to label b"
        )
    return in_examples(election, threat, unit, winner, rewritten)


def _preferences(evidence: Evidence) -> NDArray[np.int64]:
    """``preferences`` (e, c, c), if models that cast ``votes`` can have them; else a DataError."""
    votes, preferences = evidence["votes"], evidence["preferences"]
    e, c = votes.shape
    if preferences.shape != (e, c, c):
        raise DataError(
            f"preferences must be (e, c, c), here {(e, c, c)}, found {preferences.shape}"
        )
    n, counts = int(votes[0].sum()), preferences.astype(np.float64)
    wrong = (counts % 1 != 0) | (counts < votes[:, :, None]) | (counts + counts.swapaxes(1, 2) != n)
    wrong[:, np.arange(c), np.arange(c)] = False  # no label is preferred to itself
    if wrong.any():
        i, a, b = np.argwhere(wrong)[0]
        raise DataError(
            "preferences must be counts: [i, a, b] at least the votes for a, and with [i, b, a] "
            f"the {n} base models; in test example {i}, {counts[i, a, b]:g} prefer {a} to {b}, "
            f"{counts[i, b, a]:g} prefer {b} to {a}, and {votes[i, a]} vote for {a}"
        )
    return preferences.astype(np.int64)


def in_examples(
    election: Election,
    threat: Threat,
    unit: Unit,
    winner: NDArray[np.int64],
    rewritten: NDArray[np.int64],
) -> PointwiseCertificate:
    """The certificate in poisoned examples, from one in rewritten parts."""
    price = cost(unit, threat)
    if price is None:
        raise ValueError(f"a partition does not cover {threat}")
    return PointwiseCertificate(election, threat, DETERMINISTIC, winner, rewritten // price)
