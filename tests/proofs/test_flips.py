"""Radii of random flips: linear programs over all outcomes, 50-digit sums, published values."""

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from harness.proofs import flips
from harness.proofs.flips import exact_radius, kl_radius

EPS = 1e-9


def exact(log_error: Any, q: float, n: int) -> int:
    return int(exact_radius(np.array([float(log_error)]), q, n)[0])


def kl(log_error: Any, q: float) -> int:
    return int(kl_radius(np.array([float(log_error)]), q)[0])


def attacked_mass(log_error: Any, q: float, flipped: int) -> Any:
    """The largest probability, with ``flipped`` bits changed, of an event of the given log-mass.

    Fills the event with the fewest agreements first, at mpmath's precision.
    """
    p, left = 1 - mpmath.mpf(q), mpmath.exp(mpmath.mpf(log_error))
    q = mpmath.mpf(q)
    clean, attacked, total = q**flipped, p**flipped, mpmath.mpf(0)
    for z in range(flipped + 1):
        if clean >= left:
            return total + attacked * left / clean
        left -= clean
        total += attacked
        choose = mpmath.mpf(flipped - z) / (z + 1)
        clean, attacked = clean * choose * p / q, attacked * choose * q / p
    return total


def worst_by_program(error: float, q: float, n: int, flipped: int) -> float:
    """The same, by a linear program over all 2^n outcomes and events that need not be symmetric."""
    outcomes = np.array(list(itertools.product([0, 1], repeat=n)))
    centre = np.arange(n) < flipped
    clean = np.prod(np.where(outcomes == 1, q, 1 - q), axis=1)
    attacked = np.prod(np.where((outcomes == 1) ^ centre, q, 1 - q), axis=1)
    solved = linprog(-attacked, A_ub=clean[None], b_ub=[error], bounds=(0, 1))
    assert solved.status == 0
    return float(-solved.fun)


@pytest.mark.parametrize("n", [1, 3, 6])
@pytest.mark.parametrize("q", [0.05, 0.2, 0.3, 0.45])
def test_radius_is_that_of_a_linear_program(n: int, q: float) -> None:
    for error in (0.4931, 0.4177, 0.2713, 0.1119, 0.0617, 0.0133, 0.0021, 0.0003, 1e-5):
        worst = [worst_by_program(error, q, n, f) for f in range(n + 1)]
        assert all(b >= a - EPS for a, b in itertools.pairwise(worst)), "more flips, more mass"
        assert all(abs(w - 0.5) > EPS for w in worst), "no ties in this grid"
        assert exact(np.log(error), q, n) == sum(w < 0.5 for w in worst) - 1


@pytest.mark.parametrize(
    ("q", "p", "published", "neyman_pearson"), [(0.4, 0.99, 19, 33), (0.475, 0.9, 102, 164)]
)
def test_check_values(q: float, p: float, published: int, neyman_pearson: int) -> None:
    assert kl(np.log1p(-p), q) == published
    assert exact(np.log1p(-p), q, 13_007) == neyman_pearson


LOG_ERRORS = [-0.6932, -0.7, -1.0, -2.302, -6.9, -23.0, -120.0, -800.0, -5000.0]


@pytest.mark.parametrize("q", [0.02, 0.2, 0.3, 0.4, 0.45, 0.49])
def test_radius_at_50_digits(q: float) -> None:
    for log_error in LOG_ERRORS:
        n = 12_000  # a sum at 50 digits still reaches it in a moment
        r = exact(log_error, q, n)
        with mpmath.workdps(50):
            assert attacked_mass(log_error, q, r) < 0.5
            assert r == n or attacked_mass(log_error, q, r + 1) >= 0.5


