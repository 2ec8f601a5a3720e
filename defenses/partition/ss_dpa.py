"""Semi-supervised DPA: against changed labels, everything but the labels may be used by all models.

Levine, Feizi: Deep Partition Aggregation: Provable Defenses against General Poisoning Attacks, ICLR
2021, section 3.2 (SS-DPA).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import DETERMINISTIC, Certificate, Guarantee
from harness.datasets.poisoning import Poisoning
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Lookup,
    Parameters,
    Shape,
    Target,
    Task,
    certify_field,
    features_field,
)
from harness.defenses.partition.collective import (
    against_one,
    check_election,
    program_field,
    time_limit_field,
)
from harness.defenses.partition.dpa import ELECTION, certified, counted
from harness.defenses.partition.elections import Election
from harness.defenses.partition.parts import balanced_parts, digests_of, distinct
from harness.defenses.partition.white_box import CERTIFICATE, check_learner, strengthened
from harness.errors import UsageError
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from torch import Tensor

    from harness.learners.base import Learner


class SsDpaParameters(Parameters):
    """Parameters of SS-DPA; the defaults were chosen on the MNIST digit pairs 2/7, 3/8 and 4/9."""

    symbols: ClassVar[Mapping[str, str]] = {"k": "n_models"}

    n_models: int = Field(
        3000, ge=1, le=10**6, description="parts, and base models: one for each part"
    )
    learner: str = Field("ridge", description="how a base model is fitted")
    features: str = features_field("what is seen of an example")
    representation: Literal["diffusion", "none"] = Field(
        "diffusion",
        description="learnt from all features without labels: diffusion maps of the features' "
        "nearest neighbours, or none",
    )
    election: Election = certify_field("plurality", description=ELECTION)
    certificate: Literal["counting", "white-box", "collective"] = Field(
        "counting", description=CERTIFICATE
    )
    time_limit: float = time_limit_field()
    program_size: int = program_field(1000)


class SsDpa(Defense[SsDpaParameters]):
    """SS-DPA: a changed label rewrites one part and nothing else; features are trusted.

    That allows parts of equal size and a representation of all training features. Deterministic.
    """

    name = "ss-dpa"
    title = "Semi-supervised DPA: all features are shared, labels stay in their part"
    paper = "Levine, Feizi: Deep Partition Aggregation, ICLR 2021 (SS-DPA)"
    Params = SsDpaParameters

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.LABEL)

    def check(self, shape: Shape) -> None:
        check_election(self.name, self.params.certificate, self.params.election)

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        """One block: the representation is computed once."""
        p = self.params
        check_learner(self.name, p.certificate, p.learner, lookup.learner(p.learner))
        return [range(p.n_models)]

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) and what else DPA leaves, ``preferences``, ``costs`` and the like."""
        learner = task.learner(self.params.learner)
        inputs, parts = self._prepared(task, learner)
        return counted(task, learner, inputs, parts, self.params.certificate)

    def _prepared(
        self, task: Task, learner: Learner
    ) -> tuple[tuple[Tensor, Tensor], list[NDArray[np.int64]]]:
        """What models see of training and test examples, and the training examples of each part."""
        p = self.params
        if learner.images and p.representation != "none":
            raise UsageError(
                f"ss-dpa: learner={p.learner} needs images, and representation={p.representation} "
                "makes none; allowed: representation=none"
            )
        inputs = task.images() if learner.images else task.features(p.features)
        with task.phase("train"):
            digest = digests_of(task)
            parts = balanced_parts(digest, task.y_train, p.n_models)
            if p.representation == "diffusion":
                inputs = _represented(task, inputs, digest)
        return inputs, parts

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """Certified number of changed labels: each rewrites one part, or what one of them costs."""
        simple = certified(self.params.election, evidence, threat, Unit.LABEL)
        simple = strengthened(self.params.certificate, evidence, simple, Unit.LABEL)
        return against_one(self.params, evidence, simple, cost(Unit.LABEL, threat))

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """The parts that are cheapest to turn."""
        from harness.defenses.partition.ss_dpa_attack import best_flips, poisoning

        if "flips" not in target.notes:
            task = target.task()
            learner = task.learner(self.params.learner)
            target.notes["flips"] = best_flips(target, learner, *self._prepared(task, learner))
        return poisoning(target.notes["flips"], r)


def _represented(
    task: Task, inputs: tuple[Tensor, Tensor], digest: NDArray[np.uint64]
) -> tuple[Tensor, Tensor]:
    """Diffusion coordinates of training and test set; equal examples count once and share them."""
    from harness.defenses.partition.diffusion import as_features, coordinates_of, placed_among

    x, x_test = inputs
    every = np.arange(len(x))

    def represented() -> tuple[NDArray[np.float64], Tensor, Tensor]:
        first, rank = (torch.from_numpy(index).to(x.device) for index in distinct(digest))
        coordinates = coordinates_of(x[first])
        return coordinates, first, as_features(coordinates, x)[rank]

    # No label reaches them: what an attacker may change here leaves them as they are.
    coordinates, first, own = task.once(every, (x, "diffusion"), represented, labels=False)
    placed = task.once(
        every,
        (x, x_test, "among them"),
        lambda: placed_among(x_test, x[first], coordinates),
        labels=False,
    )
    return own, placed
