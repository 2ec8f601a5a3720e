"""Elections of up to a million models, and many models that share parts: nothing overflows."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.defense import Evidence
from harness.defenses.partition import elections, shared_parts
from harness.defenses.partition.finite_aggregation import (
    FiniteAggregation,
    FiniteAggregationParameters,
)
from harness.threats import Threat

Counts = NDArray[np.int64]
KINDS = [np.uint32, np.int32, np.int64]


def ballots(c: int) -> NDArray[np.int64]:
    """(c!, c) the place of each label in each ranking."""
    return np.argsort(list(itertools.permutations(range(c))), axis=1)


def tally(counts: Counts) -> tuple[Counts, Counts]:
    """Votes (1, c) and preferences (1, c, c), from how many models give each of the rankings."""
    c = {2: 2, 6: 3, 24: 4}[len(counts)]
    places = ballots(c)
    prefers = places[:, :, None] < places[:, None, :]
    return counts @ (places == 0)[None], np.tensordot(counts, prefers, 1)[None]


@st.composite
def electorates(draw: st.DrawFn, most: int = 10**6) -> Counts:
    """How many of up to ``most`` models give each ranking of 2 to 4 labels."""
    size = draw(st.sampled_from([2, 6, 24]))
    some = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, most // size))
    counts = np.array(draw(st.lists(some, min_size=size, max_size=size)))
    counts[draw(st.integers(0, size - 1))] += draw(st.integers(1, most // size))
    return counts


@given(electorates(), st.sampled_from(KINDS))
@example(np.array([10**6, 0]), np.uint32)
@example(np.array([5 * 10**5, 5 * 10**5]), np.uint32)
@example(np.array([10**6, 0, 0, 0, 0, 0]), np.uint32)
def test_elections_of_any_size(counts: Counts, kind: Any) -> None:
    """The winner is the one of exact counting; no more than half of the models are withstood."""
    votes, preferences = tally(counts)
    m = int(counts.sum())
    winner, radii = elections.plurality(votes.astype(kind))
    assert winner[0] == max(range(votes.shape[1]), key=lambda j: (int(votes[0, j]), -j))
    assert 0 <= radii[0] <= m // 2
    second = sorted(votes[0].tolist())[-2]
    assert 2 * radii[0] <= votes[0, winner[0]] - second <= 2 * radii[0] + 2

    winner, radii = elections.run_off(votes.astype(kind), preferences.astype(kind))
    a, b = sorted(sorted(range(votes.shape[1]), key=lambda j: (-int(votes[0, j]), j))[:2])
    assert winner[0] == (a if preferences[0, a, b] >= preferences[0, b, a] else b)
    assert 0 <= radii[0] <= m // 2


@given(electorates(), st.integers(1, 1000), st.sampled_from(KINDS))
def test_a_larger_lead_is_never_certified_less(counts: Counts, more: int, kind: Any) -> None:
    votes, _ = tally(counts)
    winner, radii = elections.plurality(votes.astype(kind))
    rival = (winner[0] + 1) % votes.shape[1]
    moved = votes.copy()
    moved[0, winner[0]] += min(more, int(votes[0, rival]))
    moved[0, rival] -= min(more, int(votes[0, rival]))
    again, larger = elections.plurality(moved.astype(kind))
    assert again[0] == winner[0] and larger[0] >= radii[0]


@given(electorates(most=60), st.integers(1, 15_000), st.sampled_from(KINDS))
def test_many_models_withstand_what_few_do_many_times_over(
    counts: Counts, times: int, kind: Any
) -> None:
    """Small elections are checked against all attacks; so these are, up to the rounding."""
    for election in ("plurality", "run-off"):
        radii = []
        for scale in (1, times):
            votes, preferences = (each.astype(kind) for each in tally(counts * scale))
            found = elections.plurality(votes)
            if election == "run-off":
                found = elections.run_off(votes, preferences)
            radii.append(int(found[1][0]))
        less = radii[0] if election == "plurality" else radii[0] - 1
        assert less * times <= radii[1] <= (radii[0] + 1) * times


@st.composite
def rankings(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Places (m, e, c) of up to 400 models and up to m offsets (d,)."""
    m = draw(st.one_of(st.integers(1, 8), st.integers(1, 400)))
    c, e = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # From a coin toss among all labels to models that all agree.
    leaning = draw(st.sampled_from([0.0, 1.0, 5.0, 100.0])) * rng.random((e, c))
    scores = leaning + rng.gumbel(size=(m, e, c))
    places = np.argsort(np.argsort(-scores, axis=2), axis=2)
    offsets = rng.choice(m, size=draw(st.integers(1, m)), replace=False)
    kind = draw(st.sampled_from([np.uint8, np.uint16, np.int64]))
    return places.astype(kind), np.sort(offsets)


