"""Distances in whole numbers: each follows from its two examples alone, to the last bit.

What is summed are whole numbers, and so is every sum of some of them, in whatever order and however
a matrix product is cut up. As long as the sum of all their absolute values is one that the floating
point type holds exactly, nothing is ever rounded. So no distance can depend on which other examples
there are, and neither can a certificate that counts on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

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
    whole = x.double().div_(step).round_().clamp_(-cut, cut)
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

    ``x`` (n, d) and ``x_test`` (e, d) are features. Euclidean and cosine distances are squared.
    """

    def __init__(self, x: Tensor, x_test: Tensor, metric: Metric, step: float) -> None:
        examples, tests = on_grid(x, metric, step), on_grid(x_test, metric, step)
        self.n, self._manhattan = len(x), metric == "manhattan"
        if not self._manhattan:
            # |x|^2 - 2 x.t + |t|^2 as one product. Its terms, without their signs, add up to at
            # most (|x| + |t|)^2.
            squares, own = _squares(examples), _squares(tests)
            examples = torch.cat([examples, squares, torch.ones_like(squares)], 1)
            tests = torch.cat([tests.mul_(-2), torch.ones_like(own), own], 1)
            largest = (_largest(squares) ** 0.5 + _largest(own) ** 0.5) ** 2
        else:
            largest = _largest(_sums(examples)) + _largest(_sums(tests))
        # Both types give the same numbers; only how soon depends on what is in the training set.
        # On a GPU a product in float32 may be told to round, by whoever else is in the process.
        single = x.device.type == "cpu" and largest < _SINGLE - 1
        self._examples, self._tests = (
            some.float() if single else some for some in (examples, tests)
        )
        if x.device.type == "cpu" and not self._manhattan:
            self._across: NDArray[Any] = np.ascontiguousarray(self._examples.numpy().T)

    def chunks(self) -> Iterator[NDArray[Any]]:
        """All distances in turn: (some, n) float32 or float64, all whole numbers."""
        for tests in self._tests.split(max(1, _AT_ONCE // max(self.n, 1))):
            yield self._of(tests)

    def _of(self, tests: Tensor) -> NDArray[Any]:
        if self._manhattan:
            return torch.cdist(tests, self._examples, p=1).cpu().numpy()
        if tests.device.type == "cpu":  # NumPy's product has no setting that rounds
            return np.asarray(tests.numpy() @ self._across)
        return (tests @ self._examples.T).cpu().numpy()


def _squares(x: Tensor) -> Tensor:
    return (x * x).sum(1, keepdim=True)


def _sums(x: Tensor) -> Tensor:
    return x.abs().sum(1)


def _largest(x: Tensor) -> float:
    return float(x.max()) if len(x) else 0.0
