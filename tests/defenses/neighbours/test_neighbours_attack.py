"""What turns a vote of neighbours is reached with one poisoning more than is proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.plugins.registry import Registry, load_dataset
from harness.threats import Threat

Attacked = Callable[[str, Dataset], Any]


@pytest.mark.parametrize("threat", list(Threat))
@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("defense", ["knn[k=1]", "knn[k=8]", "knn[k=60]"])
def test_knn_is_turned_by_one_more_than_proved(
    attacked: Attacked, noisy: Callable[..., Dataset], defense: str, n_labels: int, threat: Threat
) -> None:
    gaps = attacked(defense.replace("]", ",features=raw]"), noisy(n_labels)).gaps(threat, 1)
    assert len(gaps) == 8
    assert set(gaps) == {1}


@pytest.mark.parametrize("threat", list(Threat))
@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("radius", [0.1, 0.7, 5])
def test_rnn_is_turned_by_one_more_than_proved(
    attacked: Attacked, noisy: Callable[..., Dataset], radius: float, n_labels: int, threat: Threat
) -> None:
    data = noisy(n_labels)
    gaps = attacked(f"rnn[radius={radius},features=raw]", data).gaps(threat, 1)
    alone = radius == 0.1 and threat in (Threat.DELETE, Threat.LABEL_FLIP)
    assert set(gaps) == (set() if alone else {1})  # nobody votes there: nothing can be taken away


@pytest.mark.parametrize("threat", list(Threat))
@pytest.mark.parametrize("defense", ["knn[k=1]", "knn[k=4]", "knn[k=20]", "rnn[radius=0.004]"])
def test_identical_examples(
    attacked: Attacked, noisy: Callable[..., Dataset], defense: str, threat: Threat
) -> None:
    """Of a few different examples, most come more than once, with different labels, and test
    examples are among them. Nothing proved is refuted, and the exact ones stay exact where ties do
    not stand in the way: deletions and rnn.
    """
    spec = defense.replace("]", ",features=raw]")
    gaps = attacked(spec, noisy(3, values=3)).gaps(threat, 12)
    if threat is Threat.DELETE or defense.startswith("rnn"):
        assert set(gaps) == {1}
    elif threat is not Threat.INSERT:
        assert None not in gaps  # an exchange in such a group may cost as many as it has members
    else:
        assert 1 in gaps


def of_same_distance(n: int) -> Dataset:
    """Examples in one direction, so that all are at cosine distance 0 from each other."""
    x = np.arange(1, n + 2, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    y = np.arange(n + 1) % 5 // 4  # four of five are 0
    declared = Declaration(label_set=[0, 1], value_range=(0, 1000))
    return checked("rays", x[:n], y[:n], x[n:], y[n:], declared)


@pytest.mark.parametrize("threat", list(Threat))
def test_where_others_are_as_near_as_a_copy_the_nearest_is_copied(
    attacked: Attacked, threat: Threat
) -> None:
    """Content decides among examples at the same distance, and that of the test example may come
    last: an inserted one is then like the one that comes first.
    """
    cell = attacked("knn[k=3,features=raw,metric=cosine]", of_same_distance(40))
    assert set(cell.gaps(threat, 1)) == {1}


def test_more_neighbours_than_examples_are_left(
    attacked: Attacked, noisy: Callable[..., Dataset]
) -> None:
    """Of 20 training examples 19 vote: after a deletion or two all that are left do."""
    cell = attacked("knn[k=19,features=raw]", noisy(2, n_train=20))
    assert set(cell.gaps(Threat.DELETE, 1)) == {1}


def test_what_cannot_be_turned_is_not_attacked(attacked: Attacked) -> None:
    """All labels are 0, which is predicted without any example as well."""
    x = np.arange(9, dtype=np.uint8)[:, None]
    declared = Declaration(label_set=[0, 1], value_range=(0, 255))
    data = checked("one", x[:8], np.zeros(8), x[8:], np.zeros(1), declared)
    for defense in ("knn[k=3,features=raw]", "rnn[radius=1,features=raw]"):
        (aim,) = attacked(defense, data).aims(Threat.DELETE)
        assert aim.proved == 8
    (aim,) = attacked("rnn[radius=0,features=raw]", data).aims(Threat.LABEL_FLIP)
    assert aim.proved == 8
    for threat in (Threat.LABEL_FLIP, Threat.DELETE):
        assert aim.defense.attack(aim, threat, 3) is None


def test_of_the_digits_one_and_seven(attacked: Attacked, registry: Registry) -> None:
    """The defaults, on real images: distances in HOG features, thousands of votes."""
    data = load_dataset(registry, "mnist17", None)
    data = replace(
        data,
        x_train=data.x_train[:400],
        y_train=data.y_train[:400],
        x_test=data.x_test[:2],
        y_test=data.y_test[:2],
    )
    for defense in ("knn[k=201]", "rnn"):
        cell = attacked(defense, data)
        for threat in Threat:
            assert set(cell.gaps(threat, 1)) == {1}
