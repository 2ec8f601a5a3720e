"""Hash bagging: partitions that differ, and radii against every way to rewrite their parts."""

import itertools

import numpy as np
import pytest

from harness.defenses.partition import elections
from harness.defenses.partition.hash_bagging import withstands
from harness.defenses.partition.parts import canonical_order, digests, salted_parts


def winner(votes: tuple[int, ...], c: int) -> int:
    counts = [votes.count(label) for label in range(c)]
    return counts.index(max(counts))


def true_radius(votes: tuple[int, ...], groups: tuple[int, ...], c: int) -> int:
    """The largest r such that no r rewritten parts in each partition turn the vote."""
    before = winner(votes, c)
    by_group = [[i for i, g in enumerate(groups) if g == group] for group in sorted(set(groups))]
    for r in range(1, max(map(len, by_group)) + 1):
        each = [itertools.combinations(own, min(r, len(own))) for own in by_group]
        for chosen in itertools.product(*each):
            models = [i for own in chosen for i in own]
            for new in itertools.product(range(c), repeat=len(models)):
                changed = list(votes)
                for i, label in zip(models, new, strict=True):
                    changed[i] = label
                if winner(tuple(changed), c) != before:
                    return r - 1
    return max(map(len, by_group))


@pytest.mark.parametrize(
    ("groups", "c"),
    [
        ((0, 0, 0, 1, 1, 1), 2),
        ((0, 0, 0, 1, 1, 1), 3),
        ((0, 0, 1, 1, 2, 2), 2),
        ((0, 1, 0, 1, 0), 3),
        ((0, 0, 0, 0), 3),
    ],
)
def test_radii_are_exact_for_every_vote(groups: tuple[int, ...], c: int) -> None:
    every = list(itertools.product(range(c), repeat=len(groups)))
    some = every if len(every) < 100 else every[:: len(every) // 100]
    predicted, radii = withstands(np.array(some).T, np.array(groups), c)
    for votes, label, radius in zip(some, predicted, radii, strict=True):
        assert label == winner(votes, c)
        assert radius == true_radius(votes, groups, c)


def test_one_partition_is_dpa() -> None:
    rng = np.random.default_rng(3)
    predictions = rng.choice(4, size=(40, 500), p=[0.4, 0.3, 0.2, 0.1])
    votes = np.stack([(predictions == label).sum(axis=0) for label in range(4)], axis=1)
    expected = elections.plurality(votes)
    found = withstands(predictions, np.zeros(40, np.int64), 4)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_many_test_examples_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    predictions, groups = rng.integers(0, 3, (12, 50)), np.arange(12) // 4
    whole = withstands(predictions, groups, 3)
    monkeypatch.setattr("harness.defenses.partition.hash_bagging._AT_ONCE", 1)
    for one, other in zip(whole, withstands(predictions, groups, 3), strict=True):
        assert np.array_equal(one, other)


N, PARTS = 4000, 10


def parts_of(x: np.ndarray, salt: int, n_parts: int = PARTS) -> np.ndarray:
    """(n,) the part of each example."""
    digest, y = digests(x), np.zeros(len(x), np.int64)
    found = np.empty(len(x), np.int64)
    for part, own in enumerate(salted_parts(digest, canonical_order(digest, y), n_parts, salt)):
        found[own] = part
    return found


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (N, 6, 6), dtype=np.uint8)


@pytest.mark.parametrize("other", [1, 2, 10, 999])
def test_partitions_are_not_one_whose_parts_are_renumbered(images: np.ndarray, other: int) -> None:
    """A published mistake: a hash plus a salt. Every pair of parts of two partitions has about as
    many examples in common as independent ones would.
    """
    joint = np.zeros((PARTS, PARTS))
    np.add.at(joint, (parts_of(images, 0), parts_of(images, other)), 1)
    expected = N / PARTS**2
    chi_squared = ((joint - expected) ** 2 / expected).sum()
    assert chi_squared < PARTS**2 + 6 * np.sqrt(2 * PARTS**2)


def test_a_part_depends_on_the_example_alone(images: np.ndarray) -> None:
    order = np.random.default_rng(6).permutation(N)
    assert np.array_equal(parts_of(images, 7)[order], parts_of(images[order], 7))
    assert np.array_equal(parts_of(images, 7)[:100], parts_of(images[:100], 7))


def test_parts_are_the_same_in_every_process() -> None:
    """Not Python's own hash, which is salted anew in every process. Computed with hashlib alone:
    the digest of the example, hashed with the partition's number.
    """
    assert parts_of(np.arange(8, dtype=np.uint8)[:, None], 1).tolist() == [6, 8, 8, 0, 4, 3, 6, 9]
