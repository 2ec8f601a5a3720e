"""How much each training label moves the score that a ridge regression gives a test example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Influence:
    """a(x) = Phi (Phi^T Phi + lambda I)^-1 phi(x): the score of x is the sum of a_i(x) y_i.

    ``phi`` (n, d + 1) and ``phi_test`` (e, d + 1) float64, the features and the constant 1;
    ``directions`` (e, d + 1) is what the system gives for each test example.
    """

    phi: Tensor
    phi_test: Tensor
    directions: Tensor
    penalty: float

    def __call__(self, rows: slice) -> Tensor:
        """a(x), shape (rows, n), for a slice of the test examples."""
        return self.directions[rows] @ self.phi.T

    def error(self) -> Tensor:
        """(e,) a bound on the sum over the training examples of the error of a_i(x).

        No eigenvalue of the system is below the penalty. So a solution is off by at most its
        residual over the penalty, whatever has led to it; and what is off in the system and in the
        residual is what float64 loses in sums of n and of d + 1 products.
        """
        n, d = self.phi.shape
        lost = (n + d + 8) * torch.finfo(self.phi.dtype).eps
        size, lengths = self.directions.norm(dim=1), self.phi.norm(dim=1)
        system = ridge_system(self.phi, self.penalty)
        residual = (self.phi_test - self.directions @ system).norm(dim=1)
        norm = lengths.square().sum() + self.penalty
        off = residual + lost * (self.phi_test.norm(dim=1) + 3 * norm * size)
        bound: Tensor = 1.01 * lengths.sum() * (off / self.penalty + lost * size)
        return bound


def ridge_influence(x: Tensor, x_test: Tensor, penalty: float) -> Influence:
    """How much each training label moves the scores of ``x_test`` (e, d), given ``x`` (n, d).

    Both float64. The constant 1 is appended to the features and penalised with them (Rosenfeld et
    al. 2020, section 4.1).
    """
    phi, phi_test = with_constant(x), with_constant(x_test)
    directions = torch.linalg.solve(ridge_system(phi, penalty), phi_test.T).T
    return Influence(phi, phi_test, directions, penalty)


def with_constant(x: Tensor) -> Tensor:
    """Phi (n, d + 1) float64: the features ``x`` (n, d) and the constant 1."""
    return functional.pad(x.double(), (0, 1), value=1.0)


def ridge_system(phi: Tensor, penalty: float) -> Tensor:
    """Phi^T Phi + lambda I, shape (d + 1, d + 1), given ``phi`` (n, d + 1) with its constant 1."""
    gram = phi.T @ phi
    gram.diagonal().add_(penalty)
    return gram
