"""More than two labels: the error of smoothed one-against-all ridge regression.

Rosenfeld et al. (ICML 2020) certify two labels. With c of them, the score of label j is
sum_i a_i(x) 1[noisy y_i = j], and the largest score wins; the rivals of the winner are bounded
together, each as they bound the only one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK = 2**16
"""Terms worked on at once, in float64: a few arrays of 0.5 MiB, which fit in a cache."""
_FAR = 300.0
"""As far as t a is followed: beyond, the bound is far below anything that a radius can use."""
_CLOSE = 3e-3
"""Relative step at which t is good enough: it costs about its square of the logarithm."""


def log_error_against_rivals(
    influence: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    q: float,
    n_labels: int,
    passes: int = 30,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The label l that most random flips predict, and a bound on the log-probability of the others.

    ``influence`` (e, n) float64: a_i(x); ``labels`` (n,) in 0 ... c - 1, each kept with probability
    1 - q > q / (c - 1), else replaced by one of the c - 1 >= 2 others. l has the largest mean
    score, which is the largest score without noise; the smaller label in a tie. Another label is
    predicted only if some rival j scores at least as much as l; by the union bound and Chernoff's,
    for every t > 0

        P(not l) <= sum over j of prod_i E exp(t a_i (1[noisy y_i = j] - 1[noisy y_i = l])).

    The logarithm of the right-hand side is convex in t. Any t is valid, so stopping early costs
    strength, never soundness. One t serves all rivals: only those nearly as strong as the strongest
    count, and their best t are nearly the same.

    Returns ``predicted`` (e,) int64 and ``log_error`` (e,) float64, at most 0.
    """
    a = torch.as_tensor(influence, dtype=torch.float64)
    own = torch.as_tensor(labels, device=a.device)
    order = own.argsort(stable=True)
    noise = _Noise(q, n_labels, torch.bincount(own, minlength=n_labels).tolist())
    rows = max(1, _CHUNK // a.shape[1])
    parts = [_predict_and_bound(part[:, order], noise, passes) for part in a.split(rows)]
    predicted, log_error = (torch.cat(both) for both in zip(*parts, strict=True))
    return predicted.cpu().numpy(), log_error.cpu().numpy()


@dataclass(frozen=True)
class _Noise:
    """How labels are flipped, and how many training examples have each of them, in their order."""

    q: float
    n_labels: int
    sizes: list[int]

    @property
    def other(self) -> float:
        """The probability of each label that is not the original."""
        return self.q / (self.n_labels - 1)

    def by_label(self, terms: Tensor) -> Tensor:
        """Sums (e, c) of ``terms`` (e, n), whose columns are sorted by label."""
        return torch.stack([part.sum(1) for part in terms.split(self.sizes, 1)], 1)


def _predict_and_bound(a: Tensor, noise: _Noise, passes: int) -> tuple[Tensor, Tensor]:
    """Newton's method between bounds that close in, each row until it has converged."""
    sums = noise.by_label(a)
    predicted = sums.argmax(1, keepdim=True)
    rival = sums.scatter(1, predicted, -torch.inf).argmax(1, keepdim=True)
    # Where scores are nearly normal, the best t is the strongest rival's gap over its variance.
    signal = 1 - noise.q - noise.other
    squares = noise.by_label(a * a)
    spread = 2 * noise.other * squares.sum(1) + signal * _pick(squares, predicted, rival)
    gap = signal * (sums.gather(1, predicted) - sums.gather(1, rival))[:, 0]
    high = _FAR / a.abs().amax(1).clamp_min(1e-290)
    t = torch.minimum(gap.clamp_min(0.0) / spread.clamp_min(1e-290), high)
    low, best = torch.zeros_like(t), torch.zeros_like(t)
    # Rounding: n terms, their arguments and their sum, all in float64.
    size = (9 + math.log2(a.shape[1])) * a.abs().sum(1)
    fixed = 1e-12 + 1e-14 * a.shape[1]
    active = t > 0
    for _ in range(passes):
        index = active.nonzero()[:, 0]
        if not len(index):
            break
        at = t[index]
        value, slope, curvature = _union_bound(a[index], at, predicted[index], noise)
        best[index] = torch.minimum(best[index], value + fixed + 1e-15 * size[index] * at)
        low[index] = torch.where(slope < 0, at, low[index])
        high[index] = torch.where(slope < 0, high[index], at)
        new = at - slope / curvature.clamp_min(1e-290)
        middle = (low[index] + high[index]) / 2
        new = torch.where((new <= low[index]) | (new >= high[index]), middle, new)
        t[index] = new
        active[index] = (new - at).abs() > _CLOSE * at
    return predicted[:, 0], best


def _pick(table: Tensor, *columns: Tensor) -> Tensor:
    """(e,): the sum of the named columns (e, 1) of a table (e, c)."""
    return table.gather(1, torch.cat(columns, 1)).sum(1)


def _union_bound(
    a: Tensor, t: Tensor, predicted: Tensor, noise: _Noise
) -> tuple[Tensor, Tensor, Tensor]:
    """The logarithm of the bound and its first two derivatives in t, each (e,).

    A training label counts 1 where the noise makes it j, and -1 where it makes it l. So examples of
    label j, of label l and of any other one have three kinds of terms, whoever j and l are.
    """
    growth = torch.exp(a * t[:, None])
    shrink = growth.reciprocal()
    keep, other, c = 1 - noise.q, noise.other, noise.n_labels
    rival = _logarithms(a, growth, shrink, noise, ((c - 2) * other, keep, other))
    winner = _logarithms(a, growth, shrink, noise, ((c - 2) * other, other, keep))
    neither = _logarithms(a, growth, shrink, noise, (1 - 2 * other, other, other))
    # (3, e, c): if j were each of the labels in turn.
    every = neither.sum(2, keepdim=True) + (rival - neither)
    every = every + (winner - neither).gather(2, predicted.expand(3, -1, -1))
    value, slope, curvature = every
    value = value.scatter(1, predicted, -torch.inf)
    weight = value.softmax(1)
    mean_slope = (weight * slope).sum(1)
    apart = (weight * (slope - mean_slope[:, None]).square()).sum(1)
    return value.logsumexp(1), mean_slope, (weight * curvature).sum(1) + apart


def _logarithms(
    a: Tensor, growth: Tensor, shrink: Tensor, noise: _Noise, chances: tuple[float, float, float]
) -> Tensor:
    """(3, e, c): log E exp(t a_i D_i) and two derivatives in t, summed over examples by label.

    D_i is 0, 1 or -1 with the three ``chances``; ``growth`` (e, n) is exp(t a_i), ``shrink`` its
    inverse.
    """
    zero, plus, minus = chances
    up, down = growth * plus, shrink * minus
    both = up + down
    mean = both + zero
    first = up.sub_(down).div_(mean).mul_(a)
    second = both.div_(mean).mul_(a).mul_(a).sub_(first * first)
    return torch.stack([noise.by_label(part) for part in (mean.log_(), first, second)])
