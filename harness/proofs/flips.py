"""How many independently flipped values a vote survives: the radii behind randomised flips.

Each of many values (labels, or binary features and labels) is kept with probability 1 - q before
training, and else replaced by another of its c possible values, each with probability q / (c - 1).
If a label wins with probability 1 - error over the flips, how many values may an attacker change so
that it still wins? Errors are natural logarithms: they may be far below 1e-300.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammaln
from scipy.stats import binom

from harness.certificates import ABSTAIN

_LOG_HALF = float(np.log(0.5))
_MOST = 2.0**62
"""The largest radius that is ever given."""
_NOTHING = 1e-40
"""Probabilities below it are left out of sums that are near one half."""
_NORMAL = 1e-290
"""Probabilities below it are handled as logarithms."""
_LEVELS = 20
"""Of a continued fraction; 10 leave no error where it is used, 35 deviations from the mean."""
_STEPS = 20_000
"""The farthest that a walk goes."""


def kl_radius(log_error: NDArray[np.float64], q: float, c: int = 2) -> NDArray[np.int64]:
    """The radius of Rosenfeld et al. (2020), by a bound on the Kullback-Leibler divergence.

    ``log(4 p (1 - p)) / (2 (1 - 2 q) log(q / (1 - q)))`` with p = 1 - error, rounded down; -1 where
    the error is one half or more. The denominator is -2 times the divergence that one changed value
    causes: see :func:`_divergence`. ``log_error`` (e,): natural logarithms; 0 < q < 1 - 1/c.
    """
    _check(q, c)
    certain = log_error < _LOG_HALF
    safe = np.where(certain, log_error, -1.0)
    # 4 p (1 - p) is 1 - (1 - 2 error)^2, which is the better form where the error is near one half.
    # Rounded towards one half there: the logarithms are good to 1e-16 or so, not more.
    with np.errstate(under="ignore"):
        excess = np.maximum(-np.expm1(np.maximum(safe, -1.0) - _LOG_HALF + 1e-15), 0.0)
        near = np.log1p(-(excess**2))
        far = np.log(4.0) + safe + np.log1p(-np.exp(safe))
    numerator = np.where(safe > -1, near, far)
    with np.errstate(over="ignore"):
        radius = np.minimum(numerator, 0.0) / (-2 * _divergence(q, c))
    # Down by more than the rounding of a few operations, so that an integer is never gained.
    whole = np.floor(np.minimum(radius * (1 - 1e-12), _MOST))
    return np.where(certain, whole, ABSTAIN).astype(np.int64)


def _divergence(q: float, c: int) -> float:
    """The Kullback-Leibler divergence that one changed value causes: never too small.

    (1 - q - b) log((1 - q) / b) for values kept with probability 1 - q, each other one taken with
    b = q / (c - 1).
    """
    b = q / (c - 1)
    apart = 1 - q * c / (c - 1) + (4e-16 if c > 2 else 0.0)
    # log((1 - q) / b) without a difference of near numbers.
    log_ratio = np.log1p(apart / b) if b > _NORMAL else np.log(c - 1) - np.log(q)
    return float(apart * log_ratio)


def mean_rule_radius(log_error: NDArray[np.float64], q: float, c: int = 2) -> NDArray[np.int64]:
    """The largest number of changed values that cannot turn the label with the largest mean score.

    The other two are about the label that most random flips predict; what a run reports is
    the label with the largest mean score over them, which is nearly always the same. Our own bound:
    let S be the score of a rival less that of the winner, P the law of the noisy labels, and Q
    theirs after F changes that put the rival ahead, E_Q S >= 0. By Donsker and Varadhan, for every
    t > 0, log E_P exp(t S) >= t E_Q S - KL(Q, P) >= -F d, where d is the divergence that one
    changed value causes. So wherever Chernoff's bound, minimised over t, has a logarithm
    ``log_error`` (e,) below -F d, no F changes do that.
    """
    _check(q, c)
    # Down by more than all rounding, also that of the mean scores themselves.
    with np.errstate(over="ignore"):
        flips = np.nan_to_num(-log_error * (1 - 1e-6), nan=-1.0) / _divergence(q, c)
    most = np.maximum(np.ceil(np.minimum(flips, _MOST)) - 1, ABSTAIN)
    return np.asarray(most, dtype=np.int64)


def exact_radius(log_error: NDArray[np.float64], q: float, n: int, c: int = 2) -> NDArray[np.int64]:
    """The largest number F <= n of changed values that cannot turn the vote (Neyman-Pearson).

    A changed value multiplies the likelihood of what the noise makes of it by (1 - q) / b if that
    is the attacker's value, by the inverse if it is the original, and by 1 otherwise, where
    b = q / (c - 1). So everything rests on D, the number of the F noisy values that agree with the
    attacker's less the number that agree with the original ones. Among all events of probability
    ``error`` without the attack, the one that is most probable with it takes the largest D first; F
    is certified while that stays below one half. Equivalently, while the error is below the
    probability, without the attack, of the event {largest D first} that has one half with it.

    ``log_error`` (e,): natural logarithms; 0 < q < 1 - 1/c; -1 where the error is one half or more.
    With more than two values this is exact up to 20,000; a larger radius is that of
    :func:`kl_radius`, but at least 20,000.
    """
    _check(q, c)
    if c == 2:
        return _binary_radius(log_error, q, n)
    smallest = float(np.nanmin(log_error, initial=0.0))
    critical = _walk_critical(smallest, q, min(n, _STEPS), c)
    # The critical error falls with F: count the F = 0, 1, ... at which it is above the error.
    radius = np.searchsorted(-critical, -log_error, side="left").astype(np.int64) - 1
    beyond = np.minimum(kl_radius(log_error, q, c), n)
    radius = np.where(radius == _STEPS, np.maximum(radius, beyond), radius)
    return np.where(np.isnan(log_error), ABSTAIN, radius)


def _check(q: float, c: int) -> None:
    if c < 2:
        raise ValueError(f"a value that may be flipped has at least 2 values, found {c}")
    if not 0 < q < (c - 1) / c:
        limit = "1/2" if c == 2 else f"1 - 1/{c}"
        raise ValueError(f"the flip probability must be above 0 and below {limit}, found {q}")


def _walk_critical(smallest: float, q: float, n: int, c: int) -> NDArray[np.float64]:
    """For F = 0, 1, ... the log of the smallest error that is no longer certified; any c.

    Goes on until that is at most ``smallest``, or F = n. Rounded down, so that the comparison with
    it is safe.

    Every outcome with D = x is (b / (1 - q))^x times as probable without the attack as with it. The
    event of attacked probability one half lies around the median of the attacked D, where nothing
    is small; only that factor is, and its logarithm is known. The distribution of the attacked D is
    a walk: one up with probability 1 - q, one down with b, else it stays. F is the number of steps,
    and all that is added is positive, so its relative error grows by 6 roundings a step at most.
    """
    b = q / (c - 1)
    log_ratio = min(float(np.log(q) - np.log(c - 1) - np.log1p(-q)), 0.0)
    walk, highest, critical = np.ones(1), 0, [_LOG_HALF]  # walk[i]: the probability of highest - i
    powers = np.ones(1)
    while len(critical) <= n and critical[-1] > smallest:
        if powers.size < walk.size + 2:
            powers = np.exp(log_ratio * np.arange(2 * walk.size + 2))
        walk, highest = _step(walk, highest, 1 - q, b, (c - 2) * b)
        size = len(critical) + walk.size
        slack = 1e-12 + 2e-15 * size
        # Highest values first, up to one half or a hair less.
        mass = np.cumsum(walk)
        last = int(np.searchsorted(mass, 0.5 * (1 - 2 * slack)))
        above = mass[last - 1] if last else 0.0
        share = max(0.5 * (1 - 2 * slack) - above, 0.0)
        clean = share + float(walk[:last] @ powers[last:0:-1])
        log_clean = (highest - last) * log_ratio + float(np.log(clean))
        rounding = slack + 1e-15 * size * (2 + abs(float(np.log(q))))
        critical.append(min(log_clean - rounding, critical[-1]))
    return np.array(critical)


def _step(
    walk: NDArray[np.float64], highest: int, up: float, down: float, stay: float
) -> tuple[NDArray[np.float64], int]:
    """The walk's distribution one step later, without ends that have practically no probability."""
    after = np.zeros(walk.size + 2)
    after[:-2] = up * walk
    after[1:-1] += stay * walk
    after[2:] += down * walk
    first, last = 0, after.size
    while after[first] < _NOTHING:
        first += 1
    while after[last - 1] < _NOTHING:
        last -= 1
    return after[first:last], highest + 1 - first


