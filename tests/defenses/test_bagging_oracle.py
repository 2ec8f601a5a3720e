"""Theorem 1 against every attack on toys: linear programs over base learners, and all tables.

Nothing here uses Eq. 4: an attack is a poisoned data set, a base learner is the probability of each
label for each subsample, and the oracle looks for the learner and the attack that break the vote.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import block_diag, csr_matrix

from harness.defenses.bagging import certified_poisoning_size
from harness.threats import Threat

THREATS = [Threat.ANY, Threat.MODIFY, Threat.INSERT, Threat.DELETE]
EPS = 1e-9
"""Linear programs are solved to about 1e-12; margins that are not 0 are above 1e-6 here."""

Dataset = tuple[int, ...]


def radius(p_lower: float, p_upper: float, n: int, k: int, threat: Threat) -> int:
    return int(certified_poisoning_size(np.array([p_lower]), np.array([p_upper]), n, k, threat)[0])


def sizes(n: int, r: int, threat: Threat) -> list[tuple[int, int]]:
    """Every (n', m) that at most r poisonings of n examples reach; an empty set trains nothing."""
    return [
        (n_, m)
        for n_ in range(1, n + r + 1)
        for m in range(min(n, n_) + 1)
        if {
            Threat.ANY: max(n, n_) - m <= r,
            Threat.MODIFY: n_ == n and n - m <= r,
            Threat.INSERT: m == n,
            Threat.DELETE: m == n_ and n - m <= r,
        }[threat]
    ]


def smallest_margins(
    x: NDArray[np.float64],
    ys: NDArray[np.float64],
    p_lower: float,
    p_upper: float,
    c: int,
) -> NDArray[np.float64]:
    """For each row of ``ys`` the smallest P_Y(0) - P_Y(1) of any randomised base learner.

    ``x`` (..., w) and ``ys`` (a, w): probabilities of w sets of subsamples, before and after each
    attack (``x`` one for all or one each). The learner gives label j with probability M[j, w],
    sums to 1, and has P_X(0) >= p_lower and P_X(j) <= p_upper for j > 0. One sparse program holds
    all attacks; they share no variable, so each is minimised by itself.
    """
    x = np.broadcast_to(x, ys.shape)
    w = ys.shape[1]
    bounds = [csr_matrix(np.kron(np.diag([-1.0] + [1.0] * (c - 1)), one)) for one in x]
    total = csr_matrix(np.kron(np.ones(c), np.eye(w)))
    signs = np.array([1.0, -1.0] + [0.0] * (c - 2))
    cost = np.concatenate([np.kron(signs, y) for y in ys])
    solved = linprog(
        cost,
        A_ub=block_diag(bounds, format="csr"),
        b_ub=np.tile([-p_lower] + [p_upper] * (c - 1), len(ys)),
        A_eq=block_diag([total] * len(ys), format="csr"),
        b_eq=np.ones(w * len(ys)),
        bounds=(0, 1),
    )
    assert solved.status == 0, solved.message
    return np.asarray((cost * solved.x).reshape(len(ys), -1).sum(axis=1))


PAIRS = [(0.9, 0.1), (0.75, 0.25), (0.99, 0.01), (0.6, 0.3), (0.8, 0.2), (0.5, 0.3), (0.85, 0.1)]
PAIRS += [(1.0, 0.0), (0.45, 0.44), (0.7, 0.02)]


@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("c", [2, 3])
def test_no_base_learner_breaks_a_certificate_and_one_breaks_the_next(
    n: int, k: int, c: int
) -> None:
    attacks = sizes(n, n, Threat.ANY)
    # Subsamples of D only, of D' only, of what they share: a randomised learner needs to tell no
    # more apart, as all subsamples of one of these have the same probability.
    x = np.array([[1 - (m / n) ** k, 0.0, (m / n) ** k] for _, m in attacks])
    ys = np.array([[0.0, 1 - (m / n_) ** k, (m / n_) ** k] for n_, m in attacks])
    for p_lower, p_upper in PAIRS:
        # With so little left for the others, label 0 has more than p_lower: not tight (Theorem 2).
        tight = p_lower + (c - 1) * p_upper >= 1 - EPS
        margins = dict(zip(attacks, smallest_margins(x, ys, p_lower, p_upper, c), strict=True))
        for threat in THREATS:
            r = radius(p_lower, p_upper, n, k, threat)
            assert 0 <= r < n
            assert min(margins[a] for a in sizes(n, r, threat)) > EPS, (p_lower, p_upper, threat)
            if tight and r + 1 < n:
                assert min(margins[a] for a in sizes(n, r + 1, threat)) <= EPS, (p_lower, threat)


def poisoned(clean: Dataset, new: Dataset, r: int, threat: Threat) -> Iterator[Dataset]:
    """Every poisoned set, as a sorted multiset over ``clean`` and ``new``, within r poisonings."""
    for size in range(1, len(clean) + r + 1):
        for other in itertools.combinations_with_replacement((*clean, *new), size):
            shared = (Counter(clean) & Counter(other)).total()
            if (size, shared) in sizes(len(clean), r, threat):
                yield other


@cache
def subsamples(universe: Dataset, k: int) -> tuple[Dataset, ...]:
    return tuple(itertools.product(universe, repeat=k))


def distribution(data: Dataset, universe: Dataset, k: int) -> NDArray[np.float64]:
    """The probability of each list of k draws from ``data``, over :func:`subsamples`."""
    count, size = Counter(data), len(data)
    chance = {value: Fraction(count[value], size) for value in universe}
    lists = subsamples(universe, k)
    out = []
    for one in lists:
        p = Fraction(1)
        for value in one:
            p *= chance[value]
        out.append(float(p))
    return np.array(out)


@pytest.mark.parametrize(("n", "k"), [(3, 1), (3, 2), (2, 3), (4, 2)])
@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize(("p_lower", "p_upper"), [(0.9, 0.1), (0.97, 0.03), (0.7, 0.2)])
def test_certificates_hold_for_randomised_learners_on_real_lists(
    n: int, k: int, threat: Threat, p_lower: float, p_upper: float
) -> None:
    """p_lower is no multiple of n^-k: the bound holds without the paper's delta_l and delta_s."""
    clean, new = tuple(range(n)), (n,)
    universe = clean + new
    r = radius(p_lower, p_upper, n, k, threat)
    attacks = list(poisoned(clean, new, min(r + 1, n - 1), threat))
    ys = np.array([distribution(data, universe, k) for data in attacks])
    margins = smallest_margins(distribution(clean, universe, k), ys, p_lower, p_upper, 3)
    within = np.array([data in set(poisoned(clean, new, r, threat)) for data in attacks])
    assert margins[within].min() > EPS
    if p_lower + 2 * p_upper >= 1 and r + 1 < n:
        assert margins[~within].min() <= EPS, (
            "one new example, many times over, is the worst attack"
        )


def all_tables(n_lists: int, c: int) -> NDArray[np.int8]:
    """Every deterministic base learner: the label that it gives each list, (c^n_lists, n_lists)."""
    index = np.arange(c**n_lists)
    return np.stack([(index // c**i % c).astype(np.int8) for i in range(n_lists)], axis=1)


@pytest.mark.parametrize(
    ("clean", "new", "k", "c"),
    [
        ((0, 1, 2), (3, 4), 1, 2),
        ((0, 1, 2), (3, 4), 1, 3),
        ((0, 1, 2, 3), (4, 5), 1, 3),
        ((0, 1, 2, 3, 4), (5,), 1, 2),
        ((0, 1, 1), (2, 3), 1, 2),
        ((0, 1), (2,), 2, 2),
        ((0, 1), (2,), 2, 3),
        ((0, 0, 1), (2,), 2, 3),
        ((0, 1, 2), (3,), 2, 2),
        ((0, 1), (), 3, 2),
        ((0, 0, 1), (), 3, 3),
    ],
    ids=str,
)
def test_every_base_learner_as_a_table(clean: Dataset, new: Dataset, k: int, c: int) -> None:
    """All learners, all attacks, exact label probabilities: never certified too much."""
    n, universe = len(clean), tuple(sorted({*clean, *new}))
    tables = all_tables(len(universe) ** k, c)

    def label_probabilities(data: Dataset) -> NDArray[np.float64]:
        chance = distribution(data, universe, k)
        return np.stack([(tables == label) @ chance for label in range(c)], axis=1)

    before = label_probabilities(clean)
    rows, voted = np.arange(len(tables)), before.argmax(axis=1)
    p_lower = before[rows, voted]
    rivals = before.copy()
    rivals[rows, voted] = -1
    p_upper = rivals.max(axis=1)

    margin = {}
    for data in poisoned(clean, new, n - 1, Threat.ANY):
        after = label_probabilities(data)
        kept = after[rows, voted].copy()
        after[rows, voted] = -1
        margin[data] = kept - after.max(axis=1)
    for threat in THREATS:
        radii = certified_poisoning_size(p_lower, p_upper, n, k, threat)
        assert (radii[p_lower <= p_upper] == -1).all()
        assert (radii < n).all()
        for r in range(n):
            certified = radii >= r
            for data in poisoned(clean, new, r, threat):
                assert (margin[data][certified] > EPS).all(), (threat, r, data)
