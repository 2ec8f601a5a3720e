"""Randomised label flips for a linear classifier: certified analytically, with a single classifier.

Rosenfeld, Winston, Ravikumar, Kolter: Certified Robustness to Label-Flipping Attacks via Randomized
Smoothing, ICML 2020, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from harness.certificates import DETERMINISTIC, Guarantee, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Parameters,
    Shape,
    Target,
    Task,
    certify_field,
    features_field,
)
from harness.defenses.label_flip_rivals import log_error_against_rivals
from harness.errors import UsageError
from harness.proofs.flips import exact_radius, kl_radius, mean_rule_radius
from harness.proofs.influence import ridge_influence
from harness.threats import Threat, Unit, covered

_CHUNK = 2**18
"""Influence coefficients held at once, in float64: a few arrays of 2 MiB, which fit in a cache."""
_CHUNK_OF_MANY = 2**22
"""The same for more than two labels, where they are cut up once more: 32 MiB."""

_FAR = 1e3
"""As far as t a is followed: beyond, the bound is far below anything that a radius can use."""


class LabelFlipParameters(Parameters):
    """Parameters of randomised label flips; q and the penalty may not be tuned on the labels."""

    symbols: ClassVar[Mapping[str, str]] = {"lambda": "penalty", "beta": "q"}

    q: float = Field(
        0.4,
        gt=0,
        lt=1,
        description="probability that a label is flipped, below 1 - 1/c for c labels",
    )
    penalty: float = Field(0.01, gt=0, description="ridge penalty lambda, as a fraction of n")
    features: str = features_field("what the classifier sees")
    certificate: Literal["exact", "kl"] = certify_field(
        "exact", description="exact: Neyman-Pearson; kl: the bound of Rosenfeld et al."
    )


class LabelFlip(Defense[LabelFlipParameters]):
    """Ridge regression on labels that were flipped at random, without ever flipping one.

    The classifier that is certified is the vote of ridge regressions over all random flips. Its
    score is linear in the labels, so the probability of its winning label is bounded in closed
    form; nothing is sampled and the certificate is deterministic. A label is kept with probability
    1 - q, else it becomes another one, each as likely; with more than two labels the regressions
    are one against all.
    """

    name = "label-flip"
    title = "Randomised label flips: smoothed ridge regression, analytic"
    paper = "Rosenfeld et al.: Certified Robustness to Label-Flipping Attacks, ICML 2020"
    Params = LabelFlipParameters
    tried_with: ClassVar[Mapping[str, Any]] = {"q": 0.1}

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.LABEL)

    def check(self, shape: Shape) -> None:
        limit = 1 - 1 / shape.n_labels
        if self.params.q >= limit:
            raise UsageError(
                f"label-flip: q={self.params.q:g} is not allowed; with {shape.n_labels} labels it "
                f"must be below {limit:g}, or the labels say nothing"
            )

    def gather(self, task: Task) -> Arrays:
        """``predictions`` (e,) and ``log_error`` (e,), the log-probability of any other label."""
        p = self.params
        x, x_test = task.features(p.features)
        with task.phase("train"):
            penalty = p.penalty * task.shape.n_public
            influence = ridge_influence(x.double(), x_test.double(), penalty)
        bound, chunk = self._bound(task), _CHUNK if task.shape.n_labels == 2 else _CHUNK_OF_MANY
        rows = max(1, chunk // task.shape.n_train)
        with task.phase("predict"):
            parts = [
                bound(influence(slice(start, start + rows)))
                for start in range(0, task.shape.n_test, rows)
            ]
        task.advance(1)
        return {
            "predictions": np.concatenate([predicted for predicted, _ in parts]),
            "log_error": np.concatenate([error for _, error in parts]),
        }

    def _bound(self, task: Task) -> Callable[[Tensor], tuple[NDArray[Any], NDArray[Any]]]:
        labels, q, c = task.labels(), self.params.q, task.shape.n_labels
        if c > 2:
            return partial(log_error_against_rivals, labels=labels, q=q, n_labels=c)
        # Two labels have one score: label 1's, which wins where it is above one half.
        noisy = torch.full((len(labels),), q, dtype=torch.float64, device=labels.device)
        noisy[labels == 1] = 1 - q
        return partial(log_error_bound, noisy=noisy)

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Certified number of flipped labels, at most n: there are no more to flip."""
        log_error, q, n = evidence["log_error"], self.params.q, evidence.n_train
        c, exact = evidence.n_labels, self.params.certificate == "exact"
        radii = exact_radius(log_error, q, n, c) if exact else kl_radius(log_error, q, c)
        # Less than that only for q below 0.001 or hundreds of labels.
        radii = np.minimum(radii, mean_rule_radius(log_error, q, c))
        return PointwiseCertificate(
            "neyman-pearson" if exact else "kl",
            threat,
            self.guarantee(alpha),
            evidence["predictions"],
            np.minimum(radii, n),
        )

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """The labels that move the mean score most: see :mod:`harness.defenses.linear.attack`."""
        from harness.defenses.linear.attack import best_flips

        return best_flips(target, self.params.features, self.params.penalty, r)