@given(st.floats(1e-3, 0.49), st.integers(1, 120), st.integers(-40, 40))
def test_errors_at_the_very_threshold_are_not_certified(q: float, flipped: int, ulps: int) -> None:
    """The error is put where the attacked mass is one half, give or take a few roundings."""
    with mpmath.workdps(50):
        p, exact_q = 1 - mpmath.mpf(q), mpmath.mpf(q)
        clean, attacked, mass, half = exact_q**flipped, p**flipped, mpmath.mpf(0), mpmath.mpf(0.5)
        for z in range(flipped + 1):
            if attacked >= half:
                mass += clean * half / attacked
                break
            mass, half = mass + clean, half - attacked
            choose = mpmath.mpf(flipped - z) / (z + 1)
            clean, attacked = clean * choose * p / exact_q, attacked * choose * exact_q / p
        log_error = float(mpmath.log(mass)) * (1 + ulps * 2.0**-52)
        still = attacked_mass(log_error, q, flipped) < 0.5
    r = exact(log_error, q, 1000)
    assert r >= flipped - 1 if log_error < np.log(0.5) * (1 + 1e-9) else r <= 0
    if not still:
        assert r < flipped


def kl_formula(log_error: float, q: float) -> Any:
    exact_q, error = mpmath.mpf(q), mpmath.exp(mpmath.mpf(log_error))
    below = 2 * (1 - 2 * exact_q) * mpmath.log(exact_q / (1 - exact_q))
    return mpmath.log(4 * error * (1 - error)) / below


@settings(max_examples=300)
@given(st.floats(1e-6, 0.5 - 1e-7), st.floats(-5000, -0.694))
def test_kl_radius_is_rounded_down(q: float, log_error: float) -> None:
    with mpmath.workdps(60):
        true = kl_formula(log_error, q)
        assert mpmath.floor(true * (1 - mpmath.mpf(10) ** -6)) <= kl(log_error, q) <= true


@given(st.sampled_from([0.25, 0.45, 0.499, 0.49999, 0.499999]), st.integers(1, 10**4))
def test_kl_radius_just_below_a_whole_number(q: float, whole: int) -> None:
    """The error at which the formula gives a whole number, moved until it falls short of it."""
    with mpmath.workdps(60):
        exact_q = mpmath.mpf(q)
        product = whole * 2 * (1 - 2 * exact_q) * mpmath.log(exact_q / (1 - exact_q))
        power = mpmath.exp(product)  # 4 error (1 - error)
        log_error = float(product - mpmath.log(2 * (1 + mpmath.sqrt(1 - power))))
        while kl_formula(log_error, q) >= whole:
            log_error = float(np.nextafter(log_error, 0))
    assert kl(log_error, q) < whole


@pytest.mark.parametrize("q", [0.05, 0.3, 0.45, 0.4999])
def test_exact_is_never_below_kl(q: float) -> None:
    n = 3000
    log_error = -np.geomspace(0.694, 5000, 60)
    published = np.minimum(kl_radius(log_error, q), n)
    neyman_pearson = exact_radius(log_error, q, n)
    assert (neyman_pearson >= published).all()
    assert (neyman_pearson > published).any() or q > 0.49
    assert (np.diff(neyman_pearson) >= 0).all() and (np.diff(published) >= 0).all()


@pytest.mark.parametrize("q", [1e-6, 0.3, 0.499])
def test_edges(q: float) -> None:
    half = np.log(0.5)
    assert (exact_radius(np.array([0.0, -0.1, half]), q, 50) == -1).all()
    assert (kl_radius(np.array([0.0, -0.1, half]), q) == -1).all()
    sure = np.array([-np.inf, -1e300, -1e9])
    np.testing.assert_array_equal(exact_radius(sure, q, 50), 50)
    assert (kl_radius(sure, q) > 10**6).all(), "more than fits into an int64 is cut, not turned"
    assert exact(half * 1.01, q, 1) in (0, 1)


def test_nothing_is_certified_from_nan() -> None:
    assert exact(np.nan, 0.3, 50) == -1
    assert kl(np.nan, 0.3) == -1


@given(st.lists(st.floats(-500, 0), min_size=1, max_size=4), st.integers(1, 3000))
def test_examples_do_not_depend_on_each_other(log_errors: list[float], n: int) -> None:
    together = exact_radius(np.array(log_errors), 0.3, n)
    assert together.dtype == np.int64 and ((together >= -1) & (together <= n)).all()
    assert together.tolist() == [exact(one, 0.3, n) for one in log_errors]


