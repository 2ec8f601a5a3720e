"""Which epsilons the accountants can reach at all, known without importing them."""

from __future__ import annotations

import math
from typing import Literal

from harness.errors import UsageError

Accountant = Literal["auto", "prv", "rdp"]

RDP_ORDERS: list[float] = [
    *(1 + i / 10 for i in range(1, 100)),
    *range(12, 64),
    *(64, 80, 96, 128, 192, 256, 384, 512, 768, 1000),
]
"""Opacus's orders, and larger ones: epsilons below about 0.2 need them."""

PRV_ERROR = 1e-3
"""The least error that ``prv`` is asked for. It counts it in: few epsilons below it are found."""


def resolved(accountant: Accountant, sample_rate: float) -> Literal["prv", "rdp"]:
    """The accountant that ``auto`` stands for at that sample rate."""
    if accountant == "auto":
        return "prv" if sample_rate == 1 else "rdp"
    return accountant


def smallest_rdp_epsilon(delta: float) -> float:
    """What ``rdp`` says of a mechanism without any privacy loss: it finds no noise for less.

    From a Renyi divergence of 0 at each order (Balle et al. 2020, Theorem 21).
    """
    found = min(math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for a in RDP_ORDERS)
    return max(found, 0.0)


def check_reach(epsilon: float, delta: float, sample_rate: float, accountant: Accountant) -> None:
    """Raises UsageError where the accountant bounds nothing, or is known to find no noise.

    Nothing is searched here: ``prv`` can still fail for a tiny epsilon when training begins.
    """
    chosen, least = resolved(accountant, sample_rate), smallest_rdp_epsilon(delta)
    if chosen == "prv" and sample_rate < 1:
        raise UsageError(
            f"dp: accountant=prv bounds nothing at sample_rate={sample_rate:g}; "
            "allowed: auto or rdp, or sample_rate=1"
        )
    if chosen == "rdp" and epsilon <= least:
        raise UsageError(
            f"dp: no noise gives epsilon={epsilon:g} at delta={delta:g} with accountant=rdp; "
            f"allowed: an epsilon above {least:.3g}, or a larger delta"
        )
