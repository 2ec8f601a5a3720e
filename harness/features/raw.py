"""Every value of the example as it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.features.base import Features
from harness.features.tensors import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class Raw(Features):
    """Every value of the example, flattened; uint8 is divided by 255."""

    name = "raw"
    summary = "every value of the example, flattened; uint8 is divided by 255"

    def count(self, example: tuple[int, ...]) -> int:
        return math.prod(example)

    def rows(self, x: NDArray[Any]) -> Tensor:
        return unit(x).reshape(len(x), math.prod(x.shape[1:]))
