"""Theorem 1 at 50 digits: published values, the corollaries, inputs at the edge of float64."""

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.defenses.bagging import certified_poisoning_size
from harness.proofs.confidence import clopper_pearson_lower, clopper_pearson_upper, simuem
from harness.threats import Threat

THREATS = [Threat.ANY, Threat.MODIFY, Threat.INSERT, Threat.DELETE]
Floats = NDArray[np.float64]


def holds(gap: Any, r: int, n_: int, m: int, n: int, k: int) -> bool:
    """Eq. 4's condition at one size of the poisoned set, at mpmath's precision."""
    return bool((mpmath.mpf(n_) / n) ** k - 2 * (mpmath.mpf(m) / n) ** k + 1 - gap < 0)


def worst_size(r: int, n: int, k: int) -> int:
    """The n' in [n, n + r] at which (n')^k - 2 (n' - r)^k is largest: it rises, then falls."""

    def rises(n_: int) -> bool:
        step = mpmath.mpf(n_ + 1) ** k - mpmath.mpf(n_) ** k
        return bool(step > 2 * (mpmath.mpf(n_ + 1 - r) ** k - mpmath.mpf(n_ - r) ** k))

    low, high = n, n + r
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if rises(middle) else (low, middle)
    return low


def certified(p_lower: float, p_upper: float, r: int, n: int, k: int, threat: Threat) -> bool:
    """Whether Theorem 1 certifies r poisonings: every n' for small sets, the worst for large."""
    with mpmath.workdps(50):
        gap = mpmath.mpf(p_lower) - mpmath.mpf(p_upper)
        if threat is Threat.MODIFY:
            return holds(gap, r, n, n - r, n, k)
        if threat is Threat.DELETE:
            # Eq. 4 less two equal powers; both sides may be far below the last of 50 digits.
            with mpmath.workdps(700):
                gap = mpmath.mpf(p_lower) - mpmath.mpf(p_upper)
                return bool(1 - gap < (mpmath.mpf(n - r) / n) ** k)
        if threat is Threat.INSERT:
            return holds(gap, r, n + r, n, n, k)
        every = range(n - r, n + r + 1) if n <= 300 else [worst_size(r, n, k)]
        return all(holds(gap, r, n_, max(n, n_) - r, n, k) for n_ in every)


def radii(p_lower: Any, p_upper: Any, n: int, k: int, threat: Threat) -> NDArray[np.int64]:
    lower, upper = np.asarray(p_lower, np.float64), np.asarray(p_upper, np.float64)
    found: NDArray[np.int64] = certified_poisoning_size(lower, upper, n, k, threat)
    return found


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 5), (7, 1), (20, 3), (60, 2), (150, 40)])
@pytest.mark.parametrize("threat", THREATS)
def test_every_size_of_a_small_poisoned_set(n: int, k: int, threat: Threat) -> None:
    lower = np.array([0.501, 0.55, 0.7, 0.83, 0.9123, 0.98, 0.999, 0.7, 0.4])
    upper = np.array([0.499, 0.45, 0.1, 0.17, 0.0312, 0.02, 0.001, 0.0, 0.3])
    for p, q, r in zip(lower, upper, radii(lower, upper, n, k, threat), strict=True):
        assert 0 <= r < n
        by_hand = [certified(p, q, one, n, k, threat) for one in range(n)]
        assert by_hand == [one <= r for one in range(n)], "and the condition is monotone in r"


