"""Bagging: many base models, each trained on a few examples drawn with replacement, vote.

Jia, Cao, Gong: Intrinsic Certified Robustness of Bagging against Data Poisoning Attacks, AAAI 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import ABSTAIN, DETERMINISTIC, Guarantee, PointwiseCertificate
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
from harness.learners.spec import parse_spec
from harness.proofs.confidence import Split, simuem
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    pass


class BaggingParameters(Parameters):
    """Parameters of bagging; the defaults are those of the paper for MNIST 1/7."""

    symbols: ClassVar[Mapping[str, str]] = {"N": "n_models"}

    k: int = Field(
        50, ge=1, le=10**9, description="examples in a subsample, drawn with replacement"
    )
    n_models: int = count_field(
        1000, ge=1, le=10**9, description="base models, N: one for each subsample"
    )
    learner: str = Field(
        "ridge",
        description="how a base model is fitted; 1nn needs no sampling: see exact",
    )
    features: str = features_field("what a base model sees")
    exact: bool = Field(
        default=True,
        description="with learner=1nn, compute the label probabilities: no votes, so neither "
        "n_models nor alpha is used; false samples votes as for any learner",
    )
    split: Split = certify_field(
        "paper",
        description="how alpha is shared out: paper (alpha / (e c) a bound) or per-example "
        "(alpha for each example on its own)",
    )


class Bagging(Defense[BaggingParameters]):
    """Bagging with the certified poisoning size of Theorem 1 and the bounds of SimuEM.

    Nearest neighbours are the exception: their label probabilities are known, nothing is sampled,
    and the certificate is deterministic.
    """

    name = "bagging"
    title = "Bagging: vote of base models trained on small subsamples"
    paper = "Jia, Cao, Gong: Intrinsic Certified Robustness of Bagging, AAAI 2021"
    Params = BaggingParameters
    isolated = True
    needs: ClassVar[Mapping[str, str]] = {
        "votes": "(e, c): how many base models vote for each label",
        "n_train": "training examples, n",
        "k": "examples in a subsample",
    }

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.POISONED_EXAMPLE)

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        if self._is_exact():
            return [range(1)]
        fitted, d = lookup.learner(self.params.learner), shape.dimension
        if not fitted.images:
            d = lookup.features(self.params.features).count(shape.example)
        size = fitted.models_per_block(self.params.k, d)
        return even_blocks(self.params.n_models, size)

    def gather(self, task: Task) -> Arrays:
        """TrainUnderSample (Algorithm 1): ``votes`` (e, c) of this block's base models.

        A base model sees its own k examples and nothing else; Theorem 1 rests on that. Where they
        are known, their ``probabilities`` (e, c) instead.
        """
        if self._is_exact():
            return self._probabilities(task)
        from harness.learners.fitting import fit_all

        p = self.params
        learner = task.learner(p.learner)
        rng = task.rng()
        drawn = rng.integers(task.shape.n_train, size=(len(task.models), p.k))
        with task.phase("train"):
            x, x_test = task.images(drawn) if learner.images else task.features(p.features, drawn)
            models = fit_all(learner, x, task.labels()[drawn], task.shape.n_labels, rng)
        with task.phase("predict"):
            predicted = models.predict(x_test)
            votes = [(predicted == label).sum(0).cpu() for label in range(task.shape.n_labels)]
        task.advance(len(task.models))
        return {"votes": np.stack(votes, axis=1).astype(np.int64)}

    def _probabilities(self, task: Task) -> Arrays:
        from harness.defenses.bagged_nearest import label_probabilities
        from harness.learners.nearest import NearestNeighbour

        p, learner = self.params, task.learner(self.params.learner)
        assert isinstance(learner, NearestNeighbour)
        x, x_test = task.features(p.features)
        with task.phase("predict"):
            probabilities = label_probabilities(
                learner, x, task.labels(), x_test, task.shape.n_labels, p.k
            )
        task.advance(1)
        return {"probabilities": probabilities}

    def _is_exact(self) -> bool:
        return self.params.exact and parse_spec(self.params.learner).name == "1nn"

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC if self._is_exact() else self._sampled(alpha)

    def _sampled(self, alpha: float) -> Guarantee:
        split = "example" if self.params.split == "per-example" else "defense"
        return Guarantee.probabilistic(alpha, split)

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Certify (Algorithm 1): ties in the vote go to the smaller label."""
        # Votes stay votes, whatever else lies beside them and whatever learner cast them.
        if self._is_exact() and "votes" not in evidence:
            from harness.defenses.bagged_nearest import exact_bounds

            bounds = exact_bounds(evidence["probabilities"], evidence.n_train)
            guarantee = DETERMINISTIC
        else:
            bounds = simuem(evidence["votes"], alpha, split=self.params.split)
            guarantee = self._sampled(alpha)
        radii = certified_poisoning_size(
            bounds.p_lower, bounds.p_upper, evidence.n_train, self.params.k, threat
        )
        return PointwiseCertificate("theorem-1", threat, guarantee, bounds.prediction, radii)


