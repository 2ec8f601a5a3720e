"""What the defenses leave does not follow places, blocks or chunks; and who their voters are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.defense import Evidence, Shape
from harness.defenses.neighbours import Knn, Rnn, distances, gathering
from harness.defenses.neighbours.knn import KnnParameters
from harness.defenses.neighbours.ranking import Ranking
from harness.defenses.neighbours.rnn import RnnParameters
from harness.defenses.neighbours.voters import Voters, unpacked
from harness.defenses.partition.parts import canonical_order, digests
from harness.errors import UsageError
from harness.plugins.lookup import Installed
from harness.plugins.registry import Registry
from harness.threats import Threat

DEFENSES = [
    Knn(KnnParameters(k=7, features="raw")),
    Knn(KnnParameters(k=300, features="raw", metric="manhattan")),
    Rnn(RnnParameters(radius=1.5, features="raw")),
]


class GridTask:
    """Points of a coarse grid, as a block of test examples sees them: most distances are ties."""

    def __init__(self, models: range = range(40), seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.x_train, self.x_test = (rng.integers(0, 4, (m, 3)).astype(np.uint8) for m in (200, 40))
        self.y_train = rng.integers(0, 3, 200)
        self.models, self.seen = models, 0
        self.shape = SimpleNamespace(n_labels=4)

    def features(self, spec: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.x_train).float(), torch.from_numpy(self.x_test).float()

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def advance(self, models: int) -> None:
        self.seen += models


def left(defense: Any, task: GridTask) -> Mapping[str, np.ndarray]:
    arrays: Mapping[str, np.ndarray] = defense.gather(task)
    assert task.seen == len(task.models)
    return arrays


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all((one[key] == other[key]).all() for key in one)


@pytest.mark.parametrize("defense", DEFENSES)
def test_the_order_of_the_training_set_does_not_matter(defense: Any) -> None:
    task, shuffled = GridTask(), GridTask()
    order = np.random.default_rng(1).permutation(200)
    shuffled.x_train, shuffled.y_train = task.x_train[order], task.y_train[order]
    assert same(left(defense, task), left(defense, shuffled))


@pytest.mark.parametrize("defense", DEFENSES)
def test_neither_blocks_nor_chunks_matter(defense: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = left(defense, GridTask())
    monkeypatch.setattr(distances, "_AT_ONCE", 450)
    blocks = [range(13), range(13, 14), range(14, 40)]
    parts = [left(defense, GridTask(block)) for block in blocks]
    assert same(defense.merge(parts), whole)


@pytest.mark.parametrize("radius", [0.0, 1.0, 1.4, 2.0, 6.0])
def test_examples_on_the_border_of_a_radius_vote(radius: float) -> None:
    task = GridTask()
    votes = left(Rnn(RnnParameters(radius=radius, features="raw", step=1)), task)["votes"]
    x, x_test = task.x_train.astype(int), task.x_test.astype(int)
    near = ((x_test[:, None] - x[None]) ** 2).sum(2) <= radius**2
    wanted = [[(near[i] & (task.y_train == label)).sum() for label in range(4)] for i in range(40)]
    assert votes.tolist() == wanted


def test_blocks_follow_what_is_public(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_AT_ONCE", 1000)
    for defense in DEFENSES[::2]:
        shapes = [Shape(n, 25, 2, (3,), n_public=100) for n in (98, 100, 102)]
        found = [defense.blocks(shape, Installed(registry, (3,))) for shape in shapes]
        assert found == [[range(10), range(10, 20), range(20, 25)]] * 3


def test_more_neighbours_than_there_are_is_one_line() -> None:
    defense = DEFENSES[1]
    defense.check(Shape(250, 5, 2, (3,), n_public=300))
    with pytest.raises(UsageError, match=r"k=300 .* allowed: k from 1 to 299$"):
        defense.check(Shape(350, 5, 2, (3,), n_public=299))


def test_a_label_that_nobody_has_is_a_rival() -> None:
    """Copies with label 3 win the vote as soon as they are as many as any others'."""
    defense = DEFENSES[0]
    votes = np.array([[4, 0, 0, 0], [0, 0, 0, 4]])
    arrays = {"votes": votes, "insert": np.array([3, 3]), "delete": np.array([9, 9])}
    evidence = Evidence(arrays, 200, 4, 3)
    assert defense.certify(evidence, Threat.ANY, 0.1).radii.tolist() == [2, 1]
    assert defense.certify(evidence, Threat.INSERT, 0.1).radii.tolist() == [3, 3]
    assert defense.certify(evidence, Threat.DELETE, 0.1).radii.tolist() == [9, 9]


@pytest.mark.parametrize("k", [1, 2, 7, 60, 199, 200, 201])
def test_voters_are_those_whose_labels_are_counted(k: int) -> None:
    task = GridTask()
    digest = digests(task.x_train)
    order = canonical_order(digest, task.y_train)
    y = task.y_train[order]
    voters, ranking = Voters(digest[order], y, 40), Ranking(y, 4)
    apart = distances.Distances(*task.features("raw"), "euclidean", 1, order)
    (chunk,) = apart.chunks()
    for i, distance in enumerate(chunk):
        voters.put(i, ranking.by(distance).voting(k))
    arrays = gathering.joined([voters.arrays()])
    found = unpacked(arrays["voters"], 200)
    votes = left(Knn(KnnParameters(k=k, features="raw", step=1)), task)["votes"]
    assert (np.stack([np.bincount(y[one], minlength=4) for one in found]) == votes).all()
    assert (arrays["voter_labels"] == y).all()
    # Of 64 points that 200 examples share, those with one voter and one who is none are tied.
    x = task.x_train[order]
    for one, tied in zip(found, arrays["tied"], strict=True):
        inside, outside = ({tuple(row) for row in x[which].tolist()} for which in (one, ~one))
        assert tied == bool(inside & outside)


def test_what_blocks_have_in_common_is_kept_once() -> None:
    part = {"voters": np.zeros((2, 1), np.uint8), "voter_labels": np.arange(8)}
    joined = gathering.joined([part, part])
    assert joined["voters"].shape == (4, 1)
    assert joined["voter_labels"].tolist() == list(range(8))
