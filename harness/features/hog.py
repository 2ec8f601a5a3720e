"""Histograms of oriented gradients of an image, from the image alone.

After Dalal and Triggs (2005), with signed orientations shared between neighbouring bins by linear
interpolation, Gaussian pooling instead of hard cells, and the square root of the histogram scaled
to unit length ("RootHOG"). The defaults were chosen on MNIST digit pairs other than 1 and 7.

Only elementwise operations that IEEE 754 rounds correctly are used, no ``atan2``, convolution,
matrix product or torch's own square root: those may round differently for another number of
examples or threads or on another processor, and then an example's features would depend on where in
the array it stands, or on where they were computed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.errors import UsageError
from harness.features.base import Features
from harness.features.tensors import images, is_image, square_root
from harness.specs.values import integer, number

if TYPE_CHECKING:
    from torch import Tensor

_ARCTANGENT = (
    0.00352214154639,
    -0.0200296484704,
    0.0536512886749,
    -0.0949436244382,
    0.135197293956,
    -0.180771975996,
    0.254544420407,
    -0.424409404844,
    1.27323952155,
)
"""arctan(t) / (pi / 4) is t times this polynomial in t^2, highest power first, for t in [0, 1]."""


class Hog(Features):
    """Histograms of oriented gradients, of unit length; 0 for an image without any.

    The image is smoothed by a Gaussian of ``smoothing`` pixels (standard deviation). Its gradients
    are sorted into ``bins`` orientations over the whole circle, so that an edge from dark to bright
    has a direction, and pooled to ``cells`` x ``cells`` cells by a Gaussian of ``pooling`` times
    the image's side. A colour image keeps, at each pixel, the channel with the largest gradient.

    Raises UsageError for cells outside 1 ... 64, bins outside 2 ... 64 (one bin has no neighbour to
    share with), a smoothing outside (0, 32] and a pooling outside (0, 1].
    """

    name = "hog"
    summary = "histograms of gradient orientations, from the image alone"

    def __init__(
        self, cells: int = 4, bins: int = 8, smoothing: float = 1.0, pooling: float = 3 / 28
    ) -> None:
        self.cells = integer(self.name, "cells", cells, most=64)
        self.bins = integer(self.name, "bins", bins, least=2, most=64)
        self.smoothing = number(self.name, "smoothing", smoothing, most=32)
        self.pooling = number(self.name, "pooling", pooling, most=1)

    def check(self, example: tuple[int, ...]) -> None:
        if not is_image(example) or min(example[:2]) < self.cells:
            side = max(self.cells, 4)
            raise UsageError(
                f"features=hog needs images (height, width) or (height, width, channels) of at "
                f"least {side} x {side}, and an example here has shape {example}; raw takes any"
            )

    def count(self, example: tuple[int, ...]) -> int:
        return self.cells**2 * self.bins

    def rows(self, x: NDArray[Any]) -> Tensor:
        smooth = _blur(images(x), self.smoothing)
        gx, gy = torch.zeros_like(smooth), torch.zeros_like(smooth)
        gx[..., 1:-1] = smooth[..., 2:] - smooth[..., :-2]
        gy[..., 1:-1, :] = smooth[..., 2:, :] - smooth[..., :-2, :]
        magnitude, strongest = square_root(gx * gx + gy * gy).max(dim=1, keepdim=True)
        eighths = _eighths(gx.gather(1, strongest), gy.gather(1, strongest))
        position = eighths * (self.bins / 8)
        away = (position - torch.arange(self.bins).view(-1, 1, 1)).abs()
        share = (1 - torch.minimum(away, self.bins - away)).clamp_min(0)
        histogram = self._pool(magnitude * share).flatten(1)
        total = _sum(histogram)
        return square_root(histogram / total.clamp_min(torch.finfo(total.dtype).tiny))

    def _pool(self, x: Tensor) -> Tensor:
        """Blurs (n, bins, height, width) and averages it over the cells (n, bins, cells, cells)."""
        rows = x.new_zeros(*x.shape[:2], self.cells, x.shape[3])
        for i, weights in enumerate(self._pooling(x.shape[2])):
            rows += x[:, :, i : i + 1] * weights[:, None]
        cells = x.new_zeros(*x.shape[:2], self.cells, self.cells)
        for i, weights in enumerate(self._pooling(x.shape[3])):
            cells += rows[..., i : i + 1] * weights
        return cells

    def _pooling(self, size: int) -> Tensor:
        """The weight (size, cells) of each pixel along an axis in each of the cells."""
        average = functional.adaptive_avg_pool1d(torch.eye(size), self.cells)
        return _blur(average[None, None], self.pooling * size, axes=(2,))[0, 0]


def _eighths(gx: Tensor, gy: Tensor) -> Tensor:
    """The direction of (gx, gy) in eighths of the circle, in [0, 8]: ``atan2`` to within a few
    roundings.
    """
    across, along = gx.abs(), gy.abs()
    longer = torch.maximum(across, along)
    slope = torch.minimum(across, along) / torch.where(longer > 0, longer, 1)
    square = slope * slope
    octant = torch.zeros_like(slope)
    for coefficient in _ARCTANGENT:
        octant = octant * square + coefficient
    octant = octant * slope
    quadrant = torch.where(along > across, 2 - octant, octant)
    half = torch.where(gx < 0, 4 - quadrant, quadrant)
    return torch.where(gy < 0, 8 - half, half)


def _blur(x: Tensor, sigma: float, axes: tuple[int, ...] = (2, 3)) -> Tensor:
    """Gaussian blur of (n, channels, height, width) along ``axes``; it is dark outside."""
    reach = math.ceil(3 * sigma)
    kernel = [math.exp(-(t**2) / (2 * sigma**2)) for t in range(-reach, reach + 1)]
    for axis in axes:
        border = (0, 0, reach, reach) if axis == 2 else (reach, reach)
        size, padded = x.shape[axis], functional.pad(x, border)
        x = torch.zeros_like(x)
        for i, weight in enumerate(kernel):
            x += padded.narrow(axis, i, size) * (weight / sum(kernel))
    return x


def _sum(x: Tensor) -> Tensor:
    """The sum (n, 1) of each row of (n, d), by halves: in one order whatever n is."""
    while x.shape[1] > 1:
        x = functional.pad(x, (0, x.shape[1] % 2))
        x = x[:, 0::2] + x[:, 1::2]
    return x
