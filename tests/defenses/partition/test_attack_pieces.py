"""What the attack on partitions is made of: copies, chains of changes, choices, who is reached."""

import itertools

import numpy as np
import pytest
import torch

from harness.datasets.domain import Domain
from harness.defenses.partition.attack_chains import chains
from harness.defenses.partition.attack_choice import examples_in_turn, rows_in_turn
from harness.defenses.partition.attack_copies import copies
from harness.defenses.partition.attack_partitions import salted, shared
from harness.defenses.partition.attack_training import GONE, Change, Part, Trial, lead
from harness.defenses.partition.finite_aggregation import spread_offsets
from harness.defenses.partition.parts import canonical_order, digests, hashed_parts, salted_parts
from harness.learners.ridge import Ridge


def domain(dtype: str, lowest: float, highest: float, d: int) -> Domain:
    return Domain(("0", "1"), (d,), dtype, lowest, highest, 10)


@pytest.mark.parametrize(
    ("x", "lowest", "highest"),
    [
        (np.array([0, 255, 7, 8, 9, 200], np.uint8), 0, 255),
        (np.array([0, 1, 0, 1, 1, 0], np.uint8), 0, 1),
        (np.array([0.0, -1.0, 1.0, 0.5, -0.25, 3e-39], np.float32), -1, 1),
        (np.zeros(1, np.float32), 0, 1),
    ],
)
def test_copies_are_neighbours_in_the_domain(x: np.ndarray, lowest: float, highest: float) -> None:
    found = copies(x, domain(str(x.dtype), lowest, highest, x.size), 500)
    rows = found.rows(slice(None))
    assert rows.shape == (500, x.size)
    assert rows.dtype == x.dtype
    assert lowest <= rows.min()
    assert rows.max() <= highest
    assert ((rows != x).sum(axis=1) <= 2).all()
    assert (rows != x).any(axis=1).mean() > 0.9
    if x.dtype == np.float32:
        assert np.allclose(rows, x, rtol=1e-3, atol=1e-37)


def test_a_float_moves_by_one_unit_in_the_last_place() -> None:
    x = np.linspace(-3, 3, 200).astype(np.float32)
    rows = copies(x, domain("float32", -3, 3, 200), 300).rows(slice(None))
    changed = rows != x
    beside = (np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9)))
    assert ((rows == beside[0]) | (rows == beside[1]) | ~changed).all()


def test_small_examples_have_copies_enough() -> None:
    x = np.array([0.3, 0.7], np.float32)
    rows = copies(x, domain("float32", 0, 1, 2), 2000).rows(slice(None))
    assert len(np.unique(rows, axis=0)) > 900