@pytest.mark.parametrize("q", [0.0, 0.5, 0.7, -0.1, float("nan")])
def test_a_flip_probability_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="flip probability"):
        exact_radius(np.array([-1.0]), q, 5)
    with pytest.raises(ValueError, match="flip probability"):
        kl_radius(np.array([-1.0]), q)


def worst_by_program_of_labels(error: float, q: float, c: int, n: int, flipped: int) -> float:
    """As :func:`worst_by_program` for c labels: all c^n outcomes, labels moved at will."""
    outcomes = np.array(list(itertools.product(range(c), repeat=n)))
    moved = np.where(np.arange(n) < flipped, np.arange(n) % (c - 1) + 1, 0)
    clean = np.prod(np.where(outcomes == 0, 1 - q, q / (c - 1)), axis=1)
    attacked = np.prod(np.where(outcomes == moved, 1 - q, q / (c - 1)), axis=1)
    solved = linprog(-attacked, A_ub=clean[None], b_ub=[error], bounds=(0, 1))
    assert solved.status == 0
    return float(-solved.fun)


@pytest.mark.parametrize(("c", "n"), [(3, 1), (3, 4), (4, 3), (6, 2)])
@pytest.mark.parametrize("q", [0.05, 0.2, 0.45, 0.6])
def test_radius_of_labels_is_that_of_a_linear_program(c: int, n: int, q: float) -> None:
    for error in (0.4931, 0.4177, 0.2713, 0.1119, 0.0617, 0.0133, 0.0021, 0.0003, 1e-5):
        worst = [worst_by_program_of_labels(error, q, c, n, f) for f in range(n + 1)]
        assert all(b >= a - EPS for a, b in itertools.pairwise(worst)), "more flips, more mass"
        assert all(abs(w - 0.5) > EPS for w in worst), "no ties in this grid"
        found = exact_radius(np.log([error]), q, n, c)
        assert found.tolist() == [sum(w < 0.5 for w in worst) - 1]


def steps(q: float, c: int, flipped: int) -> tuple[list[Any], list[Any]]:
    """P(D = F, F - 1, ..., -F) without and with the attack, D as in :func:`exact_radius`."""
    keep, other = 1 - mpmath.mpf(q), mpmath.mpf(q) / (c - 1)
    both = []
    for up, down in ((other, keep), (keep, other)):
        chance = [mpmath.mpf(1)]
        for _ in range(flipped):
            wide = [mpmath.mpf(0)] * 2 + chance + [mpmath.mpf(0)] * 2
            stay = 1 - keep - other
            chance = [
                up * wide[i + 2] + stay * wide[i + 1] + down * wide[i] for i in range(len(wide) - 2)
            ]
        both.append(chance)
    return both[0], both[1]


def attacked_mass_of_labels(log_error: Any, q: float, c: int, flipped: int) -> Any:
    left, total = mpmath.exp(mpmath.mpf(log_error)), mpmath.mpf(0)
    for clean, attacked in zip(*steps(q, c, flipped), strict=True):
        if clean >= left:
            return total + attacked * left / clean
        left, total = left - clean, total + attacked
    return total


@pytest.mark.parametrize(("c", "q"), [(3, 0.05), (3, 0.6), (10, 0.4), (10, 0.88), (100, 0.5)])
def test_radius_of_labels_at_50_digits(c: int, q: float) -> None:
    for log_error in (-0.6932, -0.7, -1.0, -2.302, -6.9, -23.0):
        n = 80
        r = int(exact_radius(np.array([log_error]), q, n, c)[0])
        with mpmath.workdps(50):
            assert attacked_mass_of_labels(log_error, q, c, r) < 0.5
            assert r == n or attacked_mass_of_labels(log_error, q, c, r + 1) >= 0.5