def _binary_radius(log_error: NDArray[np.float64], q: float, n: int) -> NDArray[np.int64]:
    """As :func:`exact_radius` for c = 2, where D is 2 Bin(F, q) - F and no walk is needed.

    The critical error falls with F. Bisects for how many of F = 0 ... n are certified, bit by bit:
    the same F are asked about whatever the error, so a smaller one never has a smaller radius, and
    every answer given is the answer to a question that was asked.
    """
    distinct, where = np.unique(log_error, return_inverse=True)
    count = np.zeros(distinct.shape, np.int64)
    for bit in reversed(range(int(n + 1).bit_length())):
        flips = count + (1 << bit) - 1
        asked, of = np.unique(np.minimum(flips, n), return_inverse=True)
        critical = _log_critical_errors(asked.astype(np.float64), q)[of]
        count += np.where((flips <= n) & (distinct < critical), 1 << bit, 0)
    return (count - 1)[where].reshape(log_error.shape)


def _log_critical_errors(f: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """For each of the ``f`` (m,), the log of the smallest error that is no longer certified; c = 2.

    With Z the number of noisy bits that agree with the original ones, Bin(F, 1 - q) without the
    attack and Bin(F, q) with it, and t the median of the latter, the event of attacked probability
    one half is {Z < t} and a share of {Z = t}. Rounded down, so that the comparison with it is
    safe.
    """
    t, below = _median(f, q)
    # SciPy's distribution function is good to a tenth of this near the median.
    below += 1e-15 * (1 + np.sqrt(f))
    with np.errstate(divide="ignore", under="ignore"):
        attacked = np.exp(_log_pmf(t, f, q))
        share = np.clip((0.5 - below) / attacked, 0.0, 1.0) * (1 - 1e-9)
        # Z is t where f - t of the bits were flipped.
        at = _log_pmf(f - t, f, q) + np.log(share)
    # gammaln is good to a few units in the last place of numbers as large as log(F!).
    error = 1e-12 + 1e-14 * gammaln(f + 1)
    critical = np.logaddexp(_log_lower_tail(t, f, q), at) - error
    return np.asarray(np.minimum(critical, _LOG_HALF))


def _median(f: NDArray[np.float64], q: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest t with P(Bin(F, q) <= t) >= 1/2, and P(Bin(F, q) < t).

    The median is the mean rounded down or up.
    """
    low = np.floor(f * q)
    at_most = binom.cdf(low, f, q)
    t = np.where(at_most >= 0.5, low, np.minimum(low + 1, f))
    return t, np.where(t > low, at_most, binom.cdf(t - 1, f, q))


def _log_pmf(z: NDArray[np.float64], f: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    choose = gammaln(f + 1) - gammaln(z + 1) - gammaln(f - z + 1)
    return np.asarray(choose + z * np.log(p) + (f - z) * np.log1p(-p))


def _log_lower_tail(
    t: NDArray[np.float64], f: NDArray[np.float64], q: float
) -> NDArray[np.float64]:
    """log P(Bin(F, 1 - q) < t) for t near the median of Bin(F, q), -inf where t = 0.

    At least a = F - t + 1 of the bits were flipped: an incomplete beta function of a and t. Far
    out in the tail, where it is too small for a number, its continued fraction (NIST, Digital
    Library of Mathematical Functions, 8.17.22) needs only its first levels.
    """
    a, b = f - t + 1, t
    tail = np.where(b > 0, betainc(a, np.maximum(b, 1.0), q), 0.0)
    with np.errstate(divide="ignore"):
        log_tail = np.log(tail)
    far = (tail < _NORMAL) & (b > 0)
    a, b, f = a[far], b[far], f[far]
    fraction = np.ones_like(a)
    for i in range(_LEVELS, 0, -1):
        m = i // 2
        factor = -(a + m) * (a + b + m) if i % 2 else m * (b - m)
        fraction = 1 + factor / (a + i - 1) / (a + i) * q / fraction
    log_tail[far] = _log_pmf(a, f, q) + np.log1p(-q) - np.log(fraction)
    return log_tail
