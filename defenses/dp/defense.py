"""Differential privacy: models that depend little on any one example (Ma, Zhu, Hsu 2019).

A learner that is (epsilon, delta)-private predicts almost as well on a training set with a few
poisoned examples as on the clean one. N models, each trained with noise of its own, say how well it
predicts on the clean one.

Nothing that is not private may depend on the training set: examples are bounded one by one
(:func:`~harness.defenses.dp.mechanism.bounded_examples`), steps, learning rate and clip are fixed
numbers, Poisson samples have a fixed rate, and sums are divided by the size that was declared for
the training set, never by that of the one at hand. The declared size is the n of the data set that
was asked for: the certificate compares runs that all divide by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import ESTIMATE, AccuracyCertificate, Guarantee
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Parameters,
    Shape,
    Task,
    certify_field,
    even_blocks,
)
from harness.defenses.dp.certificate import Bound, bound_for
from harness.errors import UsageError
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from torch import Tensor

    from harness.defenses.dp.mechanism import Mechanism
    from harness.learners.base import Learner

_BLOCK = {"batched": 500, "opacus": 10}
"""Models in a block: about a second or a few on MNIST 1/7."""


class DifferentialPrivacyParameters(Parameters):
    """Parameters of the defense; epsilon and delta are the comparison's of Jia et al. (2021)."""

    n_models: int = Field(1000, ge=1, description="models, N: their mean accuracy is the estimate")
    epsilon: float = Field(0.3, gt=0, le=50, description="privacy of each model, add/remove-one")
    delta: float = Field(1e-5, gt=0, lt=1, description="probability beside epsilon")
    engine: Literal["batched", "opacus"] = Field(
        "batched", description="batched (all models at once) or opacus (one after another)"
    )
    sample_rate: float = Field(
        1.0, gt=0, le=1, description="probability of an example to be in a step (Poisson)"
    )
    steps: int = Field(20, ge=1, le=100_000, description="steps of gradient descent")
    learning_rate: float = Field(
        8.0,
        gt=0,
        description="step size; gradient descent on norms <= clip is stable to 8 / clip^2",
    )
    clip: float = Field(
        1.0, gt=0, description="largest norm of an example, and of an example's gradient"
    )
    features: str = Field("hog", description="what a model sees: raw, binarised or hog")
    accountant: Literal["auto", "prv", "rdp"] = Field(
        "auto",
        description="Opacus's accountant for the noise: prv (sample_rate 1 only), rdp, or auto",
    )
    certificate: Literal["ma"] = certify_field("ma", description="ma (Ma et al., Theorem 3)")
    bound: Bound = certify_field(
        "max", description="ma: from the accuracy (as published), from the error, or the larger one"
    )
    adjacency: Literal["add-remove", "paper"] = certify_field(
        "add-remove",
        description="add-remove (what is proved: a modified example is two units) or paper (one "
        "unit, as published; not what the accountant proves)",
    )


