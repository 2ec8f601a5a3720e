"""L2-penalised logistic regression: binary by Newton's method, multinomial by Newton-CG."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from harness.learners.linear import LinearLearner
from harness.specs.values import integer

STEP_LENGTHS = (*(2.0**-i for i in range(10)), 0.0)
"""The Newton step is cut to the one of these with the least objective; 0 stays where it is."""
CONVERGED = 1e-9
"""A model is done after a Newton step that promised less than this part of its first objective."""
CG_STEPS = 40
"""At most so many conjugate-gradient steps for one multinomial Newton step."""
CG_CONVERGED = 1e-3
"""Conjugate gradients end when the preconditioned residual has shrunk by this factor."""


class Logistic(LinearLearner):
    """Logistic regression: sum of log losses + penalty / 2 ||w||^2, the intercept not penalised.

    As scikit-learn's ``LogisticRegression`` with ``C = 1 / penalty``: binary for two labels,
    multinomial for more, over the labels that a model has seen. Where k <= d the problem is solved
    in the span of the k examples. At most ``steps`` Newton steps are taken, each with a line
    search; a model that has converged is left alone, whatever the others do. Raises UsageError for
    a penalty that is not positive or steps below 1.
    """

    name = "logistic"
    summary = "logistic regression, multinomial for more than two labels (penalty, steps)"

    def __init__(self, penalty: float = 0.02, steps: int = 50) -> None:
        super().__init__(penalty)
        self.steps = integer(self.name, "steps", steps)

    def solve(self, x: Tensor, y: Tensor, n_labels: int) -> tuple[Tensor, Tensor]:
        wide = x.double()
        models, k, d = x.shape
        dual = k <= d
        if dual:
            # Rows of the Gram matrix's Cholesky factor have the examples' inner products, which is
            # all that the loss and the penalty depend on.
            gram = wide @ wide.mT
            trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
            gram.diagonal(dim1=1, dim2=2).add_(torch.finfo(gram.dtype).eps * (k * trace + 1))
            features, _ = torch.linalg.cholesky_ex(gram)
        else:
            features = wide
        z = torch.cat([features, wide.new_ones(models, k, 1)], dim=2)
        solution = self._binary(z, y) if n_labels == 2 else self._multinomial(z, y, n_labels)
        weights, intercepts = solution[:, :-1], solution[:, -1]
        if dual:
            duals = torch.linalg.solve_triangular(features.mT, weights, upper=True)
            weights = wide.mT @ duals
        return weights.mT.to(x.dtype), intercepts.to(x.dtype)

    def _penalties(self, z: Tensor) -> Tensor:
        """(q + 1, 1): the penalty of each feature and 0 for the intercept."""
        penalties = z.new_full((z.shape[2], 1), self.penalty)
        penalties[-1] = 0
        return penalties

    def _binary(self, z: Tensor, y: Tensor) -> Tensor:
        """(m, q + 1, 1) weights and intercept of the score of label 1, from z (m, k, q + 1)."""
        penalties = self._penalties(z)
        signs = (2 * y - 1).to(z.dtype).unsqueeze(2)
        one_label = (y == y[:, :1]).all(dim=1)

        def losses(scores: Tensor) -> Tensor:
            return functional.softplus(-signs * scores).sum(dim=1)

        def direction(theta: Tensor) -> tuple[Tensor, Tensor]:
            wrong = torch.sigmoid(-signs * (z @ theta))
            gradient = penalties * theta - z.mT @ (signs * wrong)
            # Examples that are far on the right side leave no curvature; keep some for Cholesky.
            curvature = (wrong * (1 - wrong)).clamp_min(1e-12)
            hessian = z.mT @ (curvature * z) + torch.diag(penalties[:, 0])
            factor, _ = torch.linalg.cholesky_ex(hessian)
            return gradient, -torch.cholesky_solve(gradient, factor)

        start = z.new_zeros(len(z), z.shape[2], 1)
        theta = self._descend(z, start, ~one_label, losses, direction)
        # The intercept of one label alone would grow for ever; its sign is what it predicts.
        theta[:, -1] = torch.where(one_label.unsqueeze(1), signs[:, 0], theta[:, -1])
        return theta

    def _multinomial(self, z: Tensor, y: Tensor, n_labels: int) -> Tensor:
        """(m, q + 1, c) weights and intercepts of all labels' scores, from z (m, k, q + 1).

        The preconditioner is Boehning's (1992) bound on the curvature, 1/2 Z^T Z for each label.
        """
        penalties = self._penalties(z)
        targets = functional.one_hot(y, n_labels).to(z.dtype)
        unseen = ~targets.any(dim=1, keepdim=True)
        bound = z.mT @ z / 2 + torch.diag(penalties[:, 0])
        inverse = _inverse(bound)

        def losses(scores: Tensor) -> Tensor:
            logits = scores.masked_fill(unseen, -math.inf)
            own = scores.gather(2, y.unsqueeze(2))
            return (torch.logsumexp(logits, dim=2, keepdim=True) - own).sum(dim=1)

        def direction(theta: Tensor) -> tuple[Tensor, Tensor]:
            p = torch.softmax((z @ theta).masked_fill(unseen, -math.inf), dim=2)

            def curve(v: Tensor) -> Tensor:
                weighted = p * (z @ v)
                weighted = weighted - p * weighted.sum(dim=2, keepdim=True)
                return z.mT @ weighted + penalties * v

            gradient = z.mT @ (p - targets) + penalties * theta
            return gradient, _conjugate_gradients(curve, -gradient, inverse)

        start = z.new_zeros(len(z), z.shape[2], n_labels)
        several = (~unseen).sum(dim=(1, 2)) > 1
        return self._descend(z, start, several, losses, direction)

    def _descend(
        self,
        z: Tensor,
        theta: Tensor,
        active: Tensor,
        losses: Callable[[Tensor], Tensor],
        direction: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Safeguarded Newton steps from ``theta`` (m, q + 1, s), for the models in ``active`` (m,).

        ``losses`` maps scores (m, k, s) to the loss of each model (m, 1); ``direction`` gives the
        gradient and the Newton step at a point. The loss is convex, so none can miss the minimum.
        """
        penalties = self._penalties(z)

        def objective(scores: Tensor, at: Tensor) -> Tensor:
            return losses(scores).squeeze(1) + (penalties * at**2).sum(dim=(1, 2)) / 2

        scores = z @ theta
        enough = CONVERGED * objective(scores, theta)
        for _ in range(self.steps):
            if not active.any():
                break
            gradient, step = direction(theta)
            # Features so large that a step overflows leave their own model where it is.
            step = torch.where(step.isfinite().all(dim=(1, 2), keepdim=True), step, 0)
            change = z @ step
            values = torch.stack(
                [objective(scores + s * change, theta + s * step) for s in STEP_LENGTHS]
            )
            best = values.nan_to_num(nan=math.inf).argmin(dim=0)
            lengths = theta.new_tensor(STEP_LENGTHS)[best]
            lengths = torch.where(active, lengths, 0)
            active = active & (lengths > 0) & (-(gradient * step).sum(dim=(1, 2)) > enough)
            lengths = lengths[:, None, None]
            # Not by adding 0 times a change that may be infinite: who is done stays as it is.
            theta = torch.where(lengths > 0, theta + lengths * step, theta)
            scores = torch.where(lengths > 0, scores + lengths * change, scores)
        return theta


