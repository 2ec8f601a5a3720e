"""Rows on disk: found by content alone, and a file that is damaged costs its rows and no more."""

from collections import Counter

import numpy as np
import pytest
import torch

from harness.features import cache
from harness.features.base import Features
from harness.features.cache import RowCache, compute, digests_of


class Counted(Features):
    """Sums of examples, and how often each was asked for."""

    name = "counted"
    summary = "sums"

    def __init__(self):
        self.asked = Counter()

    def count(self, example):
        return 2

    def rows(self, x):
        self.asked.update(int(one.sum()) for one in x)
        total = torch.from_numpy(x.reshape(len(x), -1).sum(1).astype(np.float32))
        return torch.stack([total, total / 2], 1)


X = np.random.default_rng(0).permutation(1000)[:60].astype(np.uint8).reshape(30, 2, 1)


def computed(x, folder, features=None, told=None):
    features = features or Counted()
    written = []

    def write(path, content):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        written.append(path)

    damaged = [] if told is None else told
    rows = compute(
        features, x, RowCache(folder, damaged.append), write=write, working=lambda *_: None
    )
    assert torch.equal(rows, Counted().compute(x))
    return features, written


def test_each_content_is_computed_once_whichever_array_it_is_in(tmp_path):
    twice = np.concatenate([X, X[:7]])
    features, written = computed(twice, tmp_path / "a")
    assert set(features.asked.values()) == {1} or len(set(map(int, X.sum((1, 2))))) < len(X)
    assert sum(features.asked.values()) == len(X)
    assert len(written) == 1
    features, written = computed(X[::-1], tmp_path / "a")
    assert not features.asked
    assert not written
    other = np.concatenate([X[3:5], X[:2] + 1])
    features, written = computed(other, tmp_path / "a")
    assert sum(features.asked.values()) == 2


def test_some_thousand_are_kept_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "AT_ONCE", 8)
    _, written = computed(X, tmp_path / "a")
    assert len(written) == len({path.name for path in written}) == 4
    told: list[object] = []
    written[1].write_bytes(written[1].read_bytes()[:-40])
    features, again = computed(X, tmp_path / "a", told=told)
    assert told == [written[1]]
    assert sum(features.asked.values()) == 8
    assert again == [written[1]]
    assert computed(X, tmp_path / "a")[1] == []


@pytest.mark.parametrize("where", [200, -120, 60])
def test_a_byte_that_was_changed_is_seen(tmp_path, where):
    _, (path,) = computed(X, tmp_path / "a")
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    computed(X, tmp_path / "a")


def test_files_that_are_something_else(tmp_path):
    _, (path,) = computed(X, tmp_path / "a")
    for arrays in (
        {"rows": np.zeros((2, 3), np.float32)},
        {"rows": np.zeros((2, 3)), "digests": np.zeros((2, 16), np.uint8)},
        {"rows": np.zeros((2, 3), np.float32), "digests": np.zeros((3, 16), np.uint8)},
        {"rows": np.zeros((2, 3), np.float32), "digests": np.zeros((2, 8), np.uint8)},
        {"rows": np.array([None]), "digests": np.zeros((1, 16), np.uint8)},
    ):
        told: list[object] = []
        with open(path, "wb") as file:
            np.savez(file, **arrays)
        computed(X, tmp_path / "a", told=told)
        assert told == [path]


def test_a_digest_is_of_the_values_of_one_example():
    assert np.array_equal(digests_of(X), digests_of(np.asfortranarray(X)))
    assert len(np.unique(digests_of(X))) == len(np.unique(X.reshape(30, -1), axis=0))
