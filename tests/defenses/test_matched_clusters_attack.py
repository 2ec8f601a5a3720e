"""Labels that give a cluster another meaning: as few as proved and one, or nearly so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.threats import Threat

Attacked = Callable[[str, Dataset], Any]
FLIP = Threat.LABEL_FLIP


def clustered(n_labels: int, wrong: float, seed: int, n: int = 60) -> Dataset:
    """Two bytes around as many places as labels, of which some are wrong."""
    rng = np.random.default_rng([seed, n_labels])
    places = rng.integers(20, 230, (n_labels, 2))
    y = rng.integers(0, n_labels, n + 8)
    x = np.clip(places[y] + rng.normal(0, 15, (n + 8, 2)), 0, 255).astype(np.uint8)
    flipped = rng.random(n + 8) < wrong
    y[flipped] = rng.integers(0, n_labels, flipped.sum())
    declared = Declaration(label_set=np.arange(n_labels), value_range=(0, 255))
    return checked("clustered", x[:n], y[:n], x[n:], y[n:], declared)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n_labels", "clusters"), [(2, 0), (2, 5), (3, 9), (4, 6)])
def test_exact_for_two_labels_and_for_more_clusters_than_labels(
    attacked: Attacked, n_labels: int, clusters: int, seed: int
) -> None:
    cell = attacked(
        f"matched-clusters[clusters={clusters},features=raw]", clustered(n_labels, 0.3, seed)
    )
    assert set(cell.gaps(FLIP, 1)) == {1}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_labels", [3, 5])
@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.8])
def test_at_most_three_more_where_a_third_assignment_may_stay_ahead(
    attacked: Attacked, n_labels: int, wrong: float, seed: int
) -> None:
    cell = attacked("matched-clusters[features=raw]", clustered(n_labels, wrong, seed))
    gaps = cell.gaps(FLIP, 3)
    assert gaps and None not in gaps


def test_the_labels_of_other_clusters(attacked: Attacked) -> None:
    """No example of the cluster has the label that it means: 0 is left for it, with 11 labels that
    agree, and 8 would if it meant 2. Two that become 0 in another cluster make that 9 and 10.
    """
    x = np.repeat(np.array([[0, 0], [100, 0], [0, 200]], np.uint8), [2, 6, 6], axis=0)
    y = np.array([1, 2, *[1] * 6, *[2] * 5, 0])
    declared = Declaration(label_set=[0, 1, 2], value_range=(0, 255))
    data = checked("three", x, y, x[:1], y[:1], declared)
    (aim,) = attacked("matched-clusters[features=raw]", data).aims(FLIP)
    assert (aim.predicted, aim.proved) == (0, 1)
    plan = aim.defense.attack(aim, FLIP, 14)
    assert plan.size(FLIP) == 2
    plan.check(data, FLIP, 2)
    assert aim.ask(plan).turned
