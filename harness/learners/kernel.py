"""Kernel ridge regression on the labels, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import UsageError
from harness.learners.base import Learner, Models, own_examples
from harness.learners.linear import CACHED
from harness.specs.values import integer, number

AT_ONCE = 2**22
"""Test values, or kernels of test and training examples, handled at once: 32 MiB of float64."""

KERNELS = ("rbf", "poly")


@dataclass(frozen=True)
class _Batch:
    """m models. ``x`` (m, k, d) and ``duals`` (m, k, c) float64; ``unseen`` (m, c) bool."""

    x: Tensor
    duals: Tensor
    unseen: Tensor


@dataclass(frozen=True)
class KernelModels(Models):
    """Models in batches of equal k: sums over k are never padded, so they round alike."""

    learner: Kernel
    batches: Sequence[_Batch]

    def predict(self, x: Tensor) -> Tensor:
        return self._ask(x, lambda scores: scores.argmax(dim=1))

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        # In float32, two scores could tie that do not: what is predicted stays ahead.
        return self._ask(x, _ranked)

    def _ask(self, x: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
        """What ``answer`` makes of scores (e, c) float64, minus infinity for labels never seen.

        One model after another: how many there are decides on no rounding.
        """
        k = max(batch.x.shape[1] for batch in self.batches)
        parts = []
        for part in x.split(max(1, AT_ONCE // max(k, x.shape[1], 1))):
            wide = part.double()
            answers = [
                answer((self.learner.kernel(wide, own) @ duals).masked_fill(unseen, -math.inf))
                for batch in self.batches
                for own, duals, unseen in zip(batch.x, batch.duals, batch.unseen, strict=True)
            ]
            parts.append(torch.stack(answers))
        return torch.cat(parts, dim=1)


class Kernel(Learner):
    """Least squares on labels of 0 and 1, one against all, over functions of a kernel's space.

    As scikit-learn's ``KernelRidge`` with ``alpha=penalty`` for each label, and the largest value
    wins, the smaller label on a tie; labels that a model never saw never do. ``kernel`` is ``rbf``,
    exp(-gamma ||a - b||^2), or ``poly``, (gamma a.b + coef0)^degree; ``gamma`` is 1 / d unless
    given, a number that no example has a say in. All is computed in float64. Raises UsageError for
    another kernel, a penalty or gamma that is not positive, a coef0 below 0 and a degree that is
    none of 1 ... 10.
    """

    name = "kernel"
    summary = (
        "kernel ridge regression on the labels, kernel 'rbf' or 'poly' "
        "(penalty, kernel, gamma, degree, coef0)"
    )

    def __init__(
        self,
        penalty: float = 0.02,
        kernel: str = "rbf",
        gamma: float | None = None,
        degree: int = 3,
        coef0: float = 1.0,
    ) -> None:
        self.penalty = number(self.name, "penalty", penalty)
        if kernel not in KERNELS:
            allowed = " or ".join(map(repr, KERNELS))
            raise UsageError(f"{self.name}: kernel={kernel!r} is not allowed; wanted {allowed}")
        self._kernel = kernel
        self.gamma = None if gamma is None else number(self.name, "gamma", gamma)
        self.degree = integer(self.name, "degree", degree, most=10)
        self.coef0 = number(self.name, "coef0", coef0, zero=True)

    def models_per_block(self, k: int, d: int) -> int:
        """As many as keep their examples, or the kernels of these, near 64 MiB."""
        return int(np.clip(2**23 // max(k * max(k, d), 1), 1, 500))

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., e, k) for ``a`` (..., e, d) and ``b`` (..., k, d), all float64."""
        gamma = self.gamma or 1 / max(a.shape[-1], 1)
        products = a @ b.mT
        if self._kernel == "poly":
            return products.mul_(gamma).add_(self.coef0).pow_(self.degree)
        products.mul_(-2).add_(a.square().sum(-1, keepdim=True))
        products.add_(b.square().sum(-1).unsqueeze(-2))
        return products.clamp_min_(0).mul_(-gamma).exp_()

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> KernelModels:
        if x.ndim != 3:
            raise UsageError(f"{self.name} needs flat features, not images")
        if present is not None:
            parts = list(own_examples(x, y, present))
        else:
            size = len(x) if x.is_cuda else max(1, CACHED // max(1, x[0].numel()))
            parts = list(zip(x.split(size), y.split(size), strict=True))
        return KernelModels(self, [self._fit(*own, n_labels) for own in parts])

    def _fit(self, x: Tensor, y: Tensor, n_labels: int) -> _Batch:
        wide, targets = x.double(), functional.one_hot(y, n_labels).double()
        system = self.kernel(wide, wide)
        diagonal = system.diagonal(dim1=1, dim2=2)
        # A penalty below the rounding error could leave the system indefinite, as in ridge.
        rounding = torch.finfo(system.dtype).eps * diagonal.sum(dim=1, keepdim=True)
        diagonal.add_(rounding.clamp_min(self.penalty))
        factor, _ = torch.linalg.cholesky_ex(system)
        duals = torch.cholesky_solve(targets, factor)
        # Kernels of examples so large that they overflow must not keep a model from answering.
        answered = duals.isfinite().all(dim=(1, 2), keepdim=True)
        return _Batch(wide, torch.where(answered, duals, 0), ~targets.any(dim=1))


def _ranked(scores: Tensor) -> Tensor:
    narrow = scores.float().clamp_max(3e38)
    first = scores.argmax(dim=1, keepdim=True)
    lost = narrow.argmax(dim=1, keepdim=True) != first
    ahead = narrow.gather(1, first).nextafter(narrow.new_tensor(math.inf))
    return torch.where(lost, narrow.scatter(1, first, ahead), narrow)
