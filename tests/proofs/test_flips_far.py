"""Radii of random flips for any n up to 10^9 (and all its values) and errors from 1 to nothing."""

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.proofs import flips
from harness.proofs.confidence import clopper_pearson_lower
from harness.proofs.flips import exact_radius, kl_radius

SURE = float(np.log(1e-300))

log_error = st.one_of(
    st.floats(-1e12, 0),
    st.floats(-40, 0),
    st.floats(-15, 15).map(lambda x: -(10.0**x)),
    st.sampled_from([0.0, -5e-324, -1e-300, SURE, SURE - 1, -745.2, -1e300, -np.inf]),
    # Just less than one half, and just more.
    st.integers(-2000, 2000).map(lambda ulps: float(np.log(0.5) * (1 + ulps * 2.0**-52))),
)
size = st.one_of(st.integers(1, 40), st.integers(1, 10**9), st.just(10**9))
share = st.one_of(
    st.floats(5e-324, 1, exclude_max=True),
    st.floats(0, 12).map(lambda x: 1 - 10.0**-x / 2),
    st.sampled_from([5e-324, 1e-300, 1e-12, 0.5, 1 - 2**-53]),
)


def inside(share: float, c: int) -> float:
    """A flip probability above 0 and below 1 - 1/c."""
    most = float(np.nextafter((c - 1) / c, 0))
    return min(max(share * most, 5e-324), most)


@settings(max_examples=300)
@given(st.lists(log_error, min_size=2, max_size=6), share, size)
@example([SURE, -1e-300], 0.999999, 10**9)
@example([-5e8, -1.0], 0.8, 10**9)
def test_any_input(errors: list[float], share: float, n: int) -> None:
    """No warning, no NaN, no overflow; falls as the error rises; the exact one is the larger."""
    q = inside(share, 2)
    falling = np.array(sorted(errors))
    exact, published = exact_radius(falling, q, n), kl_radius(falling, q)
    for radii in (exact, published):
        assert radii.dtype == np.int64 and (radii >= -1).all()
        assert (np.diff(radii) <= 0).all()
        assert (radii[falling >= np.log(0.5)] == -1).all()
    assert (exact <= n).all() and (exact[np.isneginf(falling)] == n).all()
    # Both are rounded down, by 1e-9 near one half: there either may be the larger one.
    clear = falling < np.log(0.5) - 1e-6
    assert (exact >= np.minimum(published, n))[clear].all()


@settings(max_examples=100)
@given(st.lists(log_error, min_size=2, max_size=5), share, size, st.integers(3, 1000))
def test_any_input_of_labels(errors: list[float], share: float, n: int, c: int) -> None:
    q, falling = inside(share, c), np.array(sorted(errors))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flips, "_STEPS", 60)
        exact, published = exact_radius(falling, q, n, c), kl_radius(falling, q, c)
    for radii in (exact, published):
        assert radii.dtype == np.int64 and (radii >= -1).all()
        assert (np.diff(radii) <= 0).all()
        assert (radii[falling >= np.log(0.5)] == -1).all()
    assert (exact <= n).all() and (exact[np.isneginf(falling)] == n).all()


@given(st.data(), st.integers(1, 10**6), st.floats(-190, -0.31), st.floats(0, 12), share, size)
def test_radii_of_votes_grow_with_the_votes_and_with_alpha(
    data: st.DataObject, trials: int, log_alpha: float, larger: float, share: float, n: int
) -> None:
    """As feature-flip has them: the rival wins with probability 1 - p_lower at most."""
    x = data.draw(st.integers(0, trials - 1))
    alphas = 10.0**log_alpha, min(10.0 ** (log_alpha + larger), 0.49)
    q = inside(share, 2)
    radii = []
    for alpha in alphas:
        lower = clopper_pearson_lower(np.array([x, x + 1]), trials, alpha)
        with np.errstate(divide="ignore"):
            radii.append(exact_radius(np.log1p(-lower), q, n))
    assert radii[0][0] <= radii[0][1]
    assert (radii[0] <= radii[1]).all()


