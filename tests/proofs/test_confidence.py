"""Clopper-Pearson and SimuEM against exact rational sums, 50-digit tails and full enumeration."""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta

from harness.proofs.confidence import (
    Split,
    clopper_pearson_lower,
    clopper_pearson_upper,
    simuem,
)

Votes = NDArray[np.int64]


def at_least(x: int, trials: int, p: Fraction) -> Fraction:
    """P(Bin(trials, p) >= x), exactly."""
    a, b = p.numerator, p.denominator
    terms = (math.comb(trials, i) * a**i * (b - a) ** (trials - i) for i in range(x, trials + 1))
    return Fraction(sum(terms), b**trials)


def upper_tail(x: int, trials: int, p: Any) -> Any:
    """P(Bin(trials, p) >= x) at mpmath's precision, for p below x / trials."""
    if p == 0:
        return mpmath.mpf(0)
    choose = mpmath.loggamma(trials + 1) - mpmath.loggamma(x + 1) - mpmath.loggamma(trials - x + 1)
    first = mpmath.exp(choose + x * mpmath.log(p) + (trials - x) * mpmath.log1p(-p))
    odds, term, total = p / (1 - p), mpmath.mpf(1), mpmath.mpf(1)
    for z in range(x, trials):
        term *= odds * (trials - z) / (z + 1)
        total += term
        if term < total * mpmath.mpf(10) ** -40:
            break
    return first * total


@pytest.mark.parametrize("trials", [1, 2, 7, 40])
@pytest.mark.parametrize("alpha", [0.4, 0.05, 5e-5, 1e-13])
def test_bounds_are_the_quantiles_in_exact_arithmetic(trials: int, alpha: float) -> None:
    counts = np.arange(trials + 1)
    lower = clopper_pearson_lower(counts, trials, alpha)
    upper = clopper_pearson_upper(counts, trials, alpha)
    assert lower[0] == 0 and upper[trials] == 1
    near = Fraction(1, 10**8)
    for x in range(1, trials + 1):
        p = Fraction(float(lower[x]))
        assert at_least(x, trials, p) <= Fraction(alpha) < at_least(x, trials, p * (1 + near))
        # P(Bin(N, u) <= N - x) = P(Bin(N, 1 - u) >= x)
        u = Fraction(float(upper[trials - x]))
        assert at_least(x, trials, 1 - u) <= Fraction(alpha)
        assert at_least(x, trials, 1 - u * (1 - near)) > Fraction(alpha)


