"""From votes to certificates: confidence, what an attack costs, and the expected accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from harness.defenses.dp.accounting import privacy_curve
from harness.defenses.dp.proofs import (
    ExpectedAccuracy,
    Route,
    certified_radii,
    label_lower_bounds,
    method,
    sum_unit,
    tradeoffs_for,
)
from harness.defenses.dp.tradeoff import Accounted, Gaussian
from harness.errors import DataError
from harness.proofs.confidence import LabelBounds, simuem
from harness.threats import Threat, Unit
from harness.threats import cost as price


def described(**changes):
    values = {"votes": [[5, 5]], "noise_multiplier": 50.0, "steps": 20, "sample_rate": 1.0}
    return {name: np.array(value) for name, value in (values | changes).items()}


def test_full_batches_are_gaussian_with_mu_from_steps_and_noise():
    ((found, unit),) = tradeoffs_for(described(), 1.0)
    assert isinstance(found, Gaussian)
    assert found.mu == pytest.approx(20**0.5 / 50)
    assert unit is Unit.ADD_REMOVE


CURVE = {"curve_epsilon": np.array([0.1, 0.0]), "curve_delta": np.array([1e-6, 0.02])}


def test_sampled_batches_are_gaussian_too_and_have_the_accounted_pairs():
    alone = tradeoffs_for(described(sample_rate=0.5), 0.9)
    assert alone == tradeoffs_for(described(), 0.9)
    full = tradeoffs_for({**described(), **CURVE}, 0.9)
    assert full == alone, "an accountant knows no more of full batches"
    first, (found, unit) = tradeoffs_for({**described(sample_rate=0.5), **CURVE}, 0.9)
    assert (first,) == alone
    assert unit is Unit.ADD_REMOVE
    assert isinstance(found, Accounted)
    assert (found.epsilon.tolist(), found.delta.tolist()) == ([0.1, 0.0], [1e-6, 0.02])
    assert found.highest == 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier > 0.* 0, 20 and 1"),
        ({"noise_multiplier": np.inf}, "noise_multiplier"),
        ({"steps": 0}, "steps >= 1"),
        ({"sample_rate": 0.0}, "sample_rate"),
        ({"sample_rate": 1.5}, "sample_rate"),
        ({"sample_rate": 0.5, "curve_epsilon": [0.1]}, "belong together, found curve_epsilon"),
        ({"sample_rate": 0.5, "curve_epsilon": [0.1], "curve_delta": [0.1, 0.2]}, "one length"),
        ({"sample_rate": 0.5, "curve_epsilon": [], "curve_delta": []}, "one length"),
        ({"sample_rate": 0.5, "curve_epsilon": [-0.1], "curve_delta": [0.1]}, ">= 0"),
        ({"sample_rate": 0.5, "curve_epsilon": [0.1], "curve_delta": [1.1]}, r"in \[0, 1\]"),
        ({"sample_rate": 0.5, "curve_epsilon": [0.1], "curve_delta": [np.nan]}, r"in \[0, 1\]"),
        ({"sample_rate": 0.5, "curve_epsilon": [np.nan], "curve_delta": [0.1]}, ">= 0"),
    ],
)
def test_evidence_that_describes_no_mechanism_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tradeoffs_for(described(**changes), 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"never_clipped": 1, "votes": [[5, 5, 0]]}, "never_clipped must be 0 .* 3 labels"),
        ({"never_clipped": 2}, "never_clipped must be 0 or 1, found 2"),
        ({"never_clipped": 0.5}, "never_clipped must be 0 or 1, found 0.5"),
        ({"never_clipped": [1, 0]}, "never_clipped must be one number, found shape"),
        ({"steps": [1, 2]}, "steps must be one number, found shape"),
        ({"noise_multiplier": []}, "noise_multiplier must be one number, found shape"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        tradeoffs_for(described(**changes), 1.0)


def test_a_flipped_label_is_one_unit_of_the_gaussian_route_alone():
    evidence = {**described(sample_rate=0.5, never_clipped=[1]), **CURVE}
    units = [unit for _, unit in tradeoffs_for(evidence, 0.9)]
    assert units == [Unit.ADD_REMOVE_LINEAR_BINARY, Unit.ADD_REMOVE]
    assert sum_unit(described(never_clipped=0)) is sum_unit(described()) is Unit.ADD_REMOVE


# sigma 200, 20 steps, p_l 0.99: the accounted curve alone, as it was, and Phi^-1(0.99) / mu
@pytest.mark.parametrize(
    ("rate", "accounted", "flips"), [(0.99, 83, 104), (0.9, 91, 104), (0.5, 165, 104)]
)
def test_below_rate_one_the_larger_radius_counts(rate, accounted, flips):
    curve = dict(zip(CURVE, privacy_curve(200.0, rate, 20), strict=True))
    evidence = described(noise_multiplier=200.0, sample_rate=rate, never_clipped=1) | curve
    bounds = LabelBounds(np.zeros(1, int), np.array([0.99]), np.array([0.01]))
    known = tradeoffs_for(evidence, 0.99)

    def radius(threat, *which):
        routes = [Route(known[i][0], price(known[i][1], threat)) for i in which]
        return int(certified_radii(bounds, routes, 10**6)[0])

    assert radius(Threat.INSERT, 0) == 104
    assert radius(Threat.INSERT, 1) == accounted
    assert radius(Threat.INSERT, 0, 1) == max(104, accounted)
    assert radius(Threat.MODIFY, 0, 1) == max(104, accounted) // 2
    assert radius(Threat.LABEL_FLIP, 0, 1) == flips
    routes = tuple(Route(tradeoff, 1) for tradeoff, _ in known)
    assert method(routes) == "gaussian-dp-or-accounted-curve"
    both, *single = (ExpectedAccuracy(r, 10**6, average=False) for r in (routes, *zip(routes)))
    p = np.array([0.6, 0.99])
    for r in (0, 10, 60, 150):
        assert both(p, r) >= max(one(p, r) for one in single)


def test_one_unit_a_modification_is_not_what_is_proved():
    """Models: is a noisy sum of numbers in [-1, 1] above a threshold? A changed one moves it by 2.

    So the published convention promises what does not hold, and is an estimate.
    """
    sigma, margin = 40.0, 77.1
    p = norm.cdf(margin / sigma)
    bounds = LabelBounds(np.zeros(1, int), np.array([p]), np.array([1 - p]))
    proved, published = (
        int(certified_radii(bounds, [Route(Gaussian(1 / sigma), units)], 10**6)[0])
        for units in (price(Unit.ADD_REMOVE, Threat.MODIFY), 1)
    )
    assert norm.cdf((margin - 2 * proved) / sigma) > 0.5
    assert norm.cdf((margin - 2 * published) / sigma) < 0.5


@pytest.mark.parametrize("c", [2, 5])
def test_each_label_has_a_bound_that_fails_with_alpha_over_e(c):
    """Clopper and Pearson's own words: at the bound, so many votes have probability alpha/e."""
    n_models, e, alpha = 200, 8, 0.01
    votes = np.random.default_rng(c).multinomial(n_models, [0.9] + [0.1 / (c - 1)] * (c - 1), e)
    bounds = label_lower_bounds(votes, alpha)
    assert bounds.shape == votes.shape
    for x, bound in zip(votes.ravel(), bounds.ravel(), strict=True):
        if x == 0:
            assert bound == 0
        else:
            assert binom.sf(x - 1, n_models, bound) == pytest.approx(alpha / e, rel=1e-5)