def certified_poisoning_size(
    p_lower: NDArray[np.float64],
    p_upper: NDArray[np.float64],
    n: int,
    k: int,
    threat: Threat,
) -> NDArray[np.int64]:
    """The largest r of Theorem 1 for each pair of bounds, -1 where the vote is not certain at all.

    ``p_lower`` and ``p_upper`` (any shape, in [0, 1]) bound the probability of the voted label from
    below and that of every other label from above; ``n`` >= 1 training examples, ``k`` >= 1 drawn.

    With gap = p_lower - p_upper, r is certified if for every reachable size n' of the poisoned set,
    m = max(n, n') - r of whose examples are clean,

        (n'/n)^k - 2 (m/n)^k + 1 - gap < 0.                                           (Eq. 4)

    n' is any size from n - r to n + r under ``any``; n under ``modify`` and ``label-flip``
    (Corollary 1), n - r under ``delete`` (Corollary 2), n + r under ``insert`` (Corollary 3).
    Under ``any`` the largest left-hand side is the one at n' = n, as under ``modify``: for n' = n
    the condition needs (1 - r/n)^k > 1 - gap/2 >= 1/2, hence r < n (1 - 2^(-1/k)), where Eq. 7 says
    that its maximum is at n' = n. r never reaches n: no clean example need then be left, or k draws
    miss all of them with probability one half or more.

    The paper also subtracts delta_l, delta_s < n^-k: the worst set of subsamples then holds a whole
    number of them. They are not needed. Let M in [0, 1] be the probability that the model trained
    on a subsample predicts l. The smallest E M(Y) given E M(X) >= p_lower is a linear program whose
    solution fills the subsamples outside the clean ones first, which the poisoned set never draws,
    and then a fraction of the clean ones: the value (p_lower - 1 + (m/n)^k) (n/n')^k of Eq. 38
    with delta_l = 0. The same holds for p_upper and Eq. 48.
    """
    if n < 1 or k < 1:
        raise ValueError(f"n and k must be at least 1, found n={n}, k={k}")
    if cost(Unit.POISONED_EXAMPLE, threat) != 1:
        raise ValueError(f"Theorem 1 does not cover {threat}")
    shortfall, where = np.unique((1.0 - p_lower) + p_upper, return_inverse=True)
    low, high = np.zeros(shortfall.shape, np.int64), np.full(shortfall.shape, n)
    while (high - low > 1).any():
        middle = (low + high) // 2
        good = _certified(middle.astype(np.float64), shortfall, n, k, threat)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    radii = low[where].reshape(np.shape(p_lower))
    return np.where(p_lower > p_upper, radii, ABSTAIN)


def _certified(
    r: NDArray[np.float64], shortfall: NDArray[np.float64], n: int, k: int, threat: Threat
) -> Any:
    """Whether Eq. 4, divided by (n'/n)^k so that nothing overflows, holds; shortfall is 1 - gap."""
    with np.errstate(divide="ignore", under="ignore"):
        if threat is Threat.DELETE:  # n' = m = n - r; in logarithms, for the shortfall may be 0
            return np.log(shortfall) < _log_power(r, n, k)
        if threat is Threat.INSERT:  # n' = n + r, m = n
            return (2.0 - shortfall) * np.exp(_log_power(r, n + r, k)) > 1.0
        return 1.0 + shortfall < 2.0 * np.exp(_log_power(r, n, k))  # n' = n, m = n - r


def _log_power(r: NDArray[np.float64], size: Any, k: int) -> Any:
    """log (1 - r / size)^k for 0 <= r <= size and any k, below the true value by a hair."""
    # Where little is left, what is left is the number that is known exactly.
    log = np.where(2 * r < size, np.log1p(-r / size), np.log((size - r) / size))
    # More than the error of these, and of the exponential: a few units in the last place.
    return k * log * (1 + 2e-15) - 2e-15