def log_error_bound(
    influence: Tensor | NDArray[Any], noisy: Tensor | NDArray[Any], iterations: int = 30
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The label that most random flips predict, and a bound on the log-probability of the other.

    ``influence`` (e, n) float64: a_i(x); ``noisy`` (n,): s_i in (0, 1), the probability that the
    noisy label y_i is 1. The score sum_i a_i y_i predicts 1 where it is above one half. By
    Chernoff's bound, for every t > 0 the score reaches one half with probability at most

        exp(-t / 2) prod_i (1 - s_i + s_i exp(t a_i)),

    and for t < 0 it is the bound on staying at or below it. The exponent is convex in t and 0 at
    t = 0; one minimum over all t therefore gives the predicted label (1 where t < 0) and its
    error: the label with the larger mean score. Any t is valid, so stopping early costs strength,
    never soundness.

    Returns ``predicted`` (e,) int64 and ``log_error`` (e,) float64, at most 0.
    """
    a = torch.as_tensor(influence, dtype=torch.float64)
    s = torch.as_tensor(noisy, dtype=torch.float64, device=a.device)
    t = _minimiser(a, s, iterations)
    constant = torch.log1p(-s).sum()
    terms = functional.softplus(t[:, None] * a + torch.logit(s), threshold=40).sum(1)
    value = constant + terms - t / 2
    # Rounded against the certificate: n terms, their arguments and their sum, all in float64.
    size = t.abs() * (a.abs().sum(1) + 0.5) + constant.abs() + terms
    value += 1e-12 + 1e-15 * (4 + math.log2(len(s))) * size
    # The sign of t says the same, but for the rounding of single precision.
    predicted = (a @ s > 0.5).long()
    return predicted.cpu().numpy(), value.clamp_max(0.0).cpu().numpy()


def _minimiser(influence: Tensor, noisy: Tensor, iterations: int) -> Tensor:
    """The t (e,) at which the exponent is least, by Newton's method in single precision.

    Single precision is twice as fast and enough: the exponent is flat around its minimum, and it
    is evaluated in double precision afterwards.
    """
    scale = influence.abs().amax(1).clamp_min(1e-30)
    a = (influence / scale[:, None]).float()
    logit = torch.logit(noisy).float()
    half = (0.5 / scale).float()

    def derivatives(t: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.sigmoid(t[:, None] * a + logit)
        weighted = a * weight
        slope = weighted.sum(1) - half
        return slope, (weighted * a).sum(1) - (weighted * weighted).sum(1)

    t = torch.zeros_like(half)
    low, high = torch.full_like(t, -_FAR), torch.full_like(t, _FAR)
    for _ in range(iterations):
        slope, curvature = derivatives(t)
        # The slope increases with t: its sign says on which side the minimum is.
        low, high = torch.where(slope < 0, t, low), torch.where(slope > 0, t, high)
        new = t - slope / curvature.clamp_min(1e-30)
        new = torch.where((new <= low) | (new >= high), (low + high) / 2, new)
        done = ((new - t).abs() <= 1e-4 * new.abs()).all()
        t = new
        if done:
            break
    return t.double() / scale
