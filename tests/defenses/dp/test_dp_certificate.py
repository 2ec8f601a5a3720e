"""Theorem 3 of Ma et al. against high precision, and against mechanisms that are solved exactly."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import mpf
from scipy.stats import norm

from harness.defenses.dp.certificate import accuracy_bound, bound_for

BOUNDS = ("accuracy", "error", "max")


def as_printed(accuracy, units, epsilon, delta):
    """Both bounds to 60 digits and more, as CERTIFICATES and the paper write them."""
    with mpmath.workdps(60):
        a, k, e, d = (mpf(v) for v in (accuracy, units, epsilon, delta))
        b = d / mpmath.expm1(e)
        first = mpmath.exp(-k * e) * (a + b) - b
        second = 1 - mpmath.exp(k * e) * (1 - a + b) + b
    zero = mpf(0)
    lower = {"accuracy": max(first, zero), "error": max(second, zero)}
    return lower | {"max": max(lower.values())}


accuracies = st.floats(0, 1) | st.sampled_from([0.0, 1e-300, 0.5, 1 - 2**-53, 1.0])
epsilons = st.floats(np.log(1e-6), np.log(50)).map(lambda t: float(np.exp(t)))
deltas = st.floats(-300, -0.01).map(lambda t: float(10.0**t))
numbers = st.integers(0, 30) | st.integers(0, 10**9)


@settings(deadline=None, max_examples=400)
@given(accuracies, numbers, epsilons, deltas)
@example(1.0, 10**9, 50.0, 1e-300)
@example(1.0, 1, 50.0, 0.5)
@example(0.99, 10**9, 1e-6, 1e-12)
@example(1.0, 700, 1.0, 1e-300)
@example(0.9, 2, 1e-6, 1e-5)
def test_never_above_and_hardly_below_the_exact_value(accuracy, units, epsilon, delta):
    exact = as_printed(accuracy, units, epsilon, delta)
    for bound in BOUNDS:
        value = accuracy_bound(accuracy, units, epsilon, delta, bound)
        assert 0 <= value <= exact[bound] + (mpf(10) ** -50 if units == 0 else 0)
        assert value >= exact[bound] - mpf(10) ** -10


@settings(deadline=None, max_examples=200)
@given(accuracies, numbers, epsilons, deltas)
def test_it_falls_with_r_and_rises_with_accuracy(accuracy, units, epsilon, delta):
    for bound in BOUNDS:
        value = accuracy_bound(accuracy, units, epsilon, delta, bound)
        assert accuracy_bound(accuracy, units + 1, epsilon, delta, bound) <= value
        assert accuracy_bound(accuracy / 2, units, epsilon, delta, bound) <= value


def gaussian_delta(epsilon, mu):
    with mpmath.workdps(40):
        e, m = mpf(epsilon), mpf(mu)
        return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


@pytest.mark.parametrize("mu", [0.08, 0.5, 2.0])
def test_sound_for_a_learner_that_thresholds_a_noisy_count(mu):
    """The model is right where count + noise > threshold; r removals move the count by r."""
    for epsilon in (mu / 4, mu, 3 * mu):
        delta = float(gaussian_delta(epsilon, mu)) * (1 + 1e-12)
        for margin in np.linspace(-3, 9, 60):
            accuracy = norm.cdf(margin)
            for r in range(1, 12):
                truth = norm.cdf(margin - r * mu)
                for bound in BOUNDS:
                    assert accuracy_bound(accuracy, r, epsilon, delta, bound) <= truth + 1e-15


@pytest.mark.parametrize("mu", [0.08, 0.5, 2.0])
def test_tight_at_one_removal_where_the_likelihood_ratio_is_e_to_epsilon(mu):
    """There the mechanism spends all of (epsilon, delta), so the theorem leaves no room."""
    for epsilon in (mu / 2, mu, 2 * mu):
        delta = float(gaussian_delta(epsilon, mu))
        margin = mu / 2 - epsilon / mu
        truth = norm.cdf(margin - mu)
        found = accuracy_bound(norm.cdf(margin), 1, epsilon, delta, "accuracy")
        assert found == pytest.approx(truth, abs=1e-9)
        error_margin = mu / 2 + epsilon / mu  # the mirror image: P' spends it against P
        found = accuracy_bound(norm.cdf(error_margin), 1, epsilon, delta, "error")
        assert found == pytest.approx(norm.cdf(error_margin - mu), abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_sound_for_the_worst_chain_of_data_sets(epsilon, delta):
    """Each data set may lose against the one before all that (epsilon, delta) allows, not more."""
    with mpmath.workdps(40):
        e, d = mpmath.exp(mpf(epsilon)), mpf(delta)
        for accuracy in (0.3, 0.7, 0.99, 1.0):
            worst = mpf(accuracy)
            for r in range(1, 200):
                worst = max(mpf(0), (worst - d) / e, 1 - e * (1 - worst) - d)
                for bound in BOUNDS:
                    assert accuracy_bound(accuracy, r, epsilon, delta, bound) <= worst
                if r == 1:
                    assert accuracy_bound(accuracy, 1, epsilon, delta) > worst - mpf(10) ** -10


def test_each_bound_wins_somewhere():
    near = [accuracy_bound(0.99, 1, 0.3, 1e-5, bound) for bound in BOUNDS]
    far = [accuracy_bound(0.99, 17, 0.3, 1e-5, bound) for bound in BOUNDS]
    assert near[1] == near[2] > near[0]
    assert far[0] == far[2] > far[1]


def test_published_setting():
    """epsilon 0.3, delta 1e-5, as the comparison plots it: written out in plain arithmetic."""
    b = 1e-5 / (np.exp(0.3) - 1)
    for r in (1, 5, 10, 20):
        assert accuracy_bound(0.98, r, 0.3, 1e-5, "accuracy") == pytest.approx(
            np.exp(-0.3 * r) * (0.98 + b) - b
        )
    assert accuracy_bound(0.98, 40, 0.3, 1e-5) == 0


def test_cost_multiplies_r():
    p = np.full(10, 0.95)
    one, two = (bound_for(cost, 0.3, 1e-5, "max") for cost in (1, 2))
    assert two(p, 3) == one(p, 6)
    assert one(p, 0) == two(p, 0) == pytest.approx(0.95)


@pytest.mark.parametrize(
    "wrong", [(0.5, 1, 0.0, 0.1), (0.5, 1, 1.0, 0.0), (1.5, 1, 1.0, 0.1), (0.5, -1, 1.0, 0.1)]
)
def test_values_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted"):
        accuracy_bound(*wrong)
