"""Distances and ranks: what they are, and that no other example moves them."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from harness.defenses.neighbours import distances
from harness.defenses.neighbours.distances import Distances, Metric, on_grid, within
from harness.defenses.neighbours.ranking import Ranking

METRICS: list[Metric] = ["euclidean", "manhattan", "cosine"]


def all_of(x: torch.Tensor, x_test: torch.Tensor, metric: Metric, step: float) -> np.ndarray:
    return np.concatenate(list(Distances(x, x_test, metric, step).chunks()))


def features(n: int, d: int, scale: float, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [0.1, 300.0], ids=["float32", "float64"])
def test_distances_are_those_of_whole_numbers(metric: Metric, scale: float) -> None:
    x, x_test = features(40, 33, scale), features(7, 33, scale, seed=1)
    found = all_of(x, x_test, metric, 2**-10)
    single = scale < 1 or metric == "cosine"
    assert found.dtype == (np.float32 if single else np.float64)
    rows, tests = (
        [[int(v) for v in row] for row in on_grid(some, metric, 2**-10).tolist()]
        for some in (x, x_test)
    )
    for i, test in enumerate(tests):
        for j, row in enumerate(rows):
            apart = [abs(a - b) for a, b in zip(row, test, strict=True)]
            power = 1 if metric == "manhattan" else 2
            assert found[i, j] == sum(one**power for one in apart)


def test_directions_have_one_length() -> None:
    x = torch.tensor([[3.0, 4.0], [30.0, 40.0], [-0.5, 0.0], [0.0, 0.0]])
    assert on_grid(x, "cosine", 2**-10).tolist() == [[614, 819], [614, 819], [-1024, 0], [0, 0]]


@pytest.mark.parametrize("metric", METRICS)
def test_an_example_far_out_moves_no_other_distance(metric: Metric) -> None:
    """It is too large for float32: all distances are then computed in float64, to the same bits."""
    x, x_test = features(40, 33, 0.1), features(7, 33, 0.1, seed=1)
    before = all_of(x, x_test, metric, 2**-10)
    after = all_of(torch.cat([x, torch.full((1, 33), 2.0**40)]), x_test, metric, 2**-10)
    assert (after[:, :-1] == before).all()
    assert (after[:, -1] > before.max()).all() or metric == "cosine"
    assert (after < 2**53).all()


@pytest.mark.parametrize("metric", METRICS)
def test_neither_order_nor_chunks_move_a_distance(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, x_test = features(60, 50, 30), features(30, 50, 30, seed=1)
    before = all_of(x, x_test, metric, 2**-10)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(distances, "_AT_ONCE", 130)
    assert (all_of(x[order], x_test, metric, 2**-10) == before[:, order.numpy()]).all()
    assert (all_of(x[:21], x_test[:1], metric, 2**-10) == before[:1, :21]).all()


def test_a_radius_is_compared_exactly() -> None:
    for radius in (0.0, 0.1, 0.7, 1.0, 3.3):
        exact = Fraction(radius)
        assert within("manhattan", 0.1, radius) == exact // Fraction(0.1)
        assert within("euclidean", 0.1, radius) == exact**2 // Fraction(0.1) ** 2
        assert within("cosine", 0.1, radius) == exact * 2 * 1024**2 // 1
    assert within("euclidean", 2.0**-40, 2.0**40) == 2**53


@pytest.mark.parametrize("shape", ["even", "all alike", "far out", "few"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("c", [2, 7, 40_000])
def test_buckets_find_what_sorting_finds(shape: str, kind: type, c: int) -> None:
    rng = np.random.default_rng(3)
    n = 3 if shape == "few" else 3000
    distance = rng.integers(0, 5000, n).astype(kind)
    if shape == "all alike":
        distance[10:] = 4
    if shape == "far out":
        distance[::3] = 2.0**23
    y = rng.integers(0, min(c, 30), n)
    ranked = Ranking(y, c).by(distance)
    in_order = y[np.argsort(distance, kind="stable")]
    for m in {0, 1, 2, n // 3, n - 1, n}:
        wanted = np.bincount(in_order[:m], minlength=c)
        assert (ranked.first(lambda counts, m=m: counts.sum(0) >= m) == wanted).all()
    assert ranked.first(lambda counts: counts.sum(0) > n) is None
    assert (ranked.all == np.bincount(y, minlength=c)).all()


def test_features_are_laid_out_in_the_order_that_is_asked_for() -> None:
    x, x_test = features(60, 50, 30), features(3, 50, 30, seed=1)
    order = np.random.default_rng(0).permutation(60)
    (found,) = Distances(x, x_test, "euclidean", 2**-10, order).chunks()
    assert (found == all_of(x, x_test, "euclidean", 2**-10)[:, order]).all()
