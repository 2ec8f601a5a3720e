"""Differential privacy: models that depend little on any one example (Ma, Zhu, Hsu 2019).

A learner that is (epsilon, delta)-private predicts almost as well on a training set with a few
poisoned examples as on the clean one. N models, each trained with noise of its own, say how well it
predicts on the clean one. The vote of these models is a prediction of its own, and the same privacy
says for each test example how many poisonings it withstands.

Nothing that is not private may depend on the training set: examples are bounded one by one
(:func:`~harness.defenses.dp.mechanism.bounded_examples`), steps, learning rate and clip are fixed
numbers, Poisson samples have a fixed rate, and sums are divided by the size that was declared for
the training set, never by that of the one at hand: all runs that a certificate compares divide by
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import (
    ESTIMATE,
    AccuracyCertificate,
    Certificate,
    Guarantee,
    PointwiseCertificate,
)
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
from harness.defenses.dp.certificate import Bound, bound_for
from harness.defenses.dp.proofs import (
    ExpectedAccuracy,
    Route,
    certified_radii,
    label_lower_bounds,
    method,
    number,
    sum_unit,
    tradeoffs_for,
)
from harness.defenses.dp.reach import check_reach
from harness.proofs.confidence import Split, simuem
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from torch import Tensor

    from harness.defenses.dp.mechanism import Mechanism

_BLOCK = {"batched": 500, "opacus": 10}
"""Models in a block: about a second or a few on MNIST 1/7."""


class DifferentialPrivacyParameters(Parameters):
    """Parameters of the defense; epsilon and delta are the comparison's of Jia et al. (2021)."""

    symbols: ClassVar[Mapping[str, str]] = {
        "N": "n_models",
        "q": "sample_rate",
        "T": "steps",
        "lr": "learning_rate",
        "C": "clip",
    }

    n_models: int = count_field(1000, ge=1, description="models, N, each with noise of its own")
    epsilon: float = Field(0.3, gt=0, le=50, description="privacy of each model, add/remove-one")
    delta: float = Field(1e-5, gt=0, lt=1, description="probability beside epsilon")
    engine: Literal["batched", "opacus"] = Field(
        "batched",
        description="batched (all models at once) or opacus (one after another)",
    )
    sample_rate: float = Field(
        1.0, gt=0, le=1, description="probability of an example to be in a step (Poisson)"
    )
    steps: int = Field(20, ge=1, le=100_000, description="steps of gradient descent")
    # Bounded, so that weights stay within float32 whatever the noise.
    learning_rate: float = Field(
        8.0,
        gt=0,
        le=1e6,
        description="step size; gradient descent on norms <= clip is stable to 8 / clip^2",
    )
    clip: float = Field(
        1.0, gt=0, le=1e6, description="largest norm of an example, and of an example's gradient"
    )
    features: str = features_field("what a model sees")
    examples: Literal["bounded", "centred"] = Field(
        "bounded",
        description="bounded (longer than clip are shrunk to it) or centred (each one's own mean "
        "taken off its features, then stretched to clip): more signal for the same noise",
    )
    accountant: Literal["auto", "prv", "rdp"] = Field(
        "auto",
        description="Opacus's accountant for the noise: prv (sample_rate 1 only), rdp, or auto",
    )
    certificate: Literal["ma", "gdp", "pointwise"] = certify_field(
        "ma",
        description="ma (Ma et al., Theorem 3), gdp (the exact trade-off, for the expected "
        "accuracy) or pointwise (the same for the vote on each test example)",
    )
    probabilities: Literal["confidence", "mean"] = certify_field(
        "confidence",
        description="gdp: from lower confidence bounds, or from the mean over the models, an "
        "estimate",
    )
    split: Split = certify_field(
        "paper",
        description="pointwise: how alpha is shared out, paper (alpha / (e c) a bound) or "
        "per-example (alpha for each example on its own)",
    )
    bound: Bound = certify_field(
        "max", description="ma: from the accuracy (as published), from the error, or the larger one"
    )
    adjacency: Literal["add-remove", "paper"] = certify_field(
        "add-remove",
        description="add-remove (what is proved: a modified example is two units) or paper (one "
        "unit, as published; not what the accountant proves, so always an estimate)",
    )


