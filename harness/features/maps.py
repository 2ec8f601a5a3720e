"""Fixed maps from a raw example to the features that base models see.

Each is computed from one example alone, never from statistics of the training set: otherwise a
poisoned example could reach every base model, and the certificates would not hold. Each is total:
any example of the domain, however extreme, has finite features of bounded size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

FEATURES = {
    "raw": "every value of the example, flattened; uint8 is divided by 255",
    "binarised": "1 where a value is above one half (uint8: above 127), else 0",
    "hog": "histograms of gradient orientations, from the image alone",
}

HOG_CELLS = 4
"""The image is pooled to 4 x 4 cells."""
HOG_BINS = 8
"""Orientations over the whole circle, so that an edge from dark to bright has a direction."""
HOG_SMOOTHING = 1.0
"""Standard deviation in pixels of the Gaussian that smooths the image before the gradient."""
HOG_POOLING = 3 / 28
"""Standard deviation of the Gaussian that pools gradients, as a fraction of the image's side."""

LARGEST = 2.0**40
"""Values are cut off here, one by one: squares of them, and sums of those, stay within float32."""

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


def check_features(name: str, example: tuple[int, ...]) -> None:
    """Raises UsageError for a name that does not exist or that does not fit such examples."""
    if name not in FEATURES:
        raise unknown("features", name, FEATURES)
    if name == "hog" and not is_image(example):
        raise UsageError(
            f"features=hog needs images (height, width) or (height, width, channels) of at least "
            f"{HOG_CELLS} x {HOG_CELLS}, and an example here has shape {example}; "
            "allowed: raw, binarised"
        )


def feature_count(name: str, example: tuple[int, ...]) -> int:
    """d, the number of features that an example of that shape gets."""
    return HOG_CELLS**2 * HOG_BINS if name == "hog" else int(np.prod(example))


def is_image(example: tuple[int, ...]) -> bool:
    """Whether an example of that shape is a grey or colour image of at least 4 x 4 pixels."""
    colour = len(example) == 3 and example[2] in (1, 3, 4)
    return (len(example) == 2 or colour) and min(example[:2]) >= HOG_CELLS


def compute(name: str, x: NDArray[Any], chunk: int = 400) -> Tensor:
    """The features (n, d) float32 of raw examples ``x`` (n, ...), on the CPU.

    Each row depends on its own example only; ``chunk`` examples are computed at a time. Raises
    UsageError as :func:`check_features`.
    """
    check_features(name, x.shape[1:])
    if name == "hog":
        parts = [_hog(images(x[i : i + chunk])) for i in range(0, max(len(x), 1), chunk)]
        return torch.cat(parts)
    values = _unit(x).flatten(1)
    return (values > 0.5).float() if name == "binarised" else values


def images(x: NDArray[Any]) -> Tensor:
    """Raw examples as float32 (n, channels, height, width), uint8 divided by 255, all finite.

    Raises UsageError for examples that are not images.
    """
    if not is_image(x.shape[1:]):
        raise UsageError(
            "images need shape (height, width) or (height, width, channels); "
            f"an example here has shape {x.shape[1:]}"
        )
    values = _unit(x)
    return values[:, None] if x.ndim == 3 else values.permute(0, 3, 1, 2).contiguous()


def _unit(x: NDArray[Any]) -> Tensor:
    """``x`` as float32, uint8 divided by 255, else bounded: a copy."""
    if x.dtype == np.uint8:
        return torch.from_numpy(np.require(x, requirements=["C", "W"])).float() / 255
    return bounded(torch.from_numpy(np.array(x, dtype=np.float32)))


def bounded(values: Tensor) -> Tensor:
    """``values`` cut off at LARGEST on both sides, NaN at 0: in place, each value by itself."""
    return values.nan_to_num_(nan=0.0).clamp_(-LARGEST, LARGEST)


def _hog(x: Tensor) -> Tensor:
    """Histograms of oriented gradients (n, 128) of images (n, channels, height, width).

    After Dalal and Triggs (2005), with signed orientations shared between neighbouring bins by
    linear interpolation, Gaussian pooling instead of hard cells, and the square root of the
    histogram scaled to unit length ("RootHOG"). A colour image keeps, at each pixel, the channel
    with the largest gradient. The parameters were chosen on digit pairs other than 1 and 7.

    Only elementwise operations that IEEE 754 rounds correctly are used, no ``atan2``, convolution
    or matrix product: those may round differently for another number of examples or threads, and
    then an example's features would depend on where in the array it stands.
    """
    smooth = _blur(x, HOG_SMOOTHING)
    gx, gy = torch.zeros_like(smooth), torch.zeros_like(smooth)
    gx[..., 1:-1] = smooth[..., 2:] - smooth[..., :-2]
    gy[..., 1:-1, :] = smooth[..., 2:, :] - smooth[..., :-2, :]
    magnitude, strongest = (gx * gx + gy * gy).sqrt().max(dim=1, keepdim=True)
    position = _orientation(gx.gather(1, strongest), gy.gather(1, strongest))
    away = (position - torch.arange(HOG_BINS).view(-1, 1, 1)).abs()
    share = (1 - torch.minimum(away, HOG_BINS - away)).clamp_min(0)
    histogram = _pool(magnitude * share).flatten(1)
    total = histogram
    while total.shape[1] > 1:
        total = total[:, 0::2] + total[:, 1::2]
    return (histogram / total.clamp_min(torch.finfo(x.dtype).tiny)).sqrt()


def _orientation(gx: Tensor, gy: Tensor) -> Tensor:
    """The direction of (gx, gy) in bins, in [0, 8]: ``atan2`` to within a few roundings."""
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
    return torch.where(gy < 0, HOG_BINS - half, half)


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


def _pool(x: Tensor) -> Tensor:
    """Blurs (n, bins, height, width) by ``HOG_POOLING`` and averages it over the cells."""
    rows = x.new_zeros(*x.shape[:2], HOG_CELLS, x.shape[3])
    for i, weights in enumerate(_pooling(x.shape[2])):
        rows += x[:, :, i : i + 1] * weights[:, None]
    cells = x.new_zeros(*x.shape[:2], HOG_CELLS, HOG_CELLS)
    for i, weights in enumerate(_pooling(x.shape[3])):
        cells += rows[..., i : i + 1] * weights
    return cells


def _pooling(size: int) -> Tensor:
    """The weight (size, cells) of each pixel along an axis in each of the cells."""
    average = functional.adaptive_avg_pool1d(torch.eye(size), HOG_CELLS)
    return _blur(average[None, None], HOG_POOLING * size, axes=(2,))[0, 0]
