"""How much noise (epsilon, delta)-differential privacy takes: always from Opacus's accountants."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from opacus.accountants.utils import get_noise_multiplier

from harness.errors import UsageError

Accountant = Literal["auto", "prv", "rdp"]

_TOLERANCE = 1e-3
"""How far below its target, relatively, the accounted epsilon may stay."""
_RDP_ORDERS = [
    *(1 + i / 10 for i in range(1, 100)),
    *range(12, 64),
    *(64, 80, 96, 128, 192, 256, 384, 512),
]
"""Opacus's orders, and larger ones: epsilons below about 0.2 need them."""


def noise_multiplier(
    epsilon: float, delta: float, sample_rate: float, steps: int, accountant: Accountant
) -> float:
    """Sigma for which ``steps`` releases are (epsilon, delta)-private under add/remove adjacency.

    Each release is a sum over a Poisson sample of rate ``sample_rate`` in (0, 1], each example's
    part no longer than a bound, with Gaussian noise of sigma times that bound.

    ``auto`` is ``prv`` at rate 1 and ``rdp`` below. ``prv`` (Gopi, Lee, Wutschitz 2021) reports the
    upper end of its error interval; at rate 1 it stays above the exact epsilon of mu-GDP, by no
    more than 3% from epsilon 0.05 up. Below rate 1 it composes the loss of removing an example
    only, which bounds nothing. ``rdp`` (Mironov, Talwar, Zhang 2019, Theorem 5) covers both
    directions, and needs about a tenth more noise. Opacus's ``gdp`` accountant is a
    central limit approximation, not a bound, and is not offered.

    Raises UsageError where the accountant cannot reach that epsilon.
    """
    if accountant == "auto":
        accountant = "prv" if sample_rate == 1 else "rdp"
    options: dict[str, Any]
    if accountant == "prv":
        options = {"eps_error": min(0.01, max(1e-3, epsilon / 50))}
    else:
        options = {"alphas": _RDP_ORDERS}
    try:
        with _expected_warnings():
            sigma = get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant=accountant,
                epsilon_tolerance=_TOLERANCE * epsilon,
                **options,
            )
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise UsageError(
            f"dp: accountant={accountant} finds no noise for epsilon={epsilon:g}, delta={delta:g}, "
            f"sample_rate={sample_rate:g}, steps={steps} ({str(error).rstrip('.')}); allowed: a "
            "larger epsilon or delta, or the other accountant (prv, rdp)"
        ) from error
    return float(sigma)


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Silences what Opacus's accountants say on the way to a sound answer.

    ``prv`` takes log(1 - sample_rate), -inf at rate 1, and its densities under- and overflow far in
    the tails. ``rdp`` says that its best order is the largest or smallest; any order is a bound.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha")
        yield
