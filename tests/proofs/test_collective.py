"""One attacker for all test examples, against every attack on toys and against exact arithmetic."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from harness.proofs import collective
from harness.proofs.collective import Ballot, Limits, ballot_of_models, proved_by

LIMITS = Limits(seconds=30, piece=100)


def winner(votes: tuple[int, ...], n_labels: int) -> int:
    counts = [votes.count(label) for label in range(n_labels)]
    return counts.index(max(counts))


def can_turn(votes: tuple[int, ...], rewritten: tuple[int, ...], n_labels: int) -> bool:
    """Whether some new votes of the rewritten models change the winner: all of them are tried."""
    before = winner(votes, n_labels)
    for new in itertools.product(range(n_labels), repeat=len(rewritten)):
        changed = list(votes)
        for model, label in zip(rewritten, new, strict=True):
            changed[model] = label
        if winner(tuple(changed), n_labels) != before:
            return True
    return False


def most_turned(
    predictions: NDArray[np.int64], n_labels: int, attacks: list[tuple[int, ...]]
) -> int:
    """The most test examples that one of the ``attacks``, sets of rewritten models, turns."""
    ballots = [tuple(int(label) for label in column) for column in predictions.T]
    return max(sum(can_turn(ballot, attack, n_labels) for ballot in ballots) for attack in attacks)


def in_all(ballot: Ballot, units: int, limits: Limits = LIMITS) -> int:
    return ballot.turned(np.ones(len(ballot.predictions), bool), units, limits)


CASES = [(m, c, seed) for m, c in ((3, 2), (5, 2), (4, 3), (5, 3)) for seed in range(6)]


@pytest.mark.parametrize(("m", "c", "seed"), CASES)
def test_parts_of_one_partition(m: int, c: int, seed: int) -> None:
    """Exactly what the best of all attacks turns; r rewritten parts are r rewritten models."""
    predictions = np.random.default_rng(seed).integers(0, c, (m, 6))
    ballot = ballot_of_models(predictions, c, np.zeros(m, np.int64), None)
    for r in range(1, m + 1):
        attacks = list(itertools.combinations(range(m), r))
        assert in_all(ballot, r) == most_turned(predictions, c, attacks)


@pytest.mark.parametrize(("c", "seed"), [(c, seed) for c in (2, 3) for seed in range(6)])
def test_parts_of_several_partitions(c: int, seed: int) -> None:
    """Three salted partitions of two parts: one unit rewrites a part in each of them."""
    predictions = np.random.default_rng(seed).integers(0, c, (6, 6))
    groups = np.array([0, 0, 1, 1, 2, 2])
    ballot = ballot_of_models(predictions, c, groups, None)
    each = [tuple(np.flatnonzero(groups == group)) for group in range(3)]
    attacks = [tuple(int(m) for m in chosen) for chosen in itertools.product(*each)]
    assert in_all(ballot, 1) == most_turned(predictions, c, attacks)
    assert in_all(ballot, 2) == most_turned(predictions, c, [tuple(range(6))])


@pytest.mark.parametrize(("c", "seed"), [(c, seed) for c in (2, 3) for seed in range(6)])
def test_parts_that_feed_several_models(c: int, seed: int) -> None:
    """Part h feeds the models h and h + 2 of five."""
    predictions = np.random.default_rng(seed).integers(0, c, (5, 6))
    feeds = [{h, (h + 2) % 5} for h in range(5)]
    fed = sparse.csr_array(
        [[float(model in feeds[part]) for part in range(5)] for model in range(5)]
    )
    ballot = ballot_of_models(predictions, c, np.zeros(5, np.int64), fed)
    for r in (1, 2, 3):
        attacks = [
            tuple(sorted(set().union(*(feeds[h] for h in parts))))
            for parts in itertools.combinations(range(5), r)
        ]
        assert in_all(ballot, r) == most_turned(predictions, c, attacks)


@pytest.mark.parametrize("seed", range(8))
def test_the_relaxation_pieces_and_a_solver_without_time_never_say_too_little(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = np.random.default_rng(seed).integers(0, 3, (6, 9))
    ballot = ballot_of_models(predictions, 3, np.zeros(6, np.int64), None)
    whole = [in_all(ballot, r) for r in range(1, 7)]
    pieces = [in_all(ballot, r, Limits(30, 2)) for r in range(1, 7)]
    in_no_time = [in_all(ballot, r, Limits(1e-9, 100)) for r in range(1, 7)]
    monkeypatch.setattr(collective, "_INTEGER", 0)
    relaxed = [in_all(ballot, r) for r in range(1, 7)]
    for r, exact in enumerate(whole):
        assert exact <= pieces[r] <= 9
        assert exact <= relaxed[r] <= 9
        assert exact <= in_no_time[r] <= 9


def test_only_those_that_are_asked_for_count() -> None:
    predictions = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 1]])
    ballot = ballot_of_models(predictions, 2, np.zeros(3, np.int64), None)
    assert ballot.turned(np.array([False, False, True]), 1, LIMITS) == 1
    assert ballot.turned(np.array([True, True, False]), 1, LIMITS) == 0
    assert ballot.turned(np.zeros(3, bool), 3, LIMITS) == 0


def test_what_counts_is_the_bound_and_not_the_attack_that_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A published mistake: a solver that stops early has found an attack, and proved something
    else. Here it has found one that turns a single example, and proved that none turns seven.
    """

    class Stopped:
        status, fun, mip_dual_bound = 1, -1.0, -6.4

    predictions = np.random.default_rng(1).integers(0, 3, (6, 9))
    ballot = ballot_of_models(predictions, 3, np.zeros(6, np.int64), None)
    monkeypatch.setattr(collective, "milp", lambda *args, **kwargs: Stopped)
    monkeypatch.setattr(collective, "proved_by", lambda *args: 9)
    assert in_all(ballot, 2) == 6


