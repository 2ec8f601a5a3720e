"""Ridge regression on the labels: the cheapest linear base model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from harness.learners.linear import LinearLearner


class Ridge(LinearLearner):
    """Least squares on labels of -1 and 1 (two labels) or 0 and 1 (one against all).

    Minimises ||X w + b - t||^2 + penalty ||w||^2 for each score, as scikit-learn's ``Ridge`` with
    ``alpha=penalty``. Solves the dual k x k system where k <= d, else the d x d one. Raises
    UsageError for a penalty that is not positive.
    """

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
