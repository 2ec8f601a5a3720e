"""Trade-offs against high precision, and against mechanisms that are solved exactly."""

from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import mpf
from scipy.special import ndtri
from scipy.stats import binom, norm

from harness.defenses.dp.certificate import accuracy_bound
from harness.defenses.dp.tradeoff import Accounted, Gaussian
from harness.proofs.confidence import simuem


@cache
def quantile(p):
    """Phi^-1(p) to 50 digits, for the float p as it is; Newton's method on log Phi."""
    if p > 0.5:
        return -quantile_of(1 - mpf(p))
    return quantile_of(mpf(p))


def quantile_of(p):
    with mpmath.workdps(60):
        start = mpf(float(ndtri(float(p))))
        return mpmath.findroot(lambda z: mpmath.log(mpmath.ncdf(z)) - mpmath.log(p), start)


def withstood_exactly(p_lower, p_upper, mu, most):
    """The definition, to 50 digits: the largest u with Phi^-1(p_l) - u mu > Phi^-1(p_s) + u mu."""
    if p_lower <= p_upper:
        return -1
    if p_lower == 1 or p_upper == 0:
        return most
    with mpmath.workdps(50):
        limit = (quantile(p_lower) - quantile(p_upper)) / (2 * mpf(mu))
        return min(int(mpmath.ceil(limit)) - 1, most)