class DifferentialPrivacy(Defense[DifferentialPrivacyParameters]):
    """Linear models trained with DP-SGD, and what their privacy says about poisoned training."""

    name = "dp"
    title = "Differential privacy: linear models trained with noisy gradients"
    paper = "Ma, Zhu, Hsu: Data Poisoning against Differentially-Private Learners, IJCAI 2019"
    Params = DifferentialPrivacyParameters

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.ADD_REMOVE)

    def check(self, shape: Shape) -> None:
        from harness.features import check_features

        check_features(self.params.features, shape.example)
        p = self.params
        if p.accountant == "prv" and p.sample_rate < 1:
            raise UsageError(
                f"dp: accountant=prv bounds nothing at sample_rate={p.sample_rate:g}; "
                "allowed: auto or rdp, or sample_rate=1"
            )

    def blocks(self, shape: Shape, learner: Callable[[str], Learner]) -> Sequence[range]:
        return even_blocks(self.params.n_models, _BLOCK[self.params.engine])

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of this block's models, and what every certificate needs to know.

        ``noise_multiplier``, ``steps`` and ``sample_rate`` are those of the mechanism;
        ``never_clipped`` is 1 where no example, whatever it holds, could have its gradient clipped.
        """
        from harness.defenses.dp.accounting import noise_multiplier
        from harness.defenses.dp.mechanism import Mechanism, bounded_examples, outputs_for

        p = self.params
        x, x_test = (bounded_examples(part, p.clip) for part in task.features(p.features))
        with task.phase("train"):
            sigma = noise_multiplier(p.epsilon, p.delta, p.sample_rate, p.steps, p.accountant)
        mechanism = Mechanism(
            sigma, p.clip, p.sample_rate, p.steps, p.learning_rate, n_public=task.shape.n_train
        )
        engine = _batched_votes if p.engine == "batched" else _opacus_votes
        return {
            "votes": engine(task, x, x_test, mechanism),
            "noise_multiplier": np.array(sigma),
            "steps": np.array(p.steps),
            "sample_rate": np.array(p.sample_rate),
            "never_clipped": np.array(int(outputs_for(task.shape.n_labels) == 1)),
        }

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        """The votes added up; everything else is the same in all blocks."""
        return {**parts[0], "votes": np.sum([part["votes"] for part in parts], axis=0)}

    def guarantee(self, alpha: float) -> Guarantee:
        """An estimate, as published: the mean over N models stands in for the expected accuracy."""
        return ESTIMATE

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> AccuracyCertificate:
        """Theorem 3 of Ma et al.; ``alpha`` plays no part in an estimate."""
        p = self.params
        price = cost(self._unit(evidence), threat)
        if price is None:
            raise ValueError(f"differential privacy does not cover {threat}")
        votes = evidence["votes"]
        method = f"ma-theorem-3:{p.bound}"
        if p.adjacency == "paper":
            method += ":one-unit-a-modification"
        return AccuracyCertificate(
            method,
            threat,
            self.guarantee(alpha),
            votes / votes.sum(axis=1, keepdims=True),
            bound_for(price, p.epsilon, p.delta, p.bound),
        )

    def _unit(self, evidence: Evidence) -> Unit:
        """What one unit is; see :func:`~harness.defenses.dp.mechanism.bounded_examples`."""
        if self.params.adjacency == "paper":
            return Unit.POISONED_EXAMPLE
        if int(evidence["never_clipped"]) and float(evidence["sample_rate"]) == 1:
            return Unit.ADD_REMOVE_LINEAR_BINARY
        return Unit.ADD_REMOVE


def _batched_votes(task: Task, x: Tensor, x_test: Tensor, mechanism: Mechanism) -> NDArray[Any]:
    from harness.defenses.dp import batched
    from harness.defenses.dp.mechanism import draw_steps, outputs_for

    n_labels, n_models = task.shape.n_labels, len(task.models)
    with task.phase("train"):
        steps = draw_steps(
            mechanism, task.rng(), len(x), x.shape[1], n_models, outputs_for(n_labels)
        )
        weights = batched.train(x, task.labels(), n_labels, mechanism, steps)
    with task.phase("predict"):
        votes = batched.count_votes(x_test, weights, n_labels)
    task.advance(n_models)
    return votes


def _opacus_votes(task: Task, x: Tensor, x_test: Tensor, mechanism: Mechanism) -> NDArray[Any]:
    from harness.defenses.dp import opacus_engine

    n_labels, y, rng = task.shape.n_labels, task.labels(), task.rng()
    factory = opacus_engine.linear(x.shape[1], n_labels)
    votes = np.zeros((len(x_test), n_labels), dtype=np.int64)
    for _ in task.models:
        with task.phase("train"):
            module = opacus_engine.train(x, y, factory, mechanism, rng)
        with task.phase("predict"):
            predicted = opacus_engine.predict(module, x_test).cpu().numpy()
            votes[np.arange(len(votes)), predicted] += 1
        task.advance(1)
    return votes