@settings(max_examples=60)
@given(st.integers(3, 12), st.floats(1e-3, 0.65), st.integers(1, 30), st.integers(-40, 40))
def test_errors_of_labels_at_the_very_threshold_are_not_certified(
    c: int, q: float, flipped: int, ulps: int
) -> None:
    with mpmath.workdps(50):
        mass, half = mpmath.mpf(0), mpmath.mpf(0.5)
        for clean, attacked in zip(*steps(q, c, flipped), strict=True):
            if attacked >= half:
                mass += clean * half / attacked
                break
            mass, half = mass + clean, half - attacked
        log_error = float(mpmath.log(mass)) * (1 + ulps * 2.0**-52)
        still = attacked_mass_of_labels(log_error, q, c, flipped) < 0.5
    r = int(exact_radius(np.array([log_error]), q, 60, c)[0])
    assert r >= flipped - 1 if log_error < np.log(0.5) * (1 + 1e-9) else r <= 0
    if not still:
        assert r < flipped


@pytest.mark.parametrize("q", [1e-6, 0.05, 0.3, 0.45, 0.4999])
def test_the_walk_agrees_with_the_closed_form_for_two_values(q: float) -> None:
    closed = flips._log_critical_errors(np.arange(801.0), q)
    walked = flips._walk_critical(-np.inf, q, 800, 2)
    np.testing.assert_allclose(walked, closed, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("c", "q"), [(3, 0.05), (3, 0.6), (10, 0.4), (10, 0.8), (1000, 0.9)])
def test_exact_radius_of_labels_is_never_below_kl(c: int, q: float) -> None:
    n = 2000
    log_error = -np.geomspace(0.694, 2000, 60)
    published = np.minimum(kl_radius(log_error, q, c), n)
    neyman_pearson = exact_radius(log_error, q, n, c)
    assert (neyman_pearson >= published).all() and (neyman_pearson > published).any()
    assert (np.diff(neyman_pearson) >= 0).all() and (np.diff(published) >= 0).all()
    assert (exact_radius(log_error, q, 5, c) == np.minimum(neyman_pearson, 5)).all()


@given(st.integers(2, 1000), st.floats(1e-6, 1), st.floats(-5000, -0.694))
def test_kl_radius_of_labels_is_rounded_down(c: int, share: float, log_error: float) -> None:
    q = share * (1 - 1 / c) * (1 - 1e-6)
    with mpmath.workdps(60):
        keep, other = 1 - mpmath.mpf(q), mpmath.mpf(q) / (c - 1)
        # The divergence of the noisy label before and after the attack, summed over its values.
        divergence = keep * mpmath.log(keep / other) + other * mpmath.log(other / keep)
        error = mpmath.exp(mpmath.mpf(log_error))
        true = -mpmath.log(4 * error * (1 - error)) / (2 * divergence)
        found = int(kl_radius(np.array([log_error]), q, c)[0])
        assert mpmath.floor(true * (1 - mpmath.mpf(10) ** -6)) <= found <= true


@pytest.mark.parametrize("q", [5e-324, 1e-300, 1e-12, 0.3, 2 / 3 - 1e-9, np.nextafter(2 / 3, 0)])
def test_edges_of_labels(q: float) -> None:
    half = np.log(0.5)
    unsure = np.array([0.0, -0.1, half, np.nan])
    assert (exact_radius(unsure, q, 50, 3) == -1).all()
    sure = np.array([-np.inf, -1e300, -1e9])
    np.testing.assert_array_equal(exact_radius(sure, q, 50, 3), 50)
    assert exact_radius(np.array([half * 1.01]), q, 1, 3)[0] in (0, 1)


@pytest.mark.parametrize(("q", "c"), [(0.0, 3), (0.67, 3), (0.9, 10), (float("nan"), 3), (0.3, 1)])
def test_noise_that_leaves_nothing_of_labels_is_refused(q: float, c: int) -> None:
    for radius in (lambda e: exact_radius(e, q, 5, c), lambda e: kl_radius(e, q, c)):
        with pytest.raises(ValueError, match=r"flip probability .* 1 - 1/|at least 2 values"):
            radius(np.array([-1.0]))