@pytest.mark.parametrize(("n_models", "mu"), [(1000, 0.0873), (1000, 0.0037), (10_000, 0.0011)])
def test_radii_agree_with_fifty_digits_on_vote_counts(n_models, mu):
    most = np.linspace(n_models // 2, n_models, 120).astype(int)
    votes = np.stack([most, n_models - most], axis=1)
    third = np.stack([most, (n_models - most) // 3, n_models - most - (n_models - most) // 3], 1)
    for counts in (votes, third):
        bounds = simuem(counts, 0.001)
        found = Gaussian(mu).withstood(bounds.p_lower, bounds.p_upper, 10**9)
        wanted = [
            withstood_exactly(float(a), float(b), mu, 10**9)
            for a, b in zip(bounds.p_lower, bounds.p_upper, strict=True)
        ]
        assert found.tolist() == wanted


@pytest.mark.parametrize("level", [0.3, 0.45, 0.02, 1e-9])
def test_where_two_labels_are_nearly_as_probable_rounding_gains_nothing(level):
    """Their quantiles nearly cancel, and so small a mu shows every digit that is lost."""
    apart = np.random.default_rng(0).uniform(1e-12, 1e-9, 60)
    p, q = level * (1 + apart), np.full(60, level)
    found = Gaussian(1e-17).withstood(p, q, 10**9)
    for i in range(60):
        assert 0 <= found[i] <= withstood_exactly(float(p[i]), level, 1e-17, 10**9)


tiny = st.floats(-300, -1).map(lambda t: float(10.0**t))
probabilities = st.floats(0, 1) | tiny | tiny.map(lambda p: 1 - p) | st.sampled_from([0.0, 0.5, 1])
mus = st.floats(-9, 1).map(lambda t: float(10.0**t))


@settings(max_examples=200)
@given(probabilities, probabilities, mus, st.sampled_from([0, 13_007, 10**9]))
@example(1.0, 0.0, 0.1, 10**9)
@example(1.0, 1.0, 0.1, 10**9)
@example(1 - 2**-53, 1e-300, 1e-9, 10**9)
@example(1e-300, 1e-301, 1e-3, 10**9)
@example(0.5000000001, 0.4999999999, 1e-9, 10**9)
def test_gaussian_radii_are_never_above_and_hardly_below(p_lower, p_upper, mu, most):
    found = int(Gaussian(mu).withstood(np.array([p_lower]), np.array([p_upper]), most)[0])
    exact = withstood_exactly(p_lower, p_upper, mu, most)
    assert found <= exact
    assert found >= exact - 1 - 1e-11 * exact - 1e-6 / mu


@settings(max_examples=200)
@given(probabilities, mus, st.integers(0, 10**6))
def test_gaussian_bounds_are_never_above_and_hardly_below(p, mu, units):
    found = float(Gaussian(mu).lower(np.array([p]), units)[0])
    assert 0 <= found <= p
    if units == 0 or p in (0, 1):
        assert found in ((p,) if units == 0 or p == 0 else (1, 1 - 1e-13))
        return
    with mpmath.workdps(50):
        z = quantile(p) - units * mpf(mu)
        exact = mpmath.ncdf(z)
    assert found <= exact
    assert found >= exact * (1 - 1e-9 * (1 + abs(z)) ** 2) - mpf(10) ** -307


def test_tight_for_a_threshold_on_a_noisy_sum():
    """The model predicts 0 where sum + noise is below a threshold, r examples move it by r."""
    for sigma in (10.0, 40.0, 500.0):
        for margin in (0.3, 1.7, 12.5, 77.1):
            p = norm.cdf(margin / sigma)
            found = int(Gaussian(1 / sigma).withstood(np.array([p]), np.array([1 - p]), 10**6)[0])
            assert norm.cdf((margin - found) / sigma) > 0.5
            assert norm.cdf((margin - found - 1) / sigma) < 0.5


def test_tight_for_three_labels_by_two_thresholds():
    sigma = 50.0
    for low, high in ((-10.3, 5.1), (20.9, 90.2), (60.4, 60.4)):
        p, q = norm.cdf(low / sigma), norm.sf(high / sigma)
        if p <= q:
            continue
        found = int(Gaussian(1 / sigma).withstood(np.array([p]), np.array([q]), 10**6)[0])
        for units, ahead in ((found, True), (found + 1, False)):
            moved = norm.cdf((low - units) / sigma) > norm.sf((high - units) / sigma)
            assert moved == ahead


def step_law(gradients, rate, sigma, edges):
    """The exact mass of each cell of the line for one noisy sum, over all Poisson samples."""
    sums, weights = np.zeros(1), np.ones(1)
    for gradient in gradients:
        sums = np.r_[sums, sums + gradient]
        weights = np.r_[weights * (1 - rate), weights * rate]
    cdf = norm.cdf((edges[:, None] - sums) / sigma) @ weights
    return np.diff(np.r_[0, cdf, 1])


def two_steps(gradients, rate, sigma, edges):
    """The same for two steps; in the second all gradients turn if the first sum was below 0."""
    first = step_law(gradients, rate, sigma, edges)
    second = [step_law(sign * gradients, rate, sigma, edges) for sign in (-1, 1)]
    return np.concatenate(
        [
            np.outer(first[:-1][edges < 0], second[0]).ravel(),
            np.outer(np.r_[first[:-1][edges >= 0], first[-1]], second[1]).ravel(),
        ]
    )


def worst_events(before, after, p):
    """What the worst event of probability p before has afterwards (Neyman and Pearson)."""
    kept = (before > 0) | (after > 0)
    before, after = before[kept], after[kept]
    order = np.argsort(after / np.maximum(before, 1e-300))
    return np.interp(p, np.r_[0, before[order].cumsum()], np.r_[0, after[order].cumsum()])


CLEAN = np.array([0.8, -0.4, 1.0, -1.0])
POISONINGS = {  # an example's gradient before and after, and what it costs
    "insert": (None, 1.0, 1),
    "delete": (1.0, None, 1),
    "flip": (0.7, -0.3, 1),
    "modify": (1.0, -1.0, 2),
}


def poisoned_pair(name, r):
    old, new, _ = POISONINGS[name]
    return [np.r_[CLEAN, [] if each is None else [each] * r] for each in (old, new)]


@pytest.mark.parametrize("name", POISONINGS)
@pytest.mark.parametrize("rate", [1.0, 0.9, 0.5, 0.1])
def test_poisson_sampling_keeps_the_gaussian_bound(name, rate):
    """Every sample of few examples is summed up: the bound never exceeds the true trade-off."""
    p, edges = np.linspace(0.001, 0.999, 60), np.linspace(-12, 12, 4801)
    for sigma in (0.8, 3.0):
        tradeoff = Gaussian(1 / sigma)
        for r in (1, 2, 3):
            before, after = (step_law(g, rate, sigma, edges) for g in poisoned_pair(name, r))
            worst, units = worst_events(before, after, p), r * POISONINGS[name][2]
            assert (tradeoff.lower(p, units) <= worst + 1e-12).all()
            if rate == 1:
                assert tradeoff.lower(p, units) == pytest.approx(worst, abs=2e-3)
                assert (tradeoff.lower(p, 0.9 * units) > worst)[1:].all(), "the check has teeth"


@pytest.mark.parametrize("name", POISONINGS)
def test_two_adaptive_sampled_steps_keep_the_gaussian_bound(name):
    p, edges, sigma = np.linspace(0.01, 0.99, 30), np.linspace(-14, 14, 281), 2.0
    tradeoff = Gaussian(2**0.5 / sigma)
    for rate in (1.0, 0.9, 0.3):
        for r in (1, 2):
            before, after = (two_steps(g, rate, sigma, edges) for g in poisoned_pair(name, r))
            worst, units = worst_events(before, after, p), r * POISONINGS[name][2]
            assert (tradeoff.lower(p, units) <= worst + 1e-12).all()
            if rate == 1:
                assert tradeoff.lower(p, units) == pytest.approx(worst, abs=0.01)


def gaussian_pairs(mu, size=400):
    epsilon = mu * np.linspace(1e-3, 9, size)
    delta = norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    return epsilon, np.maximum(delta, 1e-16)


TRADEOFFS = {
    "gaussian": Gaussian,
    "accounted": lambda mu: Accounted(*gaussian_pairs(mu), 1.0),
}


@pytest.mark.parametrize("kind", TRADEOFFS)
@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_sound_for_any_reading_of_a_noisy_sum(kind, n_labels):
    """Models: tables from a cell of the line to a label. The sum moves by r mu either way."""
    rng = np.random.default_rng(n_labels)
    mu, edges = 0.07, np.linspace(-4, 4, 41)
    tradeoff, certified = TRADEOFFS[kind](mu), 0

    def label_probabilities(table, shift):
        mass = np.diff(np.r_[0, norm.cdf(edges - shift), 1])
        return np.bincount(table, mass, minlength=n_labels)

    for _ in range(60):
        table = np.where(
            rng.random(42) < rng.uniform(0, 0.6),
            rng.integers(n_labels, size=42),
            np.minimum(np.arange(42) * n_labels // 42, n_labels - 1)[:: rng.choice([-1, 1])],
        )
        p = label_probabilities(table, 0.0)
        winner, order = p.argmax(), np.sort(p)
        found = int(tradeoff.withstood(order[-1:], order[-2:-1], 10**4)[0])
        for units in range(found + 1):
            for way in (-1, 1):
                moved = label_probabilities(table, way * units * mu)
                rivals = np.delete(moved, winner)
                assert moved[winner] > rivals.max()
                kept = tradeoff.lower(p, units)
                assert (kept <= moved + 1e-12).all()
        certified += found
    assert certified > 30


@pytest.mark.parametrize("epsilon", [0.02, 0.3, 1.1])
def test_groups_against_randomised_response_solved_exactly(epsilon):
    """Each example's bit is flipped with probability 1 / (1 + e^epsilon); r of the bits change.

    The worst event for r changed bits collects outcomes by how many of the r agree with before.
    """
    keep = 1 / (1 + np.exp(-epsilon))
    tradeoff = Accounted(np.array([epsilon]), np.array([0.0]), 1.0)
    for r in (1, 2, 3, 8):
        agree = np.arange(r + 1)
        before, after = binom.pmf(agree, r, keep), binom.pmf(agree, r, 1 - keep)
        order = np.argsort(after / before)  # least probable afterwards first
        mass, kept = np.cumsum(before[order]), np.cumsum(after[order])
        for p in np.linspace(0.01, 0.999, 60):
            worst = np.interp(p, np.r_[0, mass], np.r_[0, kept])
            found = float(tradeoff.lower(np.array([p]), r)[0])
            assert found <= worst + 1e-12
            if r == 1:  # late by a 64th of a unit
                assert found >= worst - epsilon / 64


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.3, 1e-5), (0.01, 1e-4), (0.05, 0.0), (0.0, 0.01)]
)
def test_a_ladder_is_the_chain_of_its_steps_at_most_one_rung_late(epsilon, delta):
    tradeoff = Accounted(np.array([epsilon]), np.array([delta]), 0.99)
    for p in (0.99, 0.985, 0.7, 0.2):
        exact = mpf(p)
        for units in range(1, 120):
            before = exact
            e = mpmath.exp(mpf(epsilon))
            exact = max((exact - delta) / e, 1 - e * (1 - exact) - delta, mpf(0))
            found = float(tradeoff.lower(np.array([p]), units)[0])
            assert found <= exact
            fall = float(before - exact)
            assert found >= exact - max(fall * np.exp(2 * epsilon) / 30, 2e-9)
            if epsilon and delta:
                bound = accuracy_bound(p, units + 1, epsilon, delta)
                assert found >= bound - 2e-9


@pytest.mark.parametrize("mu", [0.01, 0.1, 0.7])
def test_the_whole_gaussian_curve_gives_nearly_the_gaussian_group(mu):
    exact, accounted = Gaussian(mu), Accounted(*gaussian_pairs(mu), 1 - 1e-4)
    p = np.array([0.999, 0.99, 0.9, 0.6, 0.5, 0.1])
    for units in (1, 2, 5, 30, 100):
        kept = accounted.lower(p, units)
        assert (kept <= exact.lower(p, units) + 1e-12).all()
        assert (kept >= exact.lower(p, units + 1) * (1 - 1e-3) - 2e-9).all()
    q = np.array([1e-4, 1e-3, 0.05, 0.3, 0.3, 0.2])
    one, other = (t.withstood(p, q, 10**6) for t in (exact, accounted))
    assert (other <= one).all()
    assert (other >= 0.98 * one - 1).all()
    assert one[-1] == other[-1] == -1


def test_a_curve_beats_its_best_single_pair():
    epsilon, delta = gaussian_pairs(0.02)
    chain = Accounted(epsilon, delta, 0.99).lower(np.array([0.99]), 100)[0]
    single = max(accuracy_bound(0.99, 100, e, d) for e, d in zip(epsilon, delta, strict=True))
    assert chain > single + 0.05


pairs = st.lists(
    st.tuples(st.floats(0, 3) | st.sampled_from([1e4, np.inf]), st.floats(0, 1)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=80)
@given(pairs, mus, probabilities, probabilities, st.integers(0, 10**9))
def test_bounds_are_in_order(points, mu, p, q, units):
    """Falling with units, rising with p, in [0, p]; no overflow, NaN or warning on the way."""
    # A delta of at least 1e-2 keeps the ladders short.
    epsilon, delta = (np.array(column) for column in zip(*points, strict=True))
    low, high = np.array([min(p, q)]), np.array([max(p, q)])
    for kind in (Accounted(epsilon, np.maximum(delta, 0.01), max(p, q)), Gaussian(mu)):
        assert 0 <= kind.lower(low, units)[0] <= kind.lower(high, units)[0] <= high[0]
        assert (kind.lower(low, 0)[0], kind.lower(high, 0)[0]) == (low[0], high[0])
        assert kind.lower(high, units + 1)[0] <= kind.lower(high, units)[0]
        for most in (0, 7, 10**9):
            found = int(kind.withstood(high, low, most)[0])
            assert -1 <= found <= most
            assert (found == -1) == (high[0] <= low[0])
            assert int(kind.withstood(low, high, most)[0]) == -1
            assert int(kind.withstood(high, low / 2, most)[0]) >= found


def test_a_ladder_ends_even_where_the_pairs_say_that_nothing_moves():
    still = Accounted(np.array([0.0]), np.array([0.0]), 0.9)
    kept = still.lower(np.array([0.9]), 19_000)[0]
    assert 0.8999 < kept <= 0.9
    assert still.lower(np.array([0.9]), 21_000)[0] == 0


def test_what_is_above_the_top_of_the_ladder_starts_there():
    low = Accounted(np.array([0.1]), np.array([0.0]), 0.6)
    high = Accounted(np.array([0.1]), np.array([0.0]), 0.9)
    p = np.array([0.9])
    assert low.lower(p, 3)[0] <= high.lower(p, 3)[0]
    assert low.lower(p, 3)[0] == low.lower(np.array([0.6]), 3)[0]
