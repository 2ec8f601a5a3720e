"""Labels that turn a ridge regression: as few as the certificate says, none fewer anywhere."""

from __future__ import annotations

import itertools
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
FLIP = Threat.LABEL_FLIP


@pytest.mark.parametrize("n_labels", [2, 3, 5])
@pytest.mark.parametrize("penalty", [1e-4, 0.01, 1.0])
def test_exact_ridge_is_turned_by_one_more_than_proved(
    attacked: Attacked, noisy: Callable[..., Dataset], n_labels: int, penalty: float
) -> None:
    gaps = attacked(f"exact-ridge[penalty={penalty},features=raw]", noisy(n_labels)).gaps(FLIP, 1)
    assert set(gaps) == {1}


@pytest.mark.parametrize(("n_labels", "n"), [(2, 12), (3, 9)])
def test_no_labelling_turns_a_smoothed_regression_with_fewer_changes(
    attacked: Attacked, n_labels: int, n: int
) -> None:
    """All labellings of a small training set, each by its mean score, with weights solved here."""
    data = corners(n_labels, n)
    cell = attacked("label-flip[q=0.1,penalty=0.1,features=raw]", data)
    labellings = np.array(list(itertools.product(range(n_labels), repeat=n)))
    changed = (labellings != data.y_train).sum(axis=1)
    sizes = []
    for aim in cell.aims(FLIP):
        turned = predictions(aim, labellings, penalty=0.1, q=0.1) != aim.predicted
        fewest = int(changed[turned].min())
        assert [cell.turns(aim, r) for r in (fewest - 1, fewest)] == [False, True]
        sizes.append(fewest)
    assert max(sizes) > 1


def corners(n_labels: int, n: int) -> Dataset:
    """Three bytes of which the one that the label names is large, more or less."""
    rng = np.random.default_rng(n)
    y = np.arange(n + 6) % n_labels
    x = rng.integers(0, 40, (n + 6, 3))
    x[np.arange(n + 6), y] += rng.integers(150, 215, n + 6)
    x = x.astype(np.uint8)
    declared = Declaration(label_set=np.arange(n_labels), value_range=(0, 255))
    return checked("corners", x[:n], y[:n], x[n:], y[n:], declared)


def predictions(aim: Any, labellings: np.ndarray, penalty: float, q: float) -> np.ndarray:
    """(m,) what the mean score predicts of a target, for labellings (m, n) of the training set."""
    ones = (aim.data.n_train, 1)
    x, x_test = aim.data.x_train / 255, aim.x[None] / 255
    phi, asked = np.hstack([x, np.ones(ones)]), np.hstack([x_test, np.ones((1, 1))])
    system = phi.T @ phi + penalty * len(phi) * np.eye(phi.shape[1])
    weights = (phi @ np.linalg.inv(system) @ asked.T)[:, 0]
    if aim.data.n_labels == 2:
        found: np.ndarray = np.where(labellings == 1, 1 - q, q) @ weights > 0.5
        return found.astype(int)
    scores = [(labellings == label) @ weights for label in range(aim.data.n_labels)]
    return np.argmax(scores, axis=0)


def test_of_the_digits_one_and_seven(attacked: Attacked, registry: Registry) -> None:
    data = load_dataset(registry, "mnist17", None)
    data = replace(
        data,
        x_train=data.x_train[:200],
        y_train=data.y_train[:200],
        x_test=data.x_test[:2],
        y_test=data.y_test[:2],
    )
    assert set(attacked("exact-ridge", data).gaps(FLIP, 1)) == {1}
