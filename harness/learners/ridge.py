"""Ridge regression on the labels: the cheapest linear base model."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from harness.learners.linear import LinearLearner, centre


class Ridge(LinearLearner):
    """Least squares on labels of -1 and 1 (two labels) or 0 and 1 (one against all).

    Minimises ||X w + b - t||^2 + penalty ||w||^2 for each score, as scikit-learn's ``Ridge`` with
    ``alpha=penalty``. Solves the dual k x k system where k <= d, else the d x d one. Raises
    UsageError for a penalty that is not positive.
    """

    linear_in_labels = True
    name = "ridge"
    summary = "ridge regression on the labels (penalty)"

    def __init__(self, penalty: float = 0.02) -> None:
        super().__init__(penalty)

    def solve(self, x: Tensor, y: Tensor, n_labels: int) -> tuple[Tensor, Tensor]:
        if n_labels == 2:
            targets = (2 * y - 1).double().unsqueeze(2)
        else:
            targets = functional.one_hot(y, n_labels).double()
        intercepts = targets.mean(dim=1)
        targets = targets - intercepts.unsqueeze(1)
        if x.shape[1] <= x.shape[2]:
            dual = self._solve_penalised(x @ x.mT, targets)
            weights = dual.mT.to(x.dtype) @ x
        else:
            moments = x.mT @ targets.to(x.dtype)
            weights = self._solve_penalised(x.mT @ x, moments.double()).mT.to(x.dtype)
        return weights, intercepts.to(x.dtype)

    def _solve_penalised(self, gram: Tensor, right: Tensor) -> Tensor:
        """(gram + penalty I)^-1 right in float64, for gram (m, q, q) known to float32 only.

        A penalty below the rounding error of ``gram`` could leave it indefinite: that error is the
        least penalty used, each model's own.
        """
        diagonal = gram.diagonal(dim1=1, dim2=2)
        rounding = torch.finfo(gram.dtype).eps * diagonal.sum(dim=1, keepdim=True)
        system = gram.double()
        system.diagonal(dim1=1, dim2=2).add_(rounding.double().clamp_min(self.penalty))
        factor, _ = torch.linalg.cholesky_ex(system)
        return torch.cholesky_solve(right, factor)

    def label_weights(self, x: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor]:
        """Of the system that :meth:`solve` makes of ``x``: the same for all labels, to the bit.

        With W = x_c^T S^-1 for it, a score is ``mean(t) + (x_test - mean) W (t - mean(t))``. The
        error is what :meth:`solve`, the intercept and the score lose in float32 for any labels.
        """
        k, d = x.shape
        mean = centre(x[None])
        own = x[None] - mean
        if k <= d:
            inverse = self._solve_penalised(own @ own.mT, own.double())[0].mT
        else:
            inverse = self._solve_penalised(own.mT @ own, own.mT.double())[0]
        asked = x_test.double() - mean[0].double()
        weights = asked @ inverse
        weights = 1 / k + weights - weights.mean(dim=1, keepdim=True)
        error = self._error(own[0].double(), mean[0].double().norm(), asked, x_test.double())
        known = weights.isfinite().all(dim=1) & error.isfinite()
        return weights.where(known[:, None], 0), error.where(known, math.inf)

    def _error(self, x: Tensor, mean: Tensor, asked: Tensor, x_test: Tensor) -> Tensor:
        """(e,) how far a score in float32 is from the weighted sum of labels, for any labels.

        All norms are Frobenius'. The system S = gram + penalty has no eigenvalue below ``least``,
        and x x^T <= S - least: so the weights have at most norm |t| / (2 sqrt(least)), and the
        dual solution |t| / least, with |t| <= sqrt(k) for the centred targets.
        """
        (k, d), q = x.shape, min(x.shape)
        eps, fine = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps
        square = x.square().sum()
        penalty = (eps * square).clamp_min(self.penalty)
        least = penalty - (max(k, d) + 2) * eps * square
        if not bool(least > 0):
            return torch.full_like(asked[:, 0], math.inf)
        condition = (2 * square + penalty) / least
        # Rounding of the dual solution and of the sums; Cholesky's in float64, which comes twice:
        # in the model and in the weights above.
        lost = (k + 4) * eps + 64 * (q + 2) ** 2 * fine * condition
        off = lost * math.sqrt(k) / least * square.sqrt()
        norm = math.sqrt(k) / (2 * least.sqrt()) + off
        summed = 2 + 2 * norm * mean + norm * x_test.norm(dim=1)
        error: Tensor = off * asked.norm(dim=1) + (d + 4) * eps * summed
        return error