def expected(tradeoff, cost=1, n=10**6, *, average=False):
    return ExpectedAccuracy((Route(tradeoff, cost),), n, average)


def test_expected_accuracy_is_tight_for_thresholds_on_noisy_sums():
    """Every example's model is right where sum + noise is below its margin."""
    sigma, margins = 30.0, np.array([-10.0, 5.0, 40.0, 77.0])
    for cost in (1, 2):
        bound = expected(Gaussian(1 / sigma), cost)
        for r in (0, 1, 7, 50):
            truth = norm.cdf((margins - r * cost) / sigma).mean()
            assert bound(norm.cdf(margins / sigma), r) <= truth + 1e-15
            assert bound(norm.cdf(margins / sigma), r) == pytest.approx(truth, rel=1e-9)


def test_the_estimate_from_the_mean_accuracy_promises_less_than_single_probabilities():
    p = np.array([0.6, 0.9, 0.99, 0.9999])
    tradeoff = Gaussian(0.05)
    single, mean = expected(tradeoff), expected(tradeoff, average=True)
    assert single(p, 0) == mean(p, 0) == pytest.approx(p.mean())
    for r in (1, 5, 20, 60):
        assert mean(p, r) == pytest.approx(norm.cdf(norm.ppf(p.mean()) - 0.05 * r))
        assert mean(p, r) < single(p, r)


