"""How much noise (epsilon, delta)-differential privacy takes: always from Opacus's accountants."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent
from opacus.accountants.utils import get_noise_multiplier

from harness.defenses.dp.reach import PRV_ERROR, RDP_ORDERS, Accountant, resolved
from harness.errors import UsageError

_TOLERANCE = 1e-3
"""How far below its target, relatively, the accounted epsilon may stay."""
_RDP_ERROR = 1e-12
"""How much too small the logarithm behind a Renyi divergence of one step may come out."""
_CURVE_DELTAS = tuple(np.geomspace(1e-16, 0.5, 200).tolist())


@cache
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
    accountant = resolved(accountant, sample_rate)
    options: dict[str, Any]
    if accountant == "prv":
        options = {"eps_error": min(0.01, max(PRV_ERROR, epsilon / 50))}
    else:
        options = {"alphas": RDP_ORDERS}
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


def privacy_curve(
    noise_multiplier: float, sample_rate: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs (epsilon, delta), each (m,), that the mechanism of :func:`noise_multiplier` satisfies.

    By Opacus's RDP accountant, which bounds adding as well as removing an example: its Renyi
    divergences, and for each delta the smallest epsilon that follows from one of them (Balle et
    al. 2020, Theorem 21). Every pair holds, so any of them may be used, and several.
    """
    rdp = np.asarray(
        compute_rdp(
            q=sample_rate, noise_multiplier=noise_multiplier, steps=steps, orders=RDP_ORDERS
        )
    )
    # Opacus adds up terms down to e^-30; where the divergence is tiny, that is felt.
    orders = np.asarray(RDP_ORDERS)
    rdp = np.maximum(rdp, 0.0) * (1 + 1e-9) + steps * _RDP_ERROR / (orders - 1)
    with _expected_warnings():
        epsilon = [get_privacy_spent(orders=orders, rdp=rdp, delta=d)[0] for d in _CURVE_DELTAS]
    return np.maximum(np.array(epsilon, dtype=np.float64), 0.0), np.array(_CURVE_DELTAS)


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Silences what Opacus's accountants say on the way to a sound answer.

    ``prv`` takes log(1 - sample_rate), -inf at rate 1, and its densities under- and overflow far in
    the tails. ``rdp`` says that its best order is the largest or smallest; any order is a bound.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha")
        yield