class DifferentialPrivacy(Defense[DifferentialPrivacyParameters]):
    """Linear models trained with DP-SGD, and what their privacy says about poisoned training."""

    name = "dp"
    title = "Differential privacy: linear models trained with noisy gradients"
    paper = "Ma, Zhu, Hsu: Data Poisoning against Differentially-Private Learners, IJCAI 2019"
    Params = DifferentialPrivacyParameters
    tried_with: ClassVar[Mapping[str, Any]] = {
        "certificate": "pointwise",
        "epsilon": 2.0,
        "steps": 1,
        "examples": "centred",
        "n_models": 400,
    }
    needs: ClassVar[Mapping[str, str]] = {
        "votes": "(e, c): how many models predict each label",
        "n_train": "training examples, n",
        "noise_multiplier": "standard deviation of a step's noise, in units of the clip",
        "steps": "steps of a model's training",
    }
    takes: ClassVar[Mapping[str, str]] = {
        "sample_rate": "probability of an example to be in a step (Poisson); below 1 the arrays "
        "curve_epsilon and curve_delta may prove more",
        "curve_epsilon": "(m,): with curve_delta, pairs that an accountant guarantees",
        "curve_delta": "(m,): see curve_epsilon",
        "never_clipped": "1 for two labels and a logistic loss none of whose example gradients "
        "could ever be clipped, else 0",
    }

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.ADD_REMOVE)

    def check(self, shape: Shape) -> None:
        p = self.params
        check_reach(p.epsilon, p.delta, p.sample_rate, p.accountant)

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        return even_blocks(self.params.n_models, _BLOCK[self.params.engine])

    def gather(self, task: Task) -> Arrays:
        """``votes`` (e, c) of this block's models, and what every certificate needs to know.

        ``noise_multiplier``, ``steps`` and ``sample_rate`` are those of the mechanism;
        ``never_clipped`` is 1 where no example, whatever it holds, could have its gradient clipped.
        Below sample rate 1, ``curve_epsilon`` and ``curve_delta`` (m,) are pairs that hold.
        """
        from harness.defenses.dp.accounting import noise_multiplier, privacy_curve
        from harness.defenses.dp.mechanism import Mechanism, never_clipped

        p = self.params
        x, x_test = (self._examples(part) for part in task.features(p.features))
        with task.phase("train"):
            sigma = noise_multiplier(p.epsilon, p.delta, p.sample_rate, p.steps, p.accountant)
        mechanism = Mechanism(
            sigma, p.clip, p.sample_rate, p.steps, p.learning_rate, n_public=task.shape.n_public
        )
        engine = _batched_votes if p.engine == "batched" else _opacus_votes
        arrays = {
            "votes": engine(task, x, x_test, mechanism),
            "noise_multiplier": np.array(sigma),
            "steps": np.array(p.steps),
            "sample_rate": np.array(p.sample_rate),
            "never_clipped": np.array(int(never_clipped(task.shape.n_labels))),
        }
        if p.sample_rate < 1:
            curve = privacy_curve(sigma, p.sample_rate, p.steps)
            arrays |= dict(zip(("curve_epsilon", "curve_delta"), curve, strict=True))
        return arrays

    def _examples(self, features: Tensor) -> Tensor:
        from harness.defenses.dp.mechanism import bounded_examples, centred

        if self.params.examples == "centred":
            return bounded_examples(centred(features), self.params.clip, stretch=True)
        return bounded_examples(features, self.params.clip)

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        """The votes added up; everything else is the same in all blocks."""
        return {**parts[0], "votes": np.sum([part["votes"] for part in parts], axis=0)}

    def guarantee(self, alpha: float) -> Guarantee:
        """An estimate where a mean over N models stands in for a probability, as published.

        And wherever a modification counts as one unit, as published: no accountant proves that.
        """
        p = self.params
        mean = p.certificate == "ma" or (p.certificate == "gdp" and p.probabilities == "mean")
        if mean or p.adjacency == "paper":
            return ESTIMATE
        alone = p.certificate == "pointwise" and p.split == "per-example"
        return Guarantee.probabilistic(alpha, "example" if alone else "defense")

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """``ma``, ``gdp`` and ``pointwise`` need the same evidence: they share their training."""
        prove = {"ma": self._ma, "gdp": self._gdp, "pointwise": self._pointwise}
        return prove[self.params.certificate](evidence, threat, alpha)

    def _ma(self, evidence: Evidence, threat: Threat, alpha: float) -> AccuracyCertificate:
        """From the accounted (epsilon, delta), as the theorem is stated: the Gaussian trade-off is
        another proof, with no epsilon of its own, and is what ``gdp`` shows.
        """
        p = self.params
        # At rate 1 the accountant knows no more of the mechanism than how far a sum can move.
        full_batches = number(evidence, "sample_rate", 1.0) == 1
        price = self._price(sum_unit(evidence) if full_batches else Unit.ADD_REMOVE, threat)
        return AccuracyCertificate(
            self._method(f"ma-theorem-3:{p.bound}"),
            threat,
            self.guarantee(alpha),
            _shares(evidence["votes"]),
            bound_for(price, p.epsilon, p.delta, p.bound),
        )

    def _gdp(self, evidence: Evidence, threat: Threat, alpha: float) -> AccuracyCertificate:
        votes, average = evidence["votes"], self.params.probabilities == "mean"
        shares = _shares(votes)
        bounds = shares if average else label_lower_bounds(votes, alpha)
        routes = self._routes(evidence, threat, float(bounds.max()))
        return AccuracyCertificate(
            self._method(f"{method(routes)}:expected-accuracy"),
            threat,
            self.guarantee(alpha),
            bounds,
            ExpectedAccuracy(routes, evidence.n_train, average),
            shares,
        )

    def _pointwise(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        bounds = simuem(evidence["votes"], alpha, split=self.params.split)
        highest = max(bounds.p_lower.max(), 1 - bounds.p_upper.min())
        routes = self._routes(evidence, threat, float(highest))
        return PointwiseCertificate(
            self._method(f"{method(routes)}:pointwise"),
            threat,
            self.guarantee(alpha),
            bounds.prediction,
            certified_radii(bounds, routes, evidence.n_train),
        )

    def _method(self, name: str) -> str:
        paper = self.params.adjacency == "paper"
        return f"{name}:one-unit-a-modification" if paper else name

    def _routes(self, evidence: Evidence, threat: Threat, highest: float) -> tuple[Route, ...]:
        """All that is known of the mechanism; whichever proves most may be used."""
        known = tradeoffs_for(evidence, highest)
        return tuple(Route(tradeoff, self._price(unit, threat)) for tradeoff, unit in known)

    def _price(self, unit: Unit, threat: Threat) -> int:
        """How many units one poisoning costs; one, whatever it is, by the paper's convention."""
        price = cost(Unit.POISONED_EXAMPLE if self.params.adjacency == "paper" else unit, threat)
        if price is None:
            raise ValueError(f"differential privacy does not cover {threat}")
        return price


def _batched_votes(task: Task, x: Tensor, x_test: Tensor, mechanism: Mechanism) -> NDArray[Any]:
    from harness.defenses.dp import batched
    from harness.defenses.dp.mechanism import draw_steps, never_clipped, outputs_for

    n_labels, n_models = task.shape.n_labels, len(task.models)
    with task.phase("train"):
        steps = draw_steps(
            mechanism, task.rng(), len(x), x.shape[1], n_models, outputs_for(n_labels)
        )
        unclipped = never_clipped(n_labels)
        weights = batched.train(x, task.labels(), mechanism, steps, never_clipped=unclipped)
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


def _shares(votes: NDArray[Any]) -> NDArray[np.float64]:
    """The votes (e, c) as fractions."""
    shares: NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
    return shares
