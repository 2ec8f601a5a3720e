"""BagFlip's radii against all outcomes of small draws in exact arithmetic, and published values."""

import itertools
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp

from harness.defenses.bagging import certified_poisoning_size
from harness.proofs.bagflip import BagFlip
from harness.threats import Threat

Outcomes = dict[Fraction, list[Fraction]]


@pytest.mark.parametrize(("values", "expected"), [(1, [37, 88]), (2, [36, 83])])
def test_check_values(values: int, expected: list[int]) -> None:
    proof = BagFlip(n=13_007, k=100, keep=0.9, others=1, values=values)
    p = np.array([0.7, 0.9])
    assert proof.radii(p, 1 - p).tolist() == expected


def outcomes(
    n: int, k: int, keep: Fraction, others: int, values: int, r: int
) -> list[list[Fraction]]:
    """(probability when clean, probability when poisoned) of everything that can be drawn and
    become of it: nothing is merged, no ratio is a power of anything. Changed examples are the first
    r; each changed value is 0 when clean and 1 when poisoned.
    """
    beta = (1 - keep) / others
    alphabet = range(others + 1)
    found = []
    for drawn in itertools.product(range(n), repeat=k):
        changed = sum(i < r for i in drawn) * values
        for became in itertools.product(alphabet, repeat=changed):
            clean = poisoned = Fraction(1, n**k)
            for value in became:
                clean *= keep if value == 0 else beta
                poisoned *= keep if value == 1 else beta
            found.append([clean, poisoned])
    return found


def extreme(found: list[list[Fraction]], p: Fraction, *, least: bool) -> Fraction:
    """The least or the most poisoned mass of a (random) set of outcomes of clean mass p."""
    by_ratio: Outcomes = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for clean, poisoned in found:
        pair = by_ratio[clean / poisoned]
        pair[0] += clean
        pair[1] += poisoned
    left, mass = p, Fraction(0)
    for ratio in sorted(by_ratio, reverse=least):
        clean, poisoned = by_ratio[ratio]
        part = min(Fraction(1), left / clean)
        mass += part * poisoned
        left -= part * clean
    return mass


SMALL = [
    (3, 2, Fraction(9, 10), 1, 1),
    (4, 2, Fraction(3, 5), 1, 2),
    (3, 2, Fraction(1, 2), 2, 1),
    (3, 3, Fraction(4, 5), 1, 1),
    (2, 1, Fraction(2, 3), 3, 2),
]
PROBABILITIES = [Fraction(i, 20) for i in range(21)]


@pytest.mark.parametrize(("n", "k", "keep", "others", "values"), SMALL)
def test_every_pair_of_bounds_against_every_outcome(
    n: int, k: int, keep: Fraction, others: int, values: int
) -> None:
    proof = BagFlip(n, k, float(keep), others, values)
    for r in range(n + 1):
        found = outcomes(n, k, keep, others, values, r)
        assert sum(clean for clean, _ in found) == sum(q for _, q in found) == 1
        for low, high in itertools.product(PROBABILITIES, repeat=2):
            if low + high > 1 or low <= high:
                continue
            margin = extreme(found, low, least=True) - extreme(found, high, least=False)
            held = proof.holds(r, float(low), float(high))
            if abs(margin) > Fraction(1, 10**9):
                assert held == (margin > 0), (r, low, high)
            else:
                assert not held or margin > 0


@pytest.mark.parametrize("values", [1, 2, 3])
@pytest.mark.parametrize("others", [1, 9])
def test_more_digits_say_the_same(values: int, others: int) -> None:
    """At 50 digits, from the multinomial distribution, at the radius and just beyond."""
    mp.dps = 50
    n, k, keep = 1000, 20, 0.8
    proof = BagFlip(n, k, keep, others, values)
    lower = np.array([0.6, 0.75, 0.9, 0.99])
    radii = proof.radii(lower, 1 - lower)
    for p, radius in zip(lower, radii, strict=True):
        if 0 < radius < n:
            assert margin(n, k, keep, others, values, int(radius), p) > 0
            assert margin(n, k, keep, others, values, int(radius) + 1, p) < mp.mpf(10) ** -9


