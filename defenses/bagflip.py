"""BagFlip: bagging whose drawn examples are noised, so that a changed value is hard to see.

Zhang, Albarghouthi, D'Antoni: BagFlip: A Certified Defense against Data Poisoning, NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import Guarantee, PointwiseCertificate
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Lookup,
    Parameters,
    Shape,
    Task,
    certify_field,
    count_field,
    even_blocks,
    features_field,
)
from harness.errors import UsageError
from harness.learners.fitting import fit_all
from harness.proofs.bagflip import BagFlip as Proof
from harness.proofs.bagflip import states
from harness.proofs.confidence import Split, simuem
from harness.threats import Threat

if TYPE_CHECKING:
    from torch import Tensor

_MOST_STATES = 2**28
"""What a certificate keeps at most: 2 GiB of them."""


class BagFlipParameters(Parameters):
    """Parameters of BagFlip, which may not be tuned on the training set; the defaults were chosen
    on the MNIST digit pairs 2/7, 3/8 and 4/9, under ``label-flip``.
    """

    symbols: ClassVar[Mapping[str, str]] = {"rho": "keep"}

    k: int = Field(
        20, ge=1, le=10**5, description="examples in a subsample, drawn with replacement"
    )
    keep: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="probability that a noised value stays as it is, above 1/c for labels",
    )
    noised: Literal["labels", "features-and-labels"] = Field(
        "labels",
        description="labels (features are trusted: certifies label-flip), or also each binarised "
        "feature (two labels; certifies modify as well)",
    )
    n_models: int = count_field(
        1000, ge=1, le=10**9, description="base models, N: one for each noised subsample"
    )
    learner: str = Field("ridge", description="how a base model is fitted")
    features: str = features_field("what a base model sees (noised=features-and-labels: binarised)")
    split: Split = certify_field(
        "paper",
        description="how alpha is shared out: paper (alpha / (e c) a bound) or per-example "
        "(alpha for each example on its own)",
    )


class BagFlip(Defense[BagFlipParameters]):
    """Vote of base models, each trained on k drawn examples whose values were noised. Two radii
    come together: an attacker must be drawn, and what it changed must survive the noise.
    """

    name = "bagflip"
    title = "BagFlip: vote of models trained on noised subsamples"
    paper = "Zhang, Albarghouthi, D'Antoni: BagFlip, NeurIPS 2022"
    Params = BagFlipParameters
    isolated = True
    tried_with: ClassVar[Mapping[str, Any]] = {"k": 5, "keep": 0.8, "n_models": 200}
    needs: ClassVar[Mapping[str, str]] = {
        "votes": "(e, c): how many base models vote for each label",
        "n_train": "training examples, n",
        "k": "examples in a subsample",
        "keep": "probability that a noised value stays as it is",
        "noised": "labels or features-and-labels",
    }
    takes: ClassVar[Mapping[str, str]] = {
        "dimension": "noised features of an example, with noised=features-and-labels",
    }

    def covers(self) -> frozenset[Threat]:
        both = {Threat.LABEL_FLIP, Threat.MODIFY}
        return frozenset({Threat.LABEL_FLIP} if self.params.noised == "labels" else both)

    def check(self, shape: Shape) -> None:
        self._check(shape.n_labels, shape.dimension)

    def _check(self, n_labels: int, dimension: int) -> None:
        p = self.params
        if p.noised != "labels" and n_labels != 2:
            raise UsageError(
                f"bagflip: noised={p.noised} is for data sets with two labels; this one has "
                f"{n_labels}; allowed: noised=labels"
            )
        if p.keep * n_labels <= 1:
            raise UsageError(
                f"bagflip: keep={p.keep:g} is not allowed; with {n_labels} labels it must be above "
                f"{1 / n_labels:g}, or the values say nothing"
            )
        values = 1 if p.noised == "labels" else 1 + dimension
        if states(p.k, values) > _MOST_STATES:
            raise UsageError(
                f"bagflip: k={p.k} is too large to be certified with {values:,} noised "
                f"value{'s' * (values > 1)} an example; allowed: up to {_largest_k(values):,}"
            )

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        fitted, d = lookup.learner(self.params.learner), shape.dimension
        if not fitted.images:
            d = lookup.features(self._features()).count(shape.example)
        return even_blocks(self.params.n_models, fitted.models_per_block(self.params.k, d))

    def _features(self) -> str:
        return self.params.features if self.params.noised == "labels" else "binarised"

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of this block's base models. A model sees its own k examples, noised for
        it alone, and nothing else; test examples are not noised.
        """
        p, c = self.params, task.shape.n_labels
        learner, rng = task.learner(p.learner), task.rng()
        if learner.images and p.noised != "labels":
            raise UsageError(
                f"bagflip: learner={p.learner} needs images, and noised={p.noised} makes "
                "binarised features; allowed: noised=labels"
            )
        drawn = rng.integers(task.shape.n_train, size=(len(task.models), p.k))
        labels = task.labels()[drawn]
        kept = rng.random(drawn.shape) < p.keep
        moved = (labels.cpu().numpy() + rng.integers(1, c, size=drawn.shape)) % c
        with task.phase("train"):
            x, x_test = (
                task.images(drawn) if learner.images else task.features(self._features(), drawn)
            )
            if p.noised != "labels":
                x = _noised(x, p.keep, rng)
            noisy = torch.where(_on(kept, x), labels, _on(moved, x))
            models = fit_all(learner, x, noisy, c, rng)
        with task.phase("predict"):
            predicted = models.predict(x_test)
            votes = [(predicted == label).sum(0).cpu() for label in range(c)]
        task.advance(len(task.models))
        return {"votes": np.stack(votes, axis=1).astype(np.int64)}

    def guarantee(self, alpha: float) -> Guarantee:
        split = "example" if self.params.split == "per-example" else "defense"
        return Guarantee.probabilistic(alpha, split)

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Certified changed examples: see :mod:`harness.proofs.bagflip`.

        Raises UsageError where it is not told how many features were noised.
        """
        p = self.params
        self._check(evidence.n_labels, evidence.dimension)
        bounds = simuem(evidence["votes"], alpha, split=p.split)
        values = 1  # the label
        if threat is Threat.MODIFY:
            if evidence.dimension < 1:
                raise UsageError(
                    "bagflip: under modify it needs --set dimension=...: noised features of an "
                    "example"
                )
            values += evidence.dimension
        proof = Proof(evidence.n_train, p.k, p.keep, evidence.n_labels - 1, values)
        radii = proof.radii(bounds.p_lower, bounds.p_upper)
        return PointwiseCertificate(
            "neyman-pearson", threat, self.guarantee(alpha), bounds.prediction, radii
        )


def _noised(x: Tensor, keep: float, rng: np.random.Generator) -> Tensor:
    """Bits (m, k, d), each kept with probability ``keep``, else the other one."""
    # In single precision they would be kept with another probability, by up to 3e-8.
    return torch.where(_on(rng.random(x.shape) < keep, x), x, 1 - x)


def _largest_k(values: int) -> int:
    """The largest k whose certificate can be computed with so many noised values an example."""
    return max((k for k in range(1, 10**5) if states(k, values) <= _MOST_STATES), default=0)


def _on(array: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device)
