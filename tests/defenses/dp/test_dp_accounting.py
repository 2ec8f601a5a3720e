"""The noise is never too small: exact privacy profiles, computed without Opacus, say so."""

import math
import warnings

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

from harness.defenses.dp.accounting import noise_multiplier, privacy_curve
from harness.errors import UsageError


def gaussian_delta(epsilon, mu):
    """delta(epsilon) of mu-GDP (Dong, Roth, Su 2022, Corollary 2.13), 40 digits."""
    with mpmath.workdps(40):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
@pytest.mark.parametrize(
    ("epsilon", "delta", "steps"),
    [
        (0.3, 1e-5, 20),
        (0.05, 1e-5, 20),
        (0.3, 1e-8, 1),
        (1.0, 1e-6, 1),
        (3.0, 1e-5, 100),
        (10.0, 1e-3, 5),
    ],
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


@pytest.mark.parametrize("epsilon", [0.015, 0.01])
def test_tiny_epsilons_are_never_charged_less_either(epsilon):
    """PRV's own error, 1e-3 at least, is then a good part of epsilon; it is on the safe side."""
    sigma = noise_multiplier(epsilon, 1e-5, 1.0, 20, "prv")
    assert gaussian_delta(epsilon, mpmath.sqrt(20) / sigma) <= 1e-5
    assert gaussian_delta(0.8 * epsilon, mpmath.sqrt(20) / sigma) >= 1e-5, "needlessly noisy"


@pytest.mark.parametrize(("rate", "sigma"), [(0.3, 2.0), (0.05, 1.0), (0.5, 30.0)])
def test_every_pair_of_the_curve_holds_for_one_sampled_step(rate, sigma):
    epsilon, delta = privacy_curve(sigma, rate, 1)
    assert epsilon.shape == delta.shape
    assert (epsilon >= 0).all()
    assert (np.diff(epsilon) <= 0).all()
    some = slice(None, None, 10)
    for direction in ("add", "remove"):
        for e, d in zip(epsilon[some], delta[some], strict=True):
            assert subsampled_delta(e, rate, sigma, direction) <= d + 1e-9
    # and not by much: the pair of delta = 1e-5 or so at a quarter of its noise
    close = np.searchsorted(delta, 1e-5)
    assert subsampled_delta(epsilon[close], rate, sigma / 4, "remove") > 1e-5


@pytest.mark.parametrize(("sigma", "steps"), [(50.0, 20), (5.0, 100), (1000.0, 5)])
def test_every_pair_of_the_curve_holds_for_many_full_steps(sigma, steps):
    mu = mpmath.sqrt(steps) / sigma
    for e, d in zip(*privacy_curve(sigma, 1.0, steps), strict=True):
        assert gaussian_delta(e, mu) <= d


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