def at_least(a: int, f: int, p: Any) -> Any:
    """P(Bin(f, p) >= a), summed up from a on; for a above the mean, or not far below."""
    if a > f:
        return mpmath.mpf(0)
    choose = mpmath.loggamma(f + 1) - mpmath.loggamma(a + 1) - mpmath.loggamma(f - a + 1)
    first = mpmath.exp(choose + a * mpmath.log(p) + (f - a) * mpmath.log1p(-p))
    term, total, odds, z = mpmath.mpf(1), mpmath.mpf(1), p / (1 - p), a
    while z < f and term > total * mpmath.mpf(10) ** -25:
        term *= odds * (f - z) / (z + 1)
        total, z = total + term, z + 1
    return first * total


def log_critical_error(f: int, q: Any) -> Any:
    """The log of the clean mass of the event {fewest agreements first} of attacked mass 1/2.

    At least a of the bits agree with the attacker's with a probability of just under one half; an
    outcome of a - 1 of them takes the rest.
    """
    a = max(int(f * (1 - q)) - 2, 1)
    while at_least(a, f, 1 - q) > 0.5:
        a += 1
    # An outcome of a - 1 is ((1 - q) / q)^(f - 2 (a - 1)) times as probable without the attack.
    rest = mpmath.mpf(0.5) - at_least(a, f, 1 - q)
    log_odds = mpmath.log1p(-q) - mpmath.log(q)
    return mpmath.log(at_least(a, f, q) + rest * mpmath.exp((f - 2 * (a - 1)) * log_odds))


@pytest.mark.parametrize(
    ("f", "q"),
    [
        (1, 1e-300),
        (1, 1e-12),
        (2, 1e-9),
        (5, 1e-13),
        (5_000, 0.37267),  # the critical error is about 1e-290
        (10**5, 0.4712),
        (10**5, 1e-3),
        (10**6, 0.45),
        (10**6, 0.4908),
        (3 * 10**7, 0.3),
        (10**8, 1e-4),
    ],
)
def test_far_radii_at_30_digits(f: int, q: float) -> None:
    with mpmath.workdps(30 - int(np.log10(q))):
        critical = log_critical_error(f, mpmath.mpf(q))
        at = float(critical)
        while at < critical:
            at = float(np.nextafter(at, 0))
    # What is lost to rounding is far less than the next flipped value costs.
    inside = at - 1e-8 - 3e-14 * f * np.log(f + 1)
    assert exact_radius(np.array([at]), q, 10**9)[0] < f
    assert exact_radius(np.array([inside]), q, 10**9)[0] == f
    assert exact_radius(np.array([inside]), q, f)[0] == f


def test_errors_of_a_test_set_for_all_values_of_a_large_training_set() -> None:
    """feature-flip: 10^9 examples of 785 values; the radii are of the size that theory gives."""
    errors = -np.geomspace(0.7, 1e5, 2163)
    found, published = exact_radius(errors, 0.499, 785 * 10**9), kl_radius(errors, 0.499)
    assert (found >= published).all() and found[-1] > 10**9
    # Far out the two differ by a factor that tends to 2.
    np.testing.assert_allclose(found[-1] / published[-1], 2, rtol=0.02)


def walked(errors: NDArray[np.float64], q: float, n: int, c: int, steps: int) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flips, "_STEPS", steps)
        return exact_radius(errors, q, n, c)


@pytest.mark.parametrize(("c", "q"), [(3, 0.1), (3, 0.6), (10, 0.4), (10, 0.85)])
def test_a_walk_that_ends_early_loses_nothing_but_radius(c: int, q: float) -> None:
    errors = -np.geomspace(0.694, 2000, 60)
    far, near = walked(errors, q, 3000, c, 4000), walked(errors, q, 3000, c, 30)
    np.testing.assert_array_equal(near[far < 30], far[far < 30])
    published = np.minimum(kl_radius(errors, q, c), 3000)
    assert (near <= far).all() and (near >= np.maximum(published, np.minimum(far, 30))).all()
    assert (near < far).any() and near.max() > 30