@pytest.mark.parametrize("bound", [-5.9999999, -6.0, -6.0000001])
def test_a_whole_number_is_not_lost_to_the_solvers_tolerance(
    bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Solved:
        status, fun, mip_dual_bound = 0, bound, bound

    predictions = np.random.default_rng(1).integers(0, 3, (6, 9))
    ballot = ballot_of_models(predictions, 3, np.zeros(6, np.int64), None)
    monkeypatch.setattr(collective, "milp", lambda *args, **kwargs: Solved)
    monkeypatch.setattr(collective, "proved_by", lambda *args: 9)
    assert in_all(ballot, 2) == 6


@pytest.mark.parametrize("seed", range(20))
def test_any_multipliers_prove_what_they_prove(seed: int) -> None:
    """Far from optimal or off by a rounding: never below the optimum, and never below the bound in
    exact arithmetic.
    """
    rng = np.random.default_rng(seed)
    matrix = sparse.csr_array(rng.integers(-3, 4, (5, 7)).astype(float))
    limits, objective = rng.integers(0, 4, 5).astype(float), rng.integers(0, 3, 7).astype(float)
    found = linprog(-objective, A_ub=matrix, b_ub=limits, bounds=(0, 1))
    best = np.maximum(-found.ineqlin.marginals, 0)
    for multipliers in (best, np.zeros(5), best * (1 + 1e-9), best + rng.random(5), rng.random(5)):
        proved = proved_by(multipliers, matrix, limits, objective)
        assert proved >= np.floor(-found.fun + 1e-9)
        assert proved >= exactly(multipliers, matrix, limits, objective) // 1
    assert proved_by(best, matrix, limits, objective) <= np.floor(-found.fun + 1e-6)


def exactly(
    multipliers: NDArray[np.float64],
    matrix: sparse.csr_array,
    limits: NDArray[np.float64],
    objective: NDArray[np.float64],
) -> Fraction:
    y = [Fraction(float(one)) for one in multipliers]
    rows = matrix.toarray()
    total = sum((a * Fraction(float(b)) for a, b in zip(y, limits, strict=True)), Fraction(0))
    for j, c in enumerate(objective):
        terms = (a * Fraction(float(row[j])) for a, row in zip(y, rows, strict=True))
        priced = sum(terms, Fraction(0))
        total += max(Fraction(float(c)) - priced, Fraction(0))
    return total