def margin(n: int, k: int, keep: float, others: int, values: int, r: int, p: float) -> mp.mpf:
    """What the voted label keeps at least, less one half, for two labels of p and 1 - p."""
    rho = mp.mpf(keep)
    beta = (1 - rho) / others
    clean: dict[int, mp.mpf] = defaultdict(lambda: mp.mpf(0))
    for c in range(k + 1):
        q = mp.mpf(r) / n
        weight = mp.binomial(k, c) * q**c * (1 - q) ** (k - c)
        m = c * values
        for up in range(m + 1):
            for down in range(m - up + 1):
                stay = m - up - down
                if stay and others == 1:
                    continue
                ways = mp.factorial(m) / mp.factorial(up) / mp.factorial(down) / mp.factorial(stay)
                middle = ((others - 1) * beta) ** stay if stay else 1
                clean[up - down] += weight * ways * rho**up * beta**down * middle
    left, kept = mp.mpf(float(p)), mp.mpf(0)
    for level in sorted(clean, reverse=True):
        part = min(left, clean[level])
        kept += part / clean[level] * clean[-level]
        left -= part
    return kept - mp.mpf(1) / 2


@pytest.mark.parametrize("r", [1, 500_001, 500_002, 999_999, 1_000_002, 1_000_003])
def test_rounding_covers_what_outcomes_are_off_by(r: int) -> None:
    """Exact fractions, also where nearly every example is changed."""
    n, k, keep = 1_000_003, 20, 0.9
    proof = BagFlip(n, k, keep, others=1, values=1)
    rho, changed = Fraction(keep), Fraction(r, n)
    draw = {0: 1 - changed, -1: changed * (1 - rho), 1: changed * rho}
    exact = {0: Fraction(1)}
    for _ in range(k):
        more: dict[int, Fraction] = defaultdict(Fraction)
        for level, mass in exact.items():
            for step, part in draw.items():
                more[level + step] += mass * part
        exact = more
    clean, poisoned = proof._outcomes(r)
    for level, mass in exact.items():
        for found in (clean[k - level], poisoned[k + level]):
            assert abs(Fraction(float(found)) - mass) <= mass * Fraction(proof._rounding)


@pytest.mark.parametrize("k", [1, 10, 50])
@pytest.mark.parametrize("keep", [0.55, 0.9, 0.999])
def test_noise_never_proves_less_than_bagging_alone(k: int, keep: float) -> None:
    p = np.linspace(0.5, 1, 26)
    plain = certified_poisoning_size(p, 1 - p, 2000, k, Threat.MODIFY)
    for values in (1, 30):
        assert (BagFlip(2000, k, keep, 1, values).radii(p, 1 - p) >= plain).all()


def test_radii_fall_with_values_and_rise_with_certainty() -> None:
    p = np.linspace(0.5, 1, 40)
    before = None
    for values in (1, 2, 4, 8):
        radii = BagFlip(5000, 30, 0.8, 1, values).radii(p, 1 - p)
        assert (np.diff(radii) >= 0).all()
        assert before is None or (radii <= before).all()
        before = radii


def test_what_is_not_ahead_is_not_certified() -> None:
    proof = BagFlip(100, 5, 0.9, 1, 1)
    assert proof.radii(np.array([0.5, 0.4, 0.5]), np.array([0.5, 0.6, 0.4])).tolist()[:2] == [
        -1,
        -1,
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((10, 0, 0.9, 1, 1), "at least 1"),
        ((10, 3, 0.5, 1, 1), "keep=0.5 must lie between 0.5 and 1"),
        ((10, 3, 1.0, 1, 1), "keep=1 must lie"),
        ((10, 3, 0.3, 2, 1), "between 0.333333 and 1"),
    ],
)
def test_what_it_refuses(arguments: tuple[int, int, float, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BagFlip(*arguments)
