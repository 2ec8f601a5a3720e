"""How fast this machine is right now: a yardstick that every run measures on itself.

Seconds from two machines cannot be compared; multiples of the seconds that a fixed piece of work
takes on each of them can, roughly. The work is of the kind that training consists of.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MODELS, _SIZE = 48, 192
_REPEATS = 5
_FRESH_S = 30.0
"""Seconds for which a measurement is used again: how busy a machine is changes."""


def calibrate(device: torch.device) -> float:
    """Seconds that a fixed computation takes on that device: the median of five.

    Gram matrices and Cholesky solutions of 48 systems in 192 unknowns, in float32.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_MODELS, 2 * _SIZE, _SIZE, generator=generator).to(device)
    y = torch.randn(_MODELS, _SIZE, 2, generator=generator).to(device)
    ridge = torch.eye(_SIZE, device=device)

    def once() -> float:
        _wait(device)
        start = time.perf_counter()
        factor = torch.linalg.cholesky(x.mT @ x + ridge)
        torch.cholesky_solve(y, factor)
        _wait(device)
        return time.perf_counter() - start

    once()  # the first call also sets libraries up
    return median(once() for _ in range(_REPEATS))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


@dataclass
class Calibration:
    """The yardstick of one run: measured when it is needed, again when it has grown old."""

    device: torch.device
    _seconds: float = field(default=0.0, init=False)
    _taken: float = field(default=float("-inf"), init=False)

    def seconds(self) -> float:
        """Seconds of the fixed computation, as measured in the last half minute."""
        if time.monotonic() - self._taken > _FRESH_S:
            self._seconds = calibrate(self.device)
            self._taken = time.monotonic()
        return self._seconds