@pytest.mark.parametrize(("n", "k"), [(60_000, 100), (13_007, 50)])
@pytest.mark.parametrize("threat", THREATS)
def test_every_vote_count_at_50_digits(n: int, k: int, threat: Threat) -> None:
    most = np.arange(0, 1001)
    lower = clopper_pearson_lower(most, 1000, 1e-8)
    second = [1000 - most, -(-(1000 - most) // 9)]
    for rivals in second:
        upper = np.minimum(clopper_pearson_upper(rivals, 1000, 1e-8), 1 - lower)
        found = radii(lower, upper, n, k, threat)
        np.testing.assert_array_equal(found == -1, lower <= upper)
        step = 9 if threat is Threat.ANY else 1
        for p, q, r in list(zip(lower, upper, found, strict=True))[::step]:
            if r >= 0:
                assert certified(p, q, int(r), n, k, threat)
                assert not certified(p, q, int(r) + 1, n, k, threat)


def even_votes(top: int, second: int, labels: int = 10) -> NDArray[np.int64]:
    rest, others = 1000 - top - second, labels - 2
    return np.array([top, second, *(rest // others + (i < rest % others) for i in range(others))])


@pytest.mark.parametrize(
    ("n", "k", "sure", "fair"),
    [(60_000, 30, 1300, 818), (60_000, 100, 393, 246), (50_000, 500, 65, 41)],
)
def test_check_values(n: int, k: int, sure: int, fair: int) -> None:
    votes = np.tile(even_votes(1000, 0), (10_000, 1))
    votes[1] = even_votes(900, 100)
    bounds = simuem(votes, 0.001)
    found = radii(bounds.p_lower, bounds.p_upper, n, k, Threat.MODIFY)
    assert found.dtype == np.int64
    assert (found[0], found[1]) == (sure, fair)


PAIRS = [(0.51, 0.49), (0.6, 0.3), (0.8, 0.2), (0.95, 0.0123), (0.999, 0.001), (0.2, 0.1)]


@pytest.mark.parametrize(("n", "k"), [(101, 1), (1000, 7), (13_007, 50), (10**9, 1000)])
def test_corollaries_in_closed_form(n: int, k: int) -> None:
    for p, q in PAIRS:
        with mpmath.workdps(50):
            gap = mpmath.mpf(p) - mpmath.mpf(q)
            root = mpmath.mpf(1) / k
            modify = int(mpmath.ceil(n * (1 - (1 - gap / 2) ** root) - 1))
            delete = int(mpmath.ceil(n * (1 - (1 - gap) ** root) - 1))
            insert = int(mpmath.ceil(n * ((1 + gap) ** root - 1) - 1))
        assert radii([p], [q], n, k, Threat.MODIFY) == modify
        assert radii([p], [q], n, k, Threat.LABEL_FLIP) == modify
        assert radii([p], [q], n, k, Threat.DELETE) == delete
        assert radii([p], [q], n, k, Threat.INSERT) == insert


def test_equality_is_not_certified() -> None:
    """k = 1, modify: 2 r / n < gap, strictly; a gap that float64 holds exactly shows it."""
    assert radii([0.75], [0.25], 8, 1, Threat.MODIFY) == 1
    assert radii([0.75], [0.25], 8, 1, Threat.DELETE) == 3
    assert radii([0.75], [0.25], 8, 1, Threat.INSERT) == 3
    assert radii([0.75], [0.25], 8, 1, Threat.ANY) == 1
    assert radii([0.5, 0.2], [0.5, 0.7], 8, 1, Threat.ANY).tolist() == [-1, -1]
    assert radii([1.0], [0.0], 8, 1, Threat.MODIFY) == 3
    assert radii([1.0], [0.0], 8, 1, Threat.DELETE) == 7
    assert radii([1.0], [0.0], 8, 1, Threat.INSERT) == 7


def test_the_shape_is_kept_and_the_order_does_not_matter() -> None:
    lower = np.array([[0.9, 0.6, 0.9], [0.3, 0.8, 0.6]])
    upper = np.array([[0.1, 0.4, 0.1], [0.7, 0.2, 0.4]])
    found = radii(lower, upper, 1000, 10, Threat.ANY)
    assert found.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert found[index] == radii([lower[index]], [upper[index]], 1000, 10, Threat.ANY)[0]
    assert radii([], [], 10, 2, Threat.ANY).shape == (0,)


@pytest.mark.parametrize(("n", "k"), [(0, 1), (1, 0), (-3, 2)])
def test_sizes_below_one_are_refused(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        radii([0.9], [0.1], n, k, Threat.ANY)


probability = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e-16, 0.5, 1 - 2**-53, 1 - 1e-12, 1.0]),
)


@settings(max_examples=300)
@given(
    lower=probability,
    share=probability,
    n=st.one_of(st.integers(1, 40), st.integers(1, 10**9)),
    k=st.one_of(st.integers(1, 40), st.integers(1, 10**9)),
)
@example(lower=1.0, share=0.0, n=1, k=1)
@example(lower=1.0, share=1e-300, n=10**9, k=10**9)
@example(lower=1 - 1e-12, share=1.0, n=10**9, k=1)
def test_any_input(lower: float, share: float, n: int, k: int) -> None:
    """No overflow, NaN or warning; sound at 50 digits; ordered by threat; monotone in the gap."""
    k = min(k, n)
    upper = share * (1 - lower)
    found = {threat: int(radii([lower], [upper], n, k, threat)[0]) for threat in THREATS}
    assert all(-1 <= r < n for r in found.values())
    assert all(found[Threat.ANY] <= r for r in found.values())
    # At n' = n, Eq. 4 asks for (1 - r/n)^k > 1/2; where that holds, n' = n is the worst (Eq. 7).
    assert found[Threat.ANY] == found[Threat.MODIFY]
    # A modified example is a deleted one and an inserted one.
    assert found[Threat.MODIFY] <= found[Threat.DELETE]
    if lower <= upper:
        assert set(found.values()) == {-1}
    for threat in THREATS:
        r = found[threat]
        # The worst size of a large set costs k-th powers of huge numbers; the others are cheap.
        if r >= 0 and (threat is not Threat.ANY or k <= 10**4 or n <= 300):
            assert certified(lower, upper, r, n, k, threat)
        weaker = radii([lower * 0.99], [upper], n, k, threat)[0]
        assert weaker <= r


def exact_gap_margin(lower: float, upper: float, r: int, n: int, k: int) -> float:
    with mpmath.workdps(50):
        clean = (mpmath.mpf(n - r) / n) ** k
        return float(mpmath.mpf(lower) - mpmath.mpf(upper) - 2 + 2 * clean)


@settings(max_examples=200)
@given(
    n=st.integers(1, 10**6),
    k=st.integers(1, 200),
    at=st.floats(0, 1),
    nudge=st.integers(-3, 3),
)
def test_gaps_within_an_ulp_of_the_threshold(n: int, k: int, at: float, nudge: int) -> None:
    """The gap is put at the threshold of some r: rounding must never certify that r."""
    r = int(at * n * min(1.0, 0.6 / k))
    with mpmath.workdps(50):
        threshold = float(2 - 2 * (mpmath.mpf(n - r) / n) ** k)
    lower = (1 + threshold) / 2
    for _ in range(abs(nudge)):
        lower = float(np.nextafter(lower, 2.0 * np.sign(nudge)))
    lower = min(lower, 1.0)
    upper = 1 - lower
    found = int(radii([lower], [upper], n, k, Threat.MODIFY)[0])
    margin = exact_gap_margin(lower, upper, r, n, k)
    if margin <= 0:
        assert found < r
    elif margin > 1e-13:
        assert found >= r