@pytest.mark.parametrize("trials", [1000, 10**5, 10**6])
@pytest.mark.parametrize("alpha", [0.4, 1e-3, 5e-6, 5e-9, 1e-100])
def test_bounds_are_the_quantiles_for_many_trials(trials: int, alpha: float) -> None:
    few = [1, 2, 5, 30, trials // 10]
    for x in few + [trials - x for x in few] + [trials]:
        lower = float(clopper_pearson_lower(x, trials, alpha))
        upper = float(clopper_pearson_upper(trials - x, trials, alpha))
        with mpmath.workdps(50):
            near = mpmath.mpf(10) ** -8
            p, q = mpmath.mpf(lower), 1 - mpmath.mpf(upper)
            assert upper_tail(x, trials, p) <= alpha < upper_tail(x, trials, p * (1 + near))
            assert upper_tail(x, trials, q) <= alpha
            assert upper_tail(x, trials, q + (1 - q) * near) > alpha


@given(st.data(), st.integers(1, 10**6), st.floats(-300, -0.31))
def test_bounds_hold_the_estimate_between_them(
    data: st.DataObject, trials: int, log_alpha: float
) -> None:
    """Whatever alpha: no NaN and no warning; what cannot be computed is 0 or 1."""
    x = data.draw(st.integers(0, trials - 1))
    counts = np.array([x, x + 1])
    lower = clopper_pearson_lower(counts, trials, 10.0**log_alpha)
    upper = clopper_pearson_upper(counts, trials, 10.0**log_alpha)
    assert lower.dtype == upper.dtype == np.float64
    assert lower.shape == upper.shape == (2,)
    assert (lower >= 0).all() and (lower <= counts / trials).all()
    assert (upper <= 1).all() and (upper >= counts / trials).all()


@given(st.data(), st.integers(1, 10**6), st.floats(-60, -0.31))
def test_bounds_are_monotone(data: st.DataObject, trials: int, log_alpha: float) -> None:
    x = data.draw(st.integers(0, trials - 1))
    counts, alpha = np.array([x, x + 1]), 10.0**log_alpha
    lower = clopper_pearson_lower(counts, trials, alpha)
    upper = clopper_pearson_upper(counts, trials, alpha)
    assert lower[0] < lower[1] and upper[0] <= upper[1]
    assert (clopper_pearson_lower(counts, trials, alpha / 2) <= lower).all()
    assert (clopper_pearson_upper(counts, trials, alpha / 2) >= upper).all()


def test_printed_upper_bound_of_the_paper_fails_too_often() -> None:
    """Eq. 6 prints the shapes (n_j, N - n_j + 1): as an upper bound they miss more than alpha."""
    trials, alpha = 30, 0.05
    x = np.arange(1, trials + 1)
    printed = np.append(0.0, beta.ppf(1 - alpha, x, trials - x + 1))
    ours = clopper_pearson_upper(np.arange(trials + 1), trials, alpha)

    def missed(upper: NDArray[np.float64], p: Fraction) -> float:
        at_most = [1 - at_least(i + 1, trials, p) for i in range(trials + 1)]
        return float(max((at_most[i] for i in range(trials + 1) if upper[i] < p), default=0))

    grid = [Fraction(i, 40) for i in range(1, 40)]
    assert max(missed(printed, p) for p in grid) > 2 * alpha
    assert all(missed(ours, p) <= alpha for p in grid)


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to share ``total`` votes among ``parts`` labels."""
    for bars in itertools.combinations(range(total + parts - 1), parts - 1):
        ends = (-1, *bars, total + parts - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(ends))


def simplex(c: int, step: int) -> Iterator[NDArray[np.float64]]:
    """Label probabilities on a grid, and slightly off it so that ties of probability break too."""
    for point in compositions(step, c):
        for shift in (0.0, 1e-6):
            p = np.array(point) / step + shift * np.arange(c)
            yield p / p.sum()


@pytest.mark.parametrize(("c", "trials"), [(2, 9), (2, 40), (3, 8), (3, 16), (4, 7)])
@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.004])
def test_simuem_holds_for_all_labels_at_once(c: int, trials: int, alpha: float) -> None:
    """Exact probability, over every vote, that one of the two bounds is wrong: at most alpha."""
    votes: Votes = np.array(list(compositions(trials, c)))
    one_by_one = [simuem(row[None], alpha) for row in votes]
    label = np.array([b.prediction[0] for b in one_by_one])
    lower = np.array([b.p_lower[0] for b in one_by_one])
    upper = np.array([b.p_upper[0] for b in one_by_one])
    ways = np.array(
        [math.factorial(trials) / math.prod(map(math.factorial, map(int, row))) for row in votes]
    )
    worst = 0.0
    for p in simplex(c, 12 if c > 2 else 60):
        probability = ways * np.prod(p**votes, axis=1)
        rival = np.array([np.delete(p, one).max() for one in range(c)])
        wrong = (lower > p[label]) | (upper < rival[label])
        worst = max(worst, float(probability[wrong].sum()))
    assert 0 < worst <= alpha


def test_two_labels_hold_at_once_even_where_the_vote_is_close() -> None:
    """Either label may come out on top, so both of their lower bounds must hold."""
    trials = 10
    alpha = float(at_least(8, trials, Fraction(1, 2))) * (1 + 1e-6)
    votes = np.array([[i, trials - i] for i in range(trials + 1)])
    lower = np.array([simuem(row[None], alpha).p_lower[0] for row in votes])
    chance = [math.comb(trials, i) / 2**trials for i in range(trials + 1)]
    assert sum(p for p, bound in zip(chance, lower, strict=True) if bound > 0.5) <= alpha


def test_simuem_shares_alpha_as_equations_5_and_6_say() -> None:
    votes = np.array([[900, 60, 40], [40, 0, 960], [334, 333, 333], [0, 1000, 0]])
    bounds = simuem(votes, 0.001)
    one = 0.001 / 12
    most, second = np.array([900, 960, 334, 1000]), np.array([60, 40, 333, 0])
    lower = clopper_pearson_lower(most, 1000, one)
    upper = np.minimum(clopper_pearson_upper(second, 1000, one), 1 - lower)
    np.testing.assert_array_equal(bounds.prediction, [0, 2, 0, 1])
    np.testing.assert_allclose(bounds.p_lower, lower, rtol=1e-12)
    np.testing.assert_allclose(bounds.p_upper, upper, rtol=1e-12)
    assert bounds.p_upper[3] <= 1 - bounds.p_lower[3]
    assert bounds.p_lower[2] <= bounds.p_upper[2], "a vote that close must abstain"
    alone = simuem(votes, 0.001, split="per-example")
    np.testing.assert_allclose(
        alone.p_lower, clopper_pearson_lower(most, 1000, 0.001 / 3), rtol=1e-12
    )


def test_ties_go_to_the_smaller_label_and_abstain() -> None:
    bounds = simuem(np.array([[5, 5, 0], [0, 5, 5], [2, 4, 4], [0, 0, 10]]), 0.1)
    np.testing.assert_array_equal(bounds.prediction, [0, 1, 1, 2])
    assert (bounds.p_lower <= bounds.p_upper)[:3].all()
    assert bounds.p_lower[3] > bounds.p_upper[3]


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 500), min_size=4, max_size=4), min_size=1, max_size=6))
def test_simuem_on_any_votes(rows: list[list[int]]) -> None:
    votes = np.array([[*row, 2000 - sum(row)] for row in rows])
    bounds = simuem(votes, 0.01)
    moved = simuem(votes[:, [3, 0, 4, 1, 2]], 0.01)
    assert ((bounds.p_lower >= 0) & (bounds.p_upper <= 1)).all()
    assert (bounds.p_lower + bounds.p_upper <= 1 + 1e-15).all()
    np.testing.assert_array_equal(bounds.p_lower, moved.p_lower)
    np.testing.assert_array_equal(bounds.p_upper, moved.p_upper)


@st.composite
def any_votes(draw: st.DrawFn) -> Votes:
    """(e, c) counts, the same number in each row, up to 10^6: unanimous, close or anything."""
    trials, c = draw(st.integers(1, 10**6)), draw(st.integers(2, 12))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        cuts = st.one_of(st.integers(0, trials), st.sampled_from([0, trials // 2, trials]))
        ends = sorted(draw(st.lists(cuts, min_size=c - 1, max_size=c - 1)))
        rows.append(draw(st.permutations(np.diff([0, *ends, trials]).tolist())))
    return np.array(rows)


@pytest.mark.parametrize("alpha", [1e-201, 1e-304, 0.0])
def test_an_alpha_that_quantiles_are_wrong_for_proves_nothing(alpha: float) -> None:
    """At N = 141, x = 104 and 1e-304 SciPy's quantile is a quarter too large."""
    assert clopper_pearson_lower([104], 141, alpha) == 0
    assert clopper_pearson_upper([104], 141, alpha) == 1


@given(
    any_votes(), st.floats(-300, -0.31), st.floats(0, 10), st.sampled_from(["paper", "per-example"])
)
def test_simuem_on_votes_of_any_size(
    votes: Votes, log_alpha: float, larger: float, split: Split
) -> None:
    """No NaN and no warning; a vote more, a larger alpha or less to share it never prove less."""
    alpha = 10.0**log_alpha
    bounds = simuem(votes, alpha, split=split)
    rows, top = np.arange(len(votes)), votes.max(axis=1)
    assert (votes[rows, bounds.prediction] == top).all()
    shares = votes / votes.sum(axis=1, keepdims=True)
    assert ((bounds.p_lower >= 0) & (bounds.p_lower <= shares.max(axis=1))).all()
    assert ((bounds.p_upper >= 0) & (bounds.p_upper <= 1)).all()
    assert (bounds.p_lower + bounds.p_upper <= 1 + 1e-15).all()
    rivals = np.sort(shares, axis=1)[:, -2]
    assert (bounds.p_upper >= np.minimum(rivals, 1 - bounds.p_lower)).all()

    taken = votes.copy()
    taken[rows, bounds.prediction] = -1
    runner_up = taken.argmax(axis=1)
    one = (votes[rows, runner_up] > 0).astype(np.int64)
    more = votes.copy()
    more[rows, bounds.prediction] += one
    more[rows, runner_up] -= one
    for stronger in (
        simuem(more, alpha, split=split),
        simuem(votes, min(alpha * 10**larger, 0.49), split=split),
        simuem(votes, alpha, split="per-example"),
    ):
        assert (stronger.prediction == bounds.prediction).all()
        assert (stronger.p_lower >= bounds.p_lower).all()
        assert (stronger.p_upper <= bounds.p_upper).all()


@pytest.mark.parametrize(
    "votes",
    [[], [[3]], [[1, 2], [2, 2]], [[0, 0]], [[-1, 2]], [[0.5, 0.5]], [1, 2]],
    ids=str,
)
def test_what_is_not_a_vote_is_refused(votes: list[Any]) -> None:
    with pytest.raises(ValueError, match="votes"):
        simuem(np.array(votes), 0.001)