@pytest.mark.parametrize("covers", ["features", "content"])
def test_who_is_reached_is_who_is_trained(covers: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(256, size=(60, 5)).astype(np.uint8), rng.integers(2, size=60)
    offsets = spread_offsets(11, 3)
    parts = hashed_parts(x, y, 11, covers)
    reached = shared(11, offsets, covers, run_off=False).reached(x, y)
    for model in range(11):
        own = np.concatenate([parts[(model - offset) % 11] for offset in offsets])
        assert sorted(own) == np.flatnonzero((reached == model).any(axis=1)).tolist()
    digest = digests(x, None if covers == "features" else y)
    both = salted(2, 7, covers).reached(x, y)
    for salt in range(2):
        for i, rows in enumerate(salted_parts(digest, canonical_order(digest, y), 7, salt)):
            assert sorted(rows) == np.flatnonzero(both[:, salt] == 7 * salt + i).tolist()


def trial(n: int, d: int = 6) -> tuple[Trial, np.ndarray]:
    rng = np.random.default_rng(n)
    y = rng.integers(2, size=n)
    x = rng.normal(size=(n, d)) + y[:, None] * 0.7
    asked = torch.from_numpy(rng.normal(size=(1, d)) * 0.3).float()
    return Trial(Ridge(penalty=0.3), torch.from_numpy(x).float(), asked, 2), y


def test_chains_of_flips_are_the_shortest() -> None:
    """Of ridge regressions, against all sets of labels that become the rival's."""
    of, y = trial(90)
    parts = [Part(rows, y[rows]) for rows in np.array_split(np.arange(90), 10)]
    scores = of.scores(parts)
    for rival in range(2):
        flips = [[Change(int(i), rival) for i in p.rows if y[i] != rival] for p in parts]
        wanted = scores.argmax(axis=1) != rival
        found = chains(of, parts, flips, rival, 2 * wanted.astype(np.int64), 10**6)
        assert sorted(found) == np.flatnonzero(wanted).tolist()
        for i, chain in found.items():
            fewer = []
            for some in itertools.combinations(flips[i], len(chain) - 1):
                part = parts[i]
                for change in some:
                    part = part.after(change)
                fewer.append(part)
            assert (lead(of.scores(fewer), rival) <= 0).all()


def test_chains_turn_what_they_say() -> None:
    of, y = trial(300)
    parts = [Part(rows, y[rows]) for rows in np.array_split(np.arange(300), 3)]
    votes = of.scores(parts).argmax(axis=1)
    gone = [
        [Change(int(i), GONE) for i in p.rows if y[i] == v]
        for p, v in zip(parts, votes, strict=True)
    ]
    copy = [[Change(of.n, 1 - int(v), copied=True)] * 90 for v in votes]
    for some in (gone, copy):
        for rival in range(2):
            gains = 2 * (votes != rival).astype(np.int64)
            found = chains(of, parts, some, rival, gains, 10**6)
            assert sorted(found) == np.flatnonzero(gains).tolist()
            for i, chain in found.items():
                part = parts[i]
                for change in chain:
                    part = part.after(change)
                assert lead(of.scores([part]), rival)[0] > 0


def test_no_more_is_tried_than_is_needed() -> None:
    of, y = trial(90)
    parts = [Part(rows, y[rows]) for rows in np.array_split(np.arange(90), 10)]
    copy = [[Change(of.n, 1, copied=True)] * 9 for _ in parts]
    gains = 2 * (of.scores(parts).argmax(axis=1) == 0).astype(np.int64)
    every = chains(of, parts, copy, 1, gains, 10**6)
    first = chains(of, parts, copy, 1, gains, 1)
    assert 0 < len(first) <= len(every)
    assert chains(of, parts, copy, 1, gains, 0) == {}


def test_rows_that_serve_two_models_are_paid_once() -> None:
    flips = {0: (1, 2, 3), 1: (3, 1), 2: (7,), 3: (2, 3, 4, 5)}
    found = {i: tuple(Change(row, 1) for row in rows) for i, rows in flips.items()}
    turn = rows_in_turn(found, np.array([2, 2, 1, 2]))
    assert [model for model, _ in turn] == [1, 0, 2, 3]
    paid = [row for _, rows in turn for row in rows]
    assert len(paid) == len(set(paid)) == 6
    assert len(dict(turn)[0]) == 1


def test_every_prefix_of_disjoint_choices_is_the_best() -> None:
    """One model each: against every choice of the same size."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        needed, gains = rng.integers(0, 2, size=7), rng.integers(1, 3, size=7)
        reached = rng.integers(7, size=(12, 1))
        chosen = examples_in_turn(reached, needed, gains)
        value = np.where(needed == 1, gains, 0)
        for r in range(1, 4):
            won = value[np.unique(reached[chosen[:r]])].sum()
            best = max(
                value[np.unique(reached[list(some)])].sum()
                for some in itertools.combinations(range(12), r)
            )
            assert won == best


def test_a_model_that_needs_two_gets_two() -> None:
    reached = np.array([[0], [1], [2]])
    chosen = examples_in_turn(reached, np.array([2, 1, 0]), np.array([2, 2, 2]))
    assert chosen == [1, 0, 0]
