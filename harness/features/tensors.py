"""Raw examples as tensors: each value by itself, finite and of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SIDE = 4
"""Pixels that a side of an image has at least."""

LARGEST = 2.0**40
"""Values are cut off here, one by one: squares of them, and sums of those, stay within float32."""


def unit(x: NDArray[Any]) -> Tensor:
    """``x`` as float32, uint8 divided by 255, else cut off at LARGEST: a copy, any shape."""
    if x.dtype == np.uint8:
        return torch.from_numpy(np.require(x, requirements=["C", "W"])).float() / 255
    return bounded(torch.from_numpy(np.array(x, dtype=np.float32, order="C")))


def bounded(values: Tensor) -> Tensor:
    """``values`` cut off at LARGEST on both sides, NaN at 0: in place, each value by itself."""
    return values.nan_to_num_(nan=0.0).clamp_(-LARGEST, LARGEST)


def square_root(x: Tensor) -> Tensor:
    """The square root of each value of ``x`` (on the CPU), rounded correctly as IEEE 754 asks.

    torch takes it from a mathematics library that rounds otherwise on some processors: an example
    would have other features there, and other certificates.
    """
    return torch.from_numpy(np.sqrt(x.numpy()))


def is_image(example: tuple[int, ...]) -> bool:
    """Whether an example of that shape is a grey or colour image of at least 4 x 4 pixels."""
    colour = len(example) == 3 and example[2] in (1, 3, 4)
    return (len(example) == 2 or colour) and min(example[:2]) >= SMALLEST_SIDE


def images(x: NDArray[Any]) -> Tensor:
    """Raw examples as float32 (n, channels, height, width), uint8 divided by 255, all finite.

    Raises UsageError for examples that are not images.
    """
    if not is_image(x.shape[1:]):
        raise UsageError(
            "images need shape (height, width) or (height, width, channels); "
            f"an example here has shape {x.shape[1:]}"
        )
    values = unit(x)
    return values[:, None] if x.ndim == 3 else values.permute(0, 3, 1, 2).contiguous()
