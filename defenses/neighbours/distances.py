"""Distances in whole numbers: each follows from its two examples alone, to the last bit.

What is summed are whole numbers, and so is every sum of some of them, in whatever order and however
a matrix product is cut up. As long as the sum of all their absolute values is one that the floating
point type holds exactly, nothing is ever rounded. So no distance can depend on which other examples
there are, and neither can a certificate that counts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_Columns = Callable[["Tensor", "Tensor"], list["Tensor"]]
Metric = Literal["euclidean", "manhattan", "cosine"]
METRIC = (
    "euclidean, manhattan, or cosine (1 - cosine of the angle): of features rounded to multiples "
    "of step, so that distances are whole numbers"
)

_AT_ONCE = 2**23
"""Distances held at a time."""
_UNIT = 2**10
"""The length that features are given, in whole numbers, where their direction alone counts."""
_SINGLE, _DOUBLE = 2**24, 2**53
"""Up to here float32 and float64 hold all whole numbers."""


def on_grid(x: Tensor, metric: Metric, step: float) -> Tensor:
    """Features (n, d) as whole numbers, float64: each example by itself, by IEEE 754 alone.

    In multiples of ``step``, cut off where distances might no longer fit into 53 bits: that follows
    from d and from nothing else. ``cosine``: then scaled to a length of 1,024, and rounded again.
    """
    bits = 53 - x.shape[1].bit_length()
    cut = 2.0 ** (bits // 2 - 1)
    whole = x.to(torch.float64, copy=True).div_(step).round_().clamp_(-cut, cut)
    if metric == "cosine":
        # The squares are whole numbers with an exact sum; NumPy rounds a root as IEEE 754 asks.
        square = (whole * whole).sum(1, keepdim=True).cpu().numpy()
        length = torch.from_numpy(np.sqrt(square).clip(1)).to(whole.device)
        whole = whole.div_(length).mul_(_UNIT).round_()
    return whole


def within(metric: Metric, step: float, radius: float) -> int:
    """The largest whole-number distance that is at most ``radius``, exactly, in units of features.

    Euclidean distances are compared by their squares. The cosine distance 1 - cos of two directions
    is half the square of the distance between vectors of length one.
    """
    steps = Fraction(radius) / Fraction(step)
    if metric == "cosine":
        found = int(2 * Fraction(radius) * _UNIT**2)
    else:
        found = int(steps) if metric == "manhattan" else int(steps**2)
    return min(found, _DOUBLE)


class Distances:
    """The distances from test examples to all training examples, some test examples at a time.

    ``x`` (n, d) and ``x_test`` (e, d) are features; ``order`` (n,), if given, is the one in which
    the training examples are wanted. Euclidean and cosine distances are squared.
    """

    def __init__(
        self,
        x: Tensor,
        x_test: Tensor,
        metric: Metric,
        step: float,
        order: NDArray[np.int64] | None = None,
    ) -> None:
        self.n, self._manhattan = len(x), metric == "manhattan"
        examples, tests = _Side(x, metric, step, order), _Side(x_test, metric, step)
        if self._manhattan:
            most = examples.largest + tests.largest
        else:  # what the terms of |x|^2 - 2 x.t + |t|^2 add up to, all with the same sign
            most = (examples.largest**0.5 + tests.largest**0.5) ** 2
        # Both types give the same numbers; only how soon depends on what is in the training set.
        # On a GPU a product in float32 may be told to round, by whoever else is in the process.
        single = x.device.type == "cpu" and most < _SINGLE - 1
        kind = torch.float32 if single else torch.float64
        self._examples = examples.laid_out(
            kind, lambda whole, square: [whole, square, _one(square)]
        )
        self._tests = tests.laid_out(kind, lambda whole, square: [-2 * whole, _one(square), square])

    def chunks(self) -> Iterator[NDArray[Any]]:
        """All distances in turn: (some, n) float32 or float64, all whole numbers."""
        for tests in self._tests.split(max(1, _AT_ONCE // max(self.n, 1))):
            yield self._of(tests)

    def _of(self, tests: Tensor) -> NDArray[Any]:
        if self._manhattan:
            return torch.cdist(tests, self._examples, p=1).cpu().numpy()
        if tests.device.type == "cpu":  # NumPy's product has no setting that rounds
            return np.asarray(tests.numpy() @ self._examples.numpy().T)
        return (tests @ self._examples.T).cpu().numpy()


@dataclass(frozen=True)
class _Side:
    """Training or test examples as whole numbers, some at a time: all together may be large."""

    x: Tensor
    metric: Metric
    step: float
    order: NDArray[np.int64] | None = None

    @cached_property
    def largest(self) -> float:
        """The largest square of a length; where differences are added, sum of absolute values."""
        return max((float(self._size(some).max()) for some in self._parts()), default=0.0)

    def laid_out(self, kind: torch.dtype, columns: _Columns) -> Tensor:
        """What is multiplied: for distances |x|^2 - 2 x.t + |t|^2 as one product, the ``columns``
        made of whole numbers (some, d) and their squares (some, 1).
        """
        product = self.metric != "manhattan"
        n, d = self.x.shape
        made = torch.empty(n, d + 2 * product, dtype=kind, device=self.x.device)
        rows = iter(made.split(self._rows))
        for whole in self._parts():
            parts = columns(whole, self._size(whole)) if product else [whole]
            next(rows).copy_(torch.cat(parts, 1))
        return made

    def _size(self, whole: Tensor) -> Tensor:
        power = whole.abs() if self.metric == "manhattan" else whole * whole
        return power.sum(1, keepdim=True)

    @property
    def _rows(self) -> int:
        return max(1, _AT_ONCE // 4 // max(1, self.x.shape[1]))

    def _parts(self) -> Iterator[Tensor]:
        if self.order is None:
            yield from (on_grid(some, self.metric, self.step) for some in self.x.split(self._rows))
            return
        for some in torch.from_numpy(self.order).to(self.x.device).split(self._rows):
            yield on_grid(self.x[some], self.metric, self.step)


def _one(like: Tensor) -> Tensor:
    return torch.ones_like(like)
