"""Which part an example belongs to: what an attacker can move, and what it cannot."""

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.defenses.partition.parts import balanced_parts, digests, distinct, hashed_parts

RNG = np.random.default_rng(1)
X = RNG.integers(0, 256, (200, 6, 6), dtype=np.uint8)
X[150:170] = X[:20]  # the same features again, with the same label or another
Y = RNG.integers(0, 3, 200)


def contents(parts: list[NDArray[np.int64]], x: NDArray[np.uint8], y: NDArray[np.int64]) -> list:
    """What each part's model is trained on, in order."""
    return [[(x[i].tobytes(), int(y[i])) for i in part] for part in parts]


def changed(before: list, after: list) -> int:
    return sum(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("covers", ["features", "content"])
def test_every_example_is_in_one_part(covers: str) -> None:
    parts = hashed_parts(X, Y, 30, covers)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert len(parts) == 30
    sizes = [
        len(part)
        for part in hashed_parts(np.arange(30_000)[:, None], Y[:1].repeat(30_000), 10, covers)
    ]
    assert max(abs(size - 3000) for size in sizes) < 250  # 5 standard deviations


@pytest.mark.parametrize("covers", ["features", "content"])
def test_the_order_of_the_examples_does_not_matter(covers: str) -> None:
    order = np.random.default_rng(2).permutation(200)
    before = contents(hashed_parts(X, Y, 30, covers), X, Y)
    assert contents(hashed_parts(X[order], Y[order], 30, covers), X[order], Y[order]) == before
    balanced = contents(balanced_parts(digests(X), Y, 30), X, Y)
    shuffled = balanced_parts(digests(X[order]), Y[order], 30)
    assert contents(shuffled, X[order], Y[order]) == balanced


@pytest.mark.parametrize("covers", ["features", "content"])
def test_one_poisoned_example_rewrites_the_parts_that_the_cost_table_says(covers: str) -> None:
    before = contents(hashed_parts(X, Y, 30, covers), X, Y)
    new = np.full((1, 6, 6), 9, np.uint8)
    x, y = np.concatenate([new, X]), np.concatenate([[1], Y])
    assert changed(before, contents(hashed_parts(x, y, 30, covers), x, y)) == 1
    most = {"delete": 0, "modify": 0, "flip": 0}
    for i in range(0, 200, 5):
        x, y = np.delete(X, i, axis=0), np.delete(Y, i)
        deleted = changed(before, contents(hashed_parts(x, y, 30, covers), x, y))
        x, y = X.copy(), Y.copy()
        y[i] = (y[i] + 1) % 3
        flipped = changed(before, contents(hashed_parts(x, y, 30, covers), x, y))
        x[i] = RNG.integers(0, 256, (6, 6))
        modified = changed(before, contents(hashed_parts(x, y, 30, covers), x, y))
        found = {"delete": deleted, "modify": modified, "flip": flipped}
        most = {key: max(most[key], found[key]) for key in most}
    assert most == {"delete": 1, "modify": 2, "flip": 1 if covers == "features" else 2}


def test_balanced_parts_are_equal_and_a_changed_label_rewrites_one() -> None:
    distinct_only, labels = X[:150], Y[:150]
    sizes = [len(part) for part in balanced_parts(digests(distinct_only), labels, 40)]
    assert set(sizes) == {3, 4}
    before = contents(balanced_parts(digests(X), Y, 40), X, Y)
    for i in range(200):
        for other in range(3):
            y = Y.copy()
            y[i] = other
            after = contents(balanced_parts(digests(X), y, 40), X, y)
            assert changed(before, after) == (Y[i] != other)


def test_distinct_examples() -> None:
    first, rank = distinct(digests(X))
    assert len(first) == 180
    assert np.array_equal(X[first][rank], X)
    assert len(np.unique(rank)) == 180


def test_the_digest_follows_from_the_values_alone() -> None:
    floats = RNG.normal(size=(20, 4, 4)).astype("<f4")
    expected = digests(floats, Y[:20])
    assert np.array_equal(digests(floats.astype(">f4"), Y[:20]), expected)
    assert np.array_equal(digests(np.asfortranarray(floats), Y[:20]), expected)
    assert np.array_equal(digests(floats[::-1], Y[:20][::-1])[::-1], expected)
    assert not (digests(floats, Y[:20] + 1) == expected).all(axis=1).any()
    assert digests(X[:1]).tolist() != digests(X[1:2]).tolist()
    assert expected.dtype == np.uint64
    assert np.unique(expected, axis=0).shape == (20, 2)


def test_digests_are_remembered_of_what_nobody_can_change_only() -> None:
    x, y = X[:20].copy(), Y[:20].copy()
    before = digests(x)
    x[3] += 1  # it may be changed: its digest is new
    assert (digests(x) != before).any(axis=1).nonzero()[0].tolist() == [3]
    seen = x.view()
    seen.flags.writeable = False
    before = digests(seen)
    x[5] += 1  # a view that cannot be written to, of what can
    assert (digests(seen) != before).any(axis=1).nonzero()[0].tolist() == [5]
    for array in (x, y):
        array.flags.writeable = False
    assert digests(x) is digests(x)
    assert digests(x, y) is digests(x, y)
    assert np.array_equal((digests(x, y) != digests(x)).any(axis=1), y > 0)
    other = x.copy()
    other.flags.writeable = False
    assert digests(other) is not digests(x)
    assert np.array_equal(digests(other), digests(x))