def test_nothing_is_promised_beyond_n_or_below_the_negligible():
    p = np.ones(3)
    assert expected(Gaussian(0.05), n=40)(p, 40) > 0.9
    assert expected(Gaussian(0.05), n=40)(p, 41) == 0
    for bound in (expected(Gaussian(0.05)), expected(Gaussian(0.05), average=True)):
        assert bound(np.full(3, 0.9), 110) > 1e-6
        assert bound(np.full(3, 0.9), 130) == 0


TRADEOFFS = [
    Gaussian(0.03),
    Accounted(np.array([0.3, 0.04, 0.0]), np.array([1e-9, 1e-3, 0.02]), 0.9999),
]


@settings(max_examples=60)
@given(
    st.sampled_from(TRADEOFFS),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.integers(0, 2000),
    st.booleans(),
)
def test_expected_accuracy_is_in_order(tradeoff, p, r, average):
    p = np.array(p)
    one, two = (expected(tradeoff, cost, 1000, average=average) for cost in (1, 2))
    assert 0 <= one(p, r + 1) <= one(p, r) <= min(1, p.mean() + 1e-15)
    assert two(p, r) <= one(p, r)
    assert one(p / 2, r) <= one(p, r)
    assert one(p, 2 * r) <= two(p, r) + (1 if 2 * r > 1000 else 0)


@settings(max_examples=100)
@given(
    st.sampled_from(TRADEOFFS),
    st.integers(2, 4).flatmap(
        lambda c: st.lists(st.integers(0, 10**6 // c), min_size=c, max_size=c)
    ),
    st.floats(1e-9, 0.4),
    st.sampled_from([1, 100, 13_007, 10**9]),
)
def test_radii_are_in_order(tradeoff, counts, alpha, n):
    """Rising with alpha and with votes for the winner; dearer attacks never withstood longer."""
    votes = np.array([counts])
    votes[0, 0] += 1
    radius = {}
    for a in (alpha, 2 * alpha):
        for cost in (1, 2):
            radius[a, cost] = int(certified_radii(simuem(votes, a), [Route(tradeoff, cost)], n)[0])
            assert -1 <= radius[a, cost] <= n
        assert radius[a, 2] <= radius[a, 1]
        # r at two units each is 2 r units; the cap at n is on r
        assert radius[a, 1] >= n or radius[a, 2] == radius[a, 1] // 2
    assert radius[2 * alpha, 1] >= radius[alpha, 1]
    winner = votes[0].argmax()
    loser = (winner + 1) % votes.shape[1]
    surer = votes.copy()
    moved = votes[0, loser] // 2
    surer[0, winner] += moved
    surer[0, loser] -= moved
    assert certified_radii(simuem(surer, alpha), [Route(tradeoff, 1)], n)[0] >= radius[alpha, 1]


def test_a_vote_that_is_not_certain_abstains_whatever_it_costs():
    bounds = LabelBounds(np.zeros(3, int), np.array([0.4, 0.5, 0.9]), np.array([0.6, 0.5, 0.1]))
    for tradeoff in TRADEOFFS:
        for cost in (1, 2, 785):
            radii = certified_radii(bounds, [Route(tradeoff, cost)], 1000)
            assert radii[:2].tolist() == [-1, -1]
            assert radii[2] >= 0