def _inverse(bound: Tensor) -> Tensor:
    """The inverse of each of ``bound`` (m, q, q); the identity where it has none in float64."""
    factor, info = torch.linalg.cholesky_ex(bound)
    diagonal = factor.diagonal(dim1=1, dim2=2)
    exists = (info == 0) & (diagonal > 0).all(dim=1) & diagonal.isfinite().all(dim=1)
    identity = torch.eye(bound.shape[1], dtype=bound.dtype, device=bound.device)
    return torch.cholesky_inverse(torch.where(exists[:, None, None], factor, identity))


def _conjugate_gradients(
    curve: Callable[[Tensor], Tensor], right: Tensor, inverse: Tensor
) -> Tensor:
    """Solves curve(v) = ``right`` (m, q, s) for each model; ``inverse`` (m, q, q) preconditions.

    A model stops at its own convergence, so that its answer does not depend on the others.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=(1, 2), keepdim=True)

    solution = torch.zeros_like(right)
    residual = right
    search = preconditioned = inverse @ residual
    size = dot(residual, preconditioned)
    enough = CG_CONVERGED**2 * size
    for _ in range(CG_STEPS):
        going = size > enough
        if not going.any():
            break
        image = curve(search)
        length = torch.where(going, size / dot(search, image), 0)
        solution = torch.where(going, solution + length * search, solution)
        residual = torch.where(going, residual - length * image, residual)
        preconditioned = inverse @ residual
        previous, size = size, torch.where(going, dot(residual, preconditioned), size)
        search = torch.where(going, preconditioned + (size / previous) * search, search)
    return solution