@given(rankings())
def test_shared_parts_of_any_number_of_models(
    drawn: tuple[NDArray[Any], NDArray[np.int64]],
) -> None:
    places, offsets = drawn
    m, e, c = places.shape
    first = places.argmin(axis=2)
    for winner, radii in (
        shared_parts.plurality(first.astype(places.dtype), offsets, c),
        shared_parts.run_off(places, offsets),
    ):
        assert winner.shape == radii.shape == (e,)
        assert ((winner >= 0) & (winner < c)).all()
        # Who rewrites every part, or half of those that no two models share, has it all.
        assert ((radii >= 0) & (radii < max(m, 1))).all()
        assert len(offsets) > 1 or (radii <= m // 2).all()
    alone = [shared_parts.run_off(places[:, [i]], offsets) for i in range(e)]
    assert [int(r[0]) for _, r in alone] == radii.tolist()
    votes = np.stack([(first == label).sum(axis=0) for label in range(c)], axis=1)
    if len(offsets) == 1:
        disjoint = elections.plurality(votes)
        for found, wanted in zip(shared_parts.plurality(first, offsets, c), disjoint, strict=True):
            assert np.array_equal(found, wanted)
    if len(offsets) == m:
        assert (radii == 0).all(), "every part is used by every model"


@given(rankings())
def test_a_run_off_of_two_labels_is_a_plurality(
    drawn: tuple[NDArray[Any], NDArray[np.int64]],
) -> None:
    places, offsets = drawn
    two = np.argsort(np.argsort(places[..., :2], axis=2), axis=2)
    found = shared_parts.run_off(two, offsets)
    wanted = shared_parts.plurality(two.argmin(axis=2), offsets, 2)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@given(rankings(), st.sampled_from(["plurality", "run-off"]))
def test_finite_aggregation_certifies_any_such_evidence(
    drawn: tuple[NDArray[Any], NDArray[np.int64]], election: Any
) -> None:
    places, offsets = drawn
    m, e, c = places.shape
    arrays = {"predictions": places.argmin(axis=2), "ranks": places, "offsets": offsets}
    defense = FiniteAggregation(
        FiniteAggregationParameters(n_models=m, spread=len(offsets), election=election)
    )
    evidence = Evidence(arrays, 10**9, c, 64)
    radii = {t: defense.certify(evidence, t, 0.001).radii for t in defense.covers()}
    for threat, found in radii.items():
        assert found.shape == (e,) and ((found >= 0) & (found < max(m, 1))).all()
        assert (radii[Threat.ANY] <= found).all(), threat


@pytest.mark.parametrize("m", [1, 255, 256, 300])
def test_all_models_agree_and_share_all_parts_but_one(m: int) -> None:
    """Powers up to 3 m: more than a small integer holds."""
    offsets = np.arange(max(m - 1, 1))
    for c in (2, 3):
        places = np.tile(np.arange(c), (m, 2, 1)).astype(np.uint8)
        for winner, radii in (
            shared_parts.plurality(places.argmin(axis=2).astype(np.uint8), offsets, c),
            shared_parts.run_off(places, offsets),
        ):
            assert winner.tolist() == [0, 0]
            # One part turns all but one of the models.
            assert radii.tolist() == [0, 0]
