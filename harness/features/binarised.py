"""One bit for each value of the example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.features.raw import Raw

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class Binarised(Raw):
    """1 where a value is above one half, uint8 above 127, else 0."""

    name = "binarised"
    summary = "1 where a value is above one half (uint8: above 127), else 0"

    def rows(self, x: NDArray[Any]) -> Tensor:
        return (super().rows(x) > 0.5).float()
