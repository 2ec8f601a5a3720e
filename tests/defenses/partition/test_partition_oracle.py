"""Elections against every attack on toys: all models, all rankings, all sets of rewritten parts.

Nothing here counts leads or powers. A table holds the winner for every combination of what m models
can say; an attack on some parts may put anything along the axes of the models that use them.
"""

import itertools
from collections import Counter
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.defenses.partition import elections, shared_parts

Ranking = tuple[int, ...]


@cache
def elect(ballots: tuple[Ranking, ...], election: str) -> int:
    """The winner, in the words of the definition; ``ballots`` in any order."""
    c = len(ballots[0])
    first = Counter(ballot[0] for ballot in ballots)
    by_votes = sorted(range(c), key=lambda label: (-first[label], label))
    if election == "plurality":
        return by_votes[0]
    a, b = sorted(by_votes[:2])
    for_a = sum(ballot.index(a) < ballot.index(b) for ballot in ballots)
    return a if 2 * for_a >= len(ballots) else b


def possible_ballots(c: int, election: str) -> list[Ranking]:
    """All rankings; where the first choice alone counts, one for each."""
    every = list(itertools.permutations(range(c)))
    return every if election == "run-off" else every[:: len(every) // c]


def all_winners(m: int, c: int, election: str) -> NDArray[np.int64]:
    """(q, ..., q), m times: the winner where model i gives ballot number index[i] of the q."""
    possible = possible_ballots(c, election)
    indices = itertools.product(range(len(possible)), repeat=m)
    winners = [elect(tuple(possible[i] for i in sorted(index)), election) for index in indices]
    return np.array(winners).reshape((len(possible),) * m)


def true_radii(table: NDArray[np.int64], offsets: tuple[int, ...]) -> NDArray[np.int64]:
    """How many rewritten parts each combination withstands, by trying all of them."""
    m = table.ndim
    radii = np.full(table.shape, m)
    for r in range(m, 0, -1):
        for parts in itertools.combinations(range(m), r):
            models = tuple({(part + offset) % m for part in parts for offset in offsets})
            low, high = table.min(models, keepdims=True), table.max(models, keepdims=True)
            radii = np.where(low != high, r - 1, radii)
    return radii


def said(m: int, c: int, election: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every combination: the first choices (m, e) and the place of each label (m, e, c)."""
    possible = np.array(possible_ballots(c, election))
    index = np.indices((len(possible),) * m).reshape(m, -1)
    return possible[index][..., 0], np.argsort(possible, axis=1)[index]


def votes_of(first: NDArray[np.int64], c: int) -> NDArray[np.int64]:
    return np.stack([(first == label).sum(axis=0) for label in range(c)], axis=1)


def preferences_of(places: NDArray[np.int64]) -> NDArray[np.int64]:
    return (places[..., :, None] < places[..., None, :]).sum(axis=0)


@pytest.mark.parametrize(
    ("m", "c"), [(1, 2), (4, 2), (7, 2), (1, 3), (3, 3), (7, 3), (8, 3), (3, 4), (6, 4)]
)
def test_plurality_of_disjoint_parts_is_exact(m: int, c: int) -> None:
    first, _ = said(m, c, "plurality")
    winner, radii = elections.plurality(votes_of(first, c))
    table = all_winners(m, c, "plurality")
    assert np.array_equal(winner, table.ravel())
    assert np.array_equal(radii, true_radii(table, (0,)).ravel())
    # So is one part for each model of Finite Aggregation, whichever.
    winner, radii = shared_parts.plurality(first, np.array([2 % m]), c)
    assert np.array_equal(winner, table.ravel())
    assert np.array_equal(radii, true_radii(table, (0,)).ravel())


@pytest.mark.parametrize(
    ("m", "c"), [(1, 2), (4, 2), (7, 2), (1, 3), (3, 3), (5, 3), (6, 3), (3, 4)]
)
def test_a_run_off_of_disjoint_parts_never_certifies_too_much(m: int, c: int) -> None:
    first, places = said(m, c, "run-off")
    table = all_winners(m, c, "run-off")
    exact = true_radii(table, (0,)).ravel()
    counted = elections.run_off(votes_of(first, c), preferences_of(places))
    found = [counted] if c == 2 else [counted, shared_parts.run_off(places, np.array([0]))]
    for winner, radii in found:
        assert np.array_equal(winner, table.ravel())
        assert (radii <= exact).all()
        assert (radii >= np.maximum(exact - 1, 0)).all()
        assert np.mean(radii == exact) > 0.95
    if c == 2:
        assert np.array_equal(counted[1], exact)


@pytest.mark.parametrize(("m", "c"), [(12, 3), (4, 4)])
def test_more_models_by_how_many_give_each_ranking(m: int, c: int) -> None:
    """Disjoint parts: an attack of size r reaches all counts of rankings that share m - r."""
    possible = possible_ballots(c, "run-off")
    sets = list(itertools.combinations_with_replacement(range(len(possible)), m))
    winners = np.array([elect(tuple(possible[i] for i in one), "run-off") for one in sets])
    counts = np.zeros((len(sets), len(possible)), np.uint8)
    np.add.at(counts, (np.repeat(np.arange(len(sets)), m), np.ravel(sets)), 1)
    chosen = np.random.default_rng(0).choice(len(sets), size=min(len(sets), 2000), replace=False)
    exact = []
    for i in chosen:
        shared = np.minimum(counts[winners != winners[i]], counts[i]).sum(axis=1, dtype=np.uint8)
        exact.append(m - int(shared.max()) - 1)
    places = np.argsort(np.array(possible), axis=1)[np.array(sets)[chosen]].transpose(1, 0, 2)
    votes = votes_of(places.argmin(axis=2), c)
    for winner, radii in (
        elections.run_off(votes, preferences_of(places)),
        shared_parts.run_off(places, np.array([3])),
    ):
        assert np.array_equal(winner, winners[chosen])
        assert (radii <= exact).all()
        assert np.mean(radii == exact) > 0.95
    assert max(exact) == m // 2


@pytest.mark.parametrize(
    ("m", "c", "offsets", "election"),
    [
        (2, 2, (0, 1), "plurality"),
        (10, 2, (1, 4), "plurality"),
        (11, 2, (0, 3, 4), "plurality"),
        (8, 3, (0, 2), "plurality"),
        (6, 3, (0, 1, 3), "plurality"),
        (6, 4, (0, 1), "plurality"),
        (6, 3, (0, 2), "run-off"),
        (6, 3, (1, 2, 4), "run-off"),
        (3, 4, (0, 1), "run-off"),
    ],
)
def test_shared_parts_never_certify_too_much(
    m: int, c: int, offsets: tuple[int, ...], election: str
) -> None:
    first, places = said(m, c, election)
    if election == "plurality":
        winner, radii = shared_parts.plurality(first, np.array(offsets), c)
    else:
        winner, radii = shared_parts.run_off(places, np.array(offsets))
    table = all_winners(m, c, election)
    assert np.array_equal(winner, table.ravel())
    # Nothing but soundness is promised; on these toys nothing is lost either.
    assert np.array_equal(radii, true_radii(table, offsets).ravel())


def powers_by_hand(
    first: NDArray[np.int64], offsets: NDArray[np.int64], winner: int, rival: int
) -> int:
    """Wang et al., Theorem 2, for one test example, in plain loops."""
    m = len(first)
    powers = sorted(
        (
            sum(
                1 + int(first[(h + s) % m] == winner) - int(first[(h + s) % m] == rival)
                for s in offsets
            )
            for h in range(m)
        ),
        reverse=True,
    )
    margin = int((first == winner).sum() - (first == rival).sum()) - (rival < winner)
    fit = 0
    while fit < m and sum(powers[: fit + 1]) <= margin:
        fit += 1
    return fit


def test_many_models_agree_with_the_theorem_in_loops() -> None:
    rng = np.random.default_rng(3)
    m, e, c = 41, 400, 4
    offsets = np.array([0, 7, 11, 30])
    first = rng.choice(c, size=(m, e), p=[0.1, 0.2, 0.6, 0.1])
    winner, radii = shared_parts.plurality(first.astype(np.uint8), offsets, c)
    expected = [
        min(powers_by_hand(first[:, i], offsets, int(w), j) for j in range(c) if j != w)
        for i, w in enumerate(winner)
    ]
    assert radii.tolist() == expected
    assert radii.max() > 1


def test_larger_elections_withstand_random_attacks() -> None:
    """60 models: every certified radius against attacks that rewrite that many parts."""
    rng = np.random.default_rng(5)
    m, c, e = 60, 4, 40
    leaning = rng.dirichlet([0.7] * c, size=e)
    scores = np.log(leaning) + rng.gumbel(size=(m, e, c))
    order = np.argsort(-scores, axis=2)
    places = np.argsort(order, axis=2)
    for offsets in (np.array([0]), np.array([0, 5, 17])):
        winner, radii = shared_parts.run_off(places, offsets)
        if len(offsets) == 1:
            votes = votes_of(order[..., 0], c)
            winner, radii = elections.run_off(votes, preferences_of(places))
        for i in range(e):
            ballots = [tuple(ballot) for ballot in order[:, i].tolist()]
            assert elect(tuple(ballots), "run-off") == winner[i]
            for _ in range(40):
                parts = rng.choice(m, size=min(int(radii[i]), m), replace=False)
                models = {int((h + s) % m) for h in parts for s in offsets}
                rest = [label for label in range(c) if label != winner[i]]
                lie = (*rng.permutation(rest).tolist(), int(winner[i]))
                forged = [lie if k in models else ballots[k] for k in range(m)]
                assert elect.__wrapped__(tuple(forged), "run-off") == winner[i]


def test_any_integers_will_do() -> None:
    votes = np.array([[7, 2, 0], [1, 1, 7]], dtype=np.uint8)
    winner, radii = elections.plurality(votes)
    assert winner.tolist() == [0, 2]
    assert radii.tolist() == [2, 2]
    assert elections.finalists(votes)[1].tolist() == [1, 2]
