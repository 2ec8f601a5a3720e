"""The noise is never too small: exact privacy profiles, computed without Opacus, say so."""

import math
import warnings

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

from harness.defenses.dp.accounting import noise_multiplier
from harness.errors import UsageError


def gaussian_delta(epsilon, mu):
    """delta(epsilon) of mu-GDP (Dong, Roth, Su 2022, Corollary 2.13), 40 digits."""
    with mpmath.workdps(40):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
@pytest.mark.parametrize(
    ("epsilon", "delta", "steps"),
    [(0.3, 1e-5, 20), (0.3, 1e-8, 1), (1.0, 1e-6, 1), (3.0, 1e-5, 100), (10.0, 1e-3, 5)],
)
def test_full_batches_are_never_charged_less_than_gaussian_dp(accountant, epsilon, delta, steps):
    sigma = noise_multiplier(epsilon, delta, 1.0, steps, accountant)
    exact = gaussian_delta(epsilon, mpmath.sqrt(steps) / sigma)
    assert exact <= delta
    slack = 0.97 if accountant == "prv" else 0.85
    assert gaussian_delta(slack * epsilon, mpmath.sqrt(steps) / sigma) >= delta, "needlessly noisy"


def subsampled_delta(epsilon, rate, sigma, direction):
    """Hockey-stick divergence of one Poisson-subsampled Gaussian release, by integration."""
    t = np.linspace(-15 * sigma, 15 * sigma, 400_001)
    without, with_ = norm.pdf(t, 0, sigma), norm.pdf(t, 1, sigma)
    mixture = (1 - rate) * without + rate * with_
    p, q = (mixture, without) if direction == "remove" else (without, mixture)
    return np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), t)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_one_sampled_step_is_never_charged_less_than_it_spends(accountant):
    sigma = noise_multiplier(1.0, 1e-3, 0.3, 1, accountant)
    for direction in ("add", "remove"):
        assert subsampled_delta(1.0, 0.3, sigma, direction) <= 1e-3 + 1e-9
    assert subsampled_delta(1.0, 0.3, 0.5 * sigma, "remove") > 1e-3


def test_more_of_anything_takes_more_noise():
    base = noise_multiplier(1.0, 1e-5, 0.1, 10, "rdp")
    assert noise_multiplier(0.5, 1e-5, 0.1, 10, "rdp") > base
    assert noise_multiplier(1.0, 1e-6, 0.1, 10, "rdp") > base
    assert noise_multiplier(1.0, 1e-5, 0.2, 10, "rdp") > base
    assert noise_multiplier(1.0, 1e-5, 0.1, 40, "rdp") > base
    assert noise_multiplier(1.0, 1e-5, 0.1, 10, "prv") < base


def test_an_epsilon_out_of_reach_is_one_clear_line():
    with pytest.raises(UsageError, match=r"^dp: .*epsilon=0\.0001.*allowed") as error:
        noise_multiplier(1e-4, 1e-9, 1.0, 20, "rdp")
    assert "\n" not in str(error.value)


def test_numpy_and_warnings_are_left_as_they_were():
    before, filters = np.geterr(), list(warnings.filters)
    noise_multiplier(1.0, 1e-5, 1.0, 2, "rdp")
    assert np.geterr() == before
    assert warnings.filters == filters
