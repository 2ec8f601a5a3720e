"""The paired test against its definition, summed over all outcomes in whole numbers."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.comparing.paired import Paired, compare
from harness.results.pointwise import Pointwise


def exact_p(worse: int, better: int) -> Fraction:
    """Chance of a split at least as uneven, each changed example falling either way alike."""
    n = worse + better
    return sum(
        (Fraction(comb(n, i), 2**n) for i in range(n + 1) if abs(2 * i - n) >= abs(worse - better)),
        Fraction(0),
    )


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_value_is_that_of_the_exact_sign_test(worse, better):
    assert Paired(worse, better).p_value == pytest.approx(float(exact_p(worse, better)), rel=1e-9)


def test_what_is_noise():
    assert Paired(0, 0).noise
    assert Paired(5, 0).noise  # p = 0.0625
    assert not Paired(6, 0).noise  # p = 0.03125
    assert Paired(1000, 1000).noise


def test_examples_are_compared_one_by_one():
    labels = np.array([1, 1, 1, 1, 0, 0])
    base = Pointwise(np.array([1, 1, 1, 0, 0, 1]), np.array([9, 5, 5, 7, -1, 3]), labels)
    new = Pointwise(np.array([1, 1, 0, 1, 0, 1]), np.array([9, 3, 8, 4, 2, 9]), labels)
    assert compare("clean_accuracy", base, new, None) == Paired(worse=1, better=1)
    assert compare("certified_accuracy", base, new, 5) == Paired(worse=2, better=0)
    assert compare("certified_accuracy", base, new, 0) == Paired(worse=1, better=2)
    assert compare("abstained", base, new, None) == Paired(worse=0, better=1)
    assert compare("median_radius", base, new, 4) == Paired(worse=2, better=1)
    assert compare("max_radius", base, new, None) is None


def test_too_few_examples_and_others_are_not_paired():
    five = Pointwise(np.ones(5, dtype=int), np.full(5, 9), np.ones(5, dtype=int))
    lost = Pointwise(np.zeros(5, dtype=int), np.full(5, 9), np.ones(5, dtype=int))
    assert compare("clean_accuracy", five, lost, None) is None  # 5 of 5 would be p = 0.0625
    six, other = (
        Pointwise(np.ones(6, dtype=int), np.full(6, 9), np.array([1, 1, 1, 1, 1, last]))
        for last in (0, 1)
    )
    assert compare("clean_accuracy", six, other, None) is None
