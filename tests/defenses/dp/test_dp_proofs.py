"""From votes to certificates: confidence, what an attack costs, and the expected accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from harness.confidence import LabelBounds, simuem
from harness.defenses.dp.proofs import (
    ExpectedAccuracy,
    certified_radii,
    label_lower_bounds,
    tradeoff_for,
)
from harness.defenses.dp.tradeoff import Accounted, Gaussian


def described(**changes):
    values = {"noise_multiplier": 50.0, "steps": 20, "sample_rate": 1.0}
    return {name: np.array(value) for name, value in (values | changes).items()}


def test_full_batches_are_gaussian_with_mu_from_steps_and_noise():
    found = tradeoff_for(described(), 1.0)
    assert isinstance(found, Gaussian)
    assert found.mu == pytest.approx(20**0.5 / 50)


def test_sampled_batches_use_the_accounted_pairs():
    curve = {"curve_epsilon": np.array([0.1, 0.0]), "curve_delta": np.array([1e-6, 0.02])}
    found = tradeoff_for({**described(sample_rate=0.5), **curve}, 0.9)
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
        ({"sample_rate": 0.5}, "sample_rate=0.5 .*curve_epsilon and curve_delta"),
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
        tradeoff_for(described(**changes), 1.0)


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
    return ExpectedAccuracy(tradeoff, cost, n, average)


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
            radius[a, cost] = int(certified_radii(simuem(votes, a), tradeoff, cost, n)[0])
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
    assert certified_radii(simuem(surer, alpha), tradeoff, 1, n)[0] >= radius[alpha, 1]


def test_a_vote_that_is_not_certain_abstains_whatever_it_costs():
    bounds = LabelBounds(np.zeros(3, int), np.array([0.4, 0.5, 0.9]), np.array([0.6, 0.5, 0.1]))
    for tradeoff in TRADEOFFS:
        for cost in (1, 2, 785):
            radii = certified_radii(bounds, tradeoff, cost, 1000)
            assert radii[:2].tolist() == [-1, -1]
            assert radii[2] >= 0
