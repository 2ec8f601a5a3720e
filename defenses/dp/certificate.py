"""Ma et al. 2019, Theorem 3: what differential privacy says about the expected accuracy."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bound = Literal["accuracy", "error", "max"]

_SLACK = 1e-11
"""Relative; every term is moved against the certificate by it. The terms err by less than 1e-12."""


def accuracy_bound(
    accuracy: float, units: int, epsilon: float, delta: float, bound: Bound = "max"
) -> float:
    """A lower bound in [0, 1] on E[acc] of an (epsilon, delta)-private learner, ``units`` away.

    ``accuracy`` in [0, 1] is E[acc] on the clean training set, over the randomness of training; the
    poisoned one is reached from it in ``units`` >= 0 steps of the adjacency that the privacy is
    stated for. epsilon > 0, 0 < delta < 1.

    Group privacy: by induction over the steps, P(A(D) in S) <= e^(k eps) P(A(D') in S) + delta_k
    for data sets k steps apart, with delta_k = delta (1 + e^eps + ... + e^((k-1) eps)) =
    b (e^(k eps) - 1) and b = delta / (e^eps - 1). Integrated over the level sets of a function f
    of the model with values in [0, 1]: E f(A(D)) <= e^(k eps) E f(A(D')) + delta_k.

    - f = accuracy:   acc <= e^(k eps) acc' + delta_k, so
      acc' >= e^(-k eps) (acc - delta_k) = e^(-k eps) (acc + b) - b      (Theorem 3, "accuracy")
    - f = 1 - accuracy, from the poisoned side:  1 - acc' <= e^(k eps) (1 - acc) + delta_k, so
      acc' >= 1 - e^(k eps) (1 - acc + b) + b                            ("error")

    Both hold, so their maximum does ("max"), and 0 does always. Ma, Zhu, Hsu: Data Poisoning
    against Differentially-Private Learners, IJCAI 2019; the paper plots "accuracy".
    """
    if epsilon <= 0 or not 0 < delta < 1:
        raise ValueError(f"wanted epsilon > 0 and 0 < delta < 1, found {epsilon} and {delta}")
    if not 0 <= accuracy <= 1 or units < 0:
        raise ValueError(f"wanted accuracy in [0, 1], units >= 0, found {accuracy} and {units}")
    if units == 0:
        return accuracy
    spent = units * epsilon
    # log(b (1 - e^(-k eps))): nothing overflows, however large k eps is
    log_b = math.log(delta) - epsilon - _log1mexp(epsilon)
    log_failure = log_b + _log1mexp(spent)
    candidates = [0.0]
    if bound in ("accuracy", "max"):
        kept = math.exp(-spent) * accuracy * (1 - _SLACK)
        candidates.append(kept - math.exp(min(log_failure, 0.0)) * (1 + _SLACK))
    if bound in ("error", "max"):
        log_error = math.log1p(-accuracy) if accuracy < 1 else -math.inf
        exponents = (spent + log_error, spent + log_failure)
        worse = sum(math.exp(min(e, 0.0)) for e in exponents)
        candidates.append(1 - worse * (1 + _SLACK) - 1e-15)
    return min(max(candidates), accuracy)


def mean_accuracy_bound(
    probabilities: NDArray[np.float64],
    r: int,
    *,
    cost: int,
    epsilon: float,
    delta: float,
    bound: Bound,
) -> float:
    """:func:`accuracy_bound` after r poisonings of ``cost`` units each.

    ``probabilities`` (e,): for each test example, how probable its right label is. Their mean is
    E[acc], which the theorem is about.
    """
    accuracy = min(1.0, float(np.mean(probabilities)))
    return accuracy_bound(accuracy, r * cost, epsilon, delta, bound)


def bound_for(cost: int, epsilon: float, delta: float, bound: Bound) -> partial[float]:
    """:func:`mean_accuracy_bound` as a function of the probabilities and r alone."""
    return partial(mean_accuracy_bound, cost=cost, epsilon=epsilon, delta=delta, bound=bound)


def _log1mexp(x: float) -> float:
    """log(1 - e^-x) for x > 0 (Maechler 2012: expm1 below log 2, log1p above)."""
    return math.log(-math.expm1(-x)) if x < math.log(2) else math.log1p(-math.exp(-x))
