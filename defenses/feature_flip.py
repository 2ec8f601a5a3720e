"""Randomised flips of features and labels: the generalisation that Jia et al. compare with.

Jia, Cao, Gong: Intrinsic Certified Robustness of Bagging, AAAI 2021, section 4.1 ("Rosenfeld et
al."): binarise the d features, flip every feature and label of the training set with probability
beta, train N classifiers on N such copies, and let them vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import ABSTAIN, Guarantee, PointwiseCertificate
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
)
from harness.errors import UsageError
from harness.learners.fitting import fit_all
from harness.learners.naive_bayes import NaiveBayes
from harness.proofs.confidence import Split, simuem
from harness.proofs.flips import exact_radius, kl_radius
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from torch import Tensor

    from harness.learners.base import Learner, Models

_BLOCK = 250


class FeatureFlipParameters(Parameters):
    """Parameters of randomised feature and label flips; the paper's defaults for MNIST 1/7."""

    symbols: ClassVar[Mapping[str, str]] = {"N": "n_models", "q": "beta"}

    beta: float = Field(0.3, gt=0, lt=0.5, description="probability that a value is flipped")
    n_models: int = count_field(1000, ge=1, description="classifiers, N: one for each noisy copy")
    learner: str = Field(
        "naive-bayes",
        description="how a classifier is fitted; naive-bayes needs no explicit noisy copies",
    )
    certificate: Literal["exact", "kl"] = certify_field(
        "exact", description="exact: Neyman-Pearson; kl: as published"
    )
    split: Split = certify_field(
        "paper",
        description="how alpha is shared out: paper (alpha / (e c) a bound) or per-example "
        "(alpha for each example on its own)",
    )


class FeatureFlip(Defense[FeatureFlipParameters]):
    """Vote of classifiers trained on noisy copies of the whole, binarised training set."""

    name = "feature-flip"
    title = "Randomised flips of features and labels: vote over noisy copies"
    paper = "Rosenfeld et al., ICML 2020, as generalised by Jia et al., AAAI 2021, section 4.1"
    Params = FeatureFlipParameters

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.VALUE)

    def check(self, shape: Shape) -> None:
        if shape.n_labels != 2:
            raise UsageError(
                f"feature-flip is for data sets with two labels; this one has {shape.n_labels}"
            )

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        counted = isinstance(lookup.learner(self.params.learner), NaiveBayes)
        return even_blocks(self.params.n_models, _BLOCK if counted else 10)

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of this block's classifiers on the binarised, noiseless test set."""
        x, x_test = task.features("binarised")
        learner, rng = task.learner(self.params.learner), task.rng()
        votes = np.zeros((task.shape.n_test, task.shape.n_labels), dtype=np.int64)
        step = len(task.models) if isinstance(learner, NaiveBayes) else 1
        for _ in range(0, len(task.models), step):
            with task.phase("train"):
                if isinstance(learner, NaiveBayes):
                    models = self._fit_counts(learner, x, task.y_train, step, rng)
                else:
                    models = self._fit_copy(learner, x, task.y_train, rng)
            with task.phase("predict"):
                predicted = models.predict(x_test)
                for label in range(task.shape.n_labels):
                    votes[:, label] += (predicted == label).sum(0).cpu().numpy()
            task.advance(step)
        return {"votes": votes}

    def _fit_copy(
        self, learner: Learner, x: Tensor, y: NDArray[Any], rng: np.random.Generator
    ) -> Models:
        """One model on an explicit noisy copy of the training set."""
        beta = self.params.beta
        flips = torch.from_numpy(rng.random(x.shape) < beta).to(x.device)
        noisy_y = np.where(rng.random(y.shape) < beta, 1 - y, y)
        noisy_x = torch.where(flips, 1 - x, x)
        labels = torch.from_numpy(noisy_y).to(x.device)
        return fit_all(learner, noisy_x[None], labels[None], 2, rng)

    def _fit_counts(
        self, learner: NaiveBayes, x: Tensor, y: NDArray[Any], m: int, rng: np.random.Generator
    ) -> Models:
        """m naive Bayes models, with the distribution that noisy copies would give them.

        Naive Bayes sees a noisy copy only through counts. Given the noisy labels, the flips of the
        features are independent, so the number of noisy ones of a feature within a label is exactly
        Bin(ones, 1 - beta) + Bin(zeros, beta) of the clean ones and zeros there. Drawing those
        instead of 13,007 x 785 flips a model is the same experiment, thousands of times cheaper.
        """
        beta = self.params.beta
        noisy_y = np.where(rng.random((m, y.size)) < beta, 1 - y, y)
        member = torch.from_numpy(np.stack([1 - noisy_y, noisy_y], axis=1)).to(x.device)
        # Sums of zeros and ones below 2^24 are exact in float32, on every device.
        ones = (member.float() @ x).cpu().numpy().astype(np.int64)
        members = member.sum(2).cpu().numpy()
        noisy = rng.binomial(ones, 1 - beta) + rng.binomial(members[..., None] - ones, beta)
        freed = NaiveBayes(beta, learner.floor)
        return freed.from_counts(
            torch.from_numpy(noisy).double().to(x.device),
            torch.from_numpy(members).double().to(x.device),
        )

    def guarantee(self, alpha: float) -> Guarantee:
        split = "example" if self.params.split == "per-example" else "defense"
        return Guarantee.probabilistic(alpha, split)

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Certified flipped values F, divided by the values that one unit of r may change."""
        bounds = simuem(evidence["votes"], alpha, split=self.params.split)
        # Two labels: the rival wins with probability at most 1 - p_lower.
        with np.errstate(divide="ignore"):
            log_error = np.log1p(-bounds.p_lower)
        values = evidence.dimension + 1
        if self.params.certificate == "exact":
            flipped = exact_radius(log_error, self.params.beta, evidence.n_train * values)
        else:
            flipped = kl_radius(log_error, self.params.beta)
        unit = cost(Unit.VALUE, threat, values_per_example=values)
        if unit is None:
            raise ValueError(f"feature-flip does not cover {threat}")
        radii = np.where(flipped < 0, ABSTAIN, np.minimum(flipped // unit, evidence.n_train))
        method = "neyman-pearson" if self.params.certificate == "exact" else "kl"
        return PointwiseCertificate(method, threat, self.guarantee(alpha), bounds.prediction, radii)
