"""How many independently flipped bits a vote survives: the radii behind randomised flips.

Each of many bits (labels, or binary features and labels) is flipped with probability q < 1/2 before
training. If a label wins with probability 1 - error over the flips, how many bits may an attacker
change so that it still wins? Errors are natural logarithms: they may be far below 1e-300.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

from harness.certificates import ABSTAIN

_LOG_HALF = float(np.log(0.5))
_MOST = 2.0**62
"""The largest radius that is ever given."""


def kl_radius(log_error: NDArray[np.float64], q: float) -> NDArray[np.int64]:
    """The radius of Rosenfeld et al. (2020), by a bound on the Kullback-Leibler divergence.

    ``log(4 p (1 - p)) / (2 (1 - 2 q) log(q / (1 - q)))`` with p = 1 - error, rounded down; -1 where
    the error is one half or more. ``log_error`` (e,): natural logarithms; 0 < q < 1/2.
    """
    _check(q)
    certain = log_error < _LOG_HALF
    safe = np.where(certain, log_error, -1.0)
    # 4 p (1 - p) is 1 - (1 - 2 error)^2, which is the better form where the error is near one half.
    # Rounded towards one half there: the logarithms are good to 1e-16 or so, not more.
    with np.errstate(under="ignore"):
        excess = np.maximum(-np.expm1(np.maximum(safe, -1.0) - _LOG_HALF + 1e-15), 0.0)
        near = np.log1p(-(excess**2))
        far = np.log(4.0) + safe + np.log1p(-np.exp(safe))
    numerator = np.where(safe > -1, near, far)
    # log(q / (1 - q)) is -2 atanh(1 - 2 q), without a difference of near numbers.
    radius = np.minimum(numerator, 0.0) / (-4 * (1 - 2 * q) * np.arctanh(1 - 2 * q))
    # Down by more than the rounding of a few operations, so that an integer is never gained.
    whole = np.floor(np.minimum(radius * (1 - 1e-12), _MOST))
    return np.where(certain, whole, ABSTAIN).astype(np.int64)


def exact_radius(log_error: NDArray[np.float64], q: float, n: int) -> NDArray[np.int64]:
    """The largest number F <= n of changed bits that cannot turn the vote (Neyman-Pearson).

    Let Z be how many of the F noisy bits agree with the original ones: Bin(F, 1 - q) without the
    attack, Bin(F, q) with it. Among all events of probability ``error`` without the attack, the one
    that is most probable with it takes the smallest Z first; F is certified while that stays below
    one half. Equivalently, while the error is below the probability, without the attack, of the
    event {smallest Z first} that has one half with it (:func:`_log_critical_errors`).

    ``log_error`` (e,): natural logarithms; 0 < q < 1/2; -1 where the error is one half or more.
    """
    _check(q)
    smallest = float(np.nanmin(log_error, initial=0.0))
    size = 64
    critical = _log_critical_errors(min(size, n), q)
    while size < n and smallest < critical[-1]:
        size *= 4
        critical = _log_critical_errors(min(size, n), q)
    # The critical error falls with F: count the F = 0, 1, ... at which it is above the error.
    radius = np.searchsorted(-critical, -log_error, side="left").astype(np.int64) - 1
    return np.where(np.isnan(log_error), ABSTAIN, radius)


def _check(q: float) -> None:
    if not 0 < q < 0.5:
        raise ValueError(f"the flip probability must be above 0 and below 1/2, found {q}")


def _log_critical_errors(largest: int, q: float) -> NDArray[np.float64]:
    """For F = 0 ... ``largest``, the log of the smallest error that is no longer certified.

    With t the median of Bin(F, q), the event of attacked probability one half is {Z < t} and a
    share of {Z = t}. Rounded down, so that the comparison with it is safe.
    """
    f = np.arange(largest + 1, dtype=np.float64)
    t = _median(f, q)
    below = binom.cdf(t - 1, f, q)
    attacked = np.exp(_log_pmf(t, f, q))
    share = np.clip((0.5 - below) / attacked, 0.0, 1.0) * (1 - 1e-9)
    clean = 1 - q
    with np.errstate(divide="ignore"):
        at = _log_pmf(t, f, clean) + np.log(share)
    # gammaln is good to a few units in the last place of numbers as large as log(F!).
    error = 1e-12 + 1e-14 * gammaln(f + 1)
    critical = np.logaddexp(_log_lower_tail(t, f, clean), at) - error
    return np.minimum.accumulate(np.minimum(critical, _LOG_HALF))


def _median(f: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """The smallest t with P(Bin(F, q) <= t) >= 1/2: the mean rounded down or up."""
    low = np.floor(f * q)
    return np.where(binom.cdf(low, f, q) >= 0.5, low, np.minimum(low + 1, f))


def _log_pmf(z: NDArray[np.float64], f: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    choose = gammaln(f + 1) - gammaln(z + 1) - gammaln(f - z + 1)
    return np.asarray(choose + z * np.log(p) + (f - z) * np.log1p(-p))


def _log_lower_tail(t: NDArray[np.float64], f: NDArray[np.float64], p: float) -> Any:
    """log P(Bin(F, p) < t) for t below the mean, -inf where t = 0; never above the true value.

    The terms fall geometrically from z = t - 1 down; the sum stops when they no longer count, which
    only makes it smaller.
    """
    log_odds = np.log1p(-p) - np.log(p)
    z = t - 1
    with np.errstate(invalid="ignore"):
        first = np.where(z >= 0, _log_pmf(np.maximum(z, 0), f, p), -np.inf)
    total = np.where(z >= 0, 1.0, 0.0)
    term = total.copy()
    while True:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(z > 0, np.exp(log_odds) * z / (f - z + 1), 0.0)
        term = term * ratio
        if not (term > 1e-17 * total).any():
            break
        total += term
        z = z - 1
    with np.errstate(divide="ignore"):
        return first + np.log(total)
