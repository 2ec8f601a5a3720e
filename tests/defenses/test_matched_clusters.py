"""Matched clusters against every labelling of a small training set, through their own training."""

import itertools
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from harness.certificates import PointwiseCertificate
from harness.defense import Evidence, Shape
from harness.defenses.matched_clusters import MatchedClusters, MatchedClustersParameters
from harness.threats import Threat


class TinyTask:
    """What ``gather`` is given."""

    device = torch.device("cpu")

    def __init__(self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, c: int) -> None:
        self.x_train, self.y_train, self.x_test = x, y, x_test
        self.shape = Shape(len(x), len(x_test), c, x.shape[1:])

    def features(self, spec: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.x_train), torch.from_numpy(self.x_test)

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def advance(self, models: int) -> None:
        pass


def certified(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, c: int, clusters: int = 0
) -> PointwiseCertificate:
    defense = MatchedClusters(
        MatchedClustersParameters(clusters=clusters, features="raw", starts=1)
    )
    evidence = Evidence(defense.gather(TinyTask(x, y, x_test, c)), len(x), c, x.shape[1])
    return defense.certify(evidence, Threat.LABEL_FLIP, 0.001)


def points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


@pytest.mark.parametrize(("n", "c", "clusters"), [(6, 2, 0), (6, 2, 3), (4, 3, 0)])
def test_every_labelling_trained(n: int, c: int, clusters: int) -> None:
    """Each labelling is once the clean one; exact but where three labels are matched one to one."""
    x, x_test = points(n), points(3, 1)
    labellings = np.array([*itertools.product(range(c), repeat=n)])
    found = [certified(x, y, x_test, c, clusters) for y in labellings]
    distance = (labellings[:, None] != labellings).sum(axis=2)
    for test in range(3):
        predicted = np.array([one.predictions[test] for one in found])
        radii = np.array([one.radii[test] for one in found])
        least = np.where(predicted[:, None] != predicted, distance, n + 1).min(axis=1)
        assert (radii < least).all()
        assert c == 3 or (radii == least - 1).all()


def test_the_order_of_examples_changes_nothing() -> None:
    x, x_test = points(40), points(9, 1)
    y, order = (x[:, 0] > 0.3).astype(np.int64), np.random.default_rng(1).permutation(40)
    one, other = (certified(x[o], y[o], x_test, 2, 5) for o in (np.arange(40), order))
    assert (one.predictions == other.predictions).all()
    assert (one.radii == other.radii).all()


def test_fewer_distinct_examples_than_clusters() -> None:
    x = np.zeros((4, 2), np.float32)
    assert certified(x, np.array([1, 1, 1, 0]), x[:1], 2).predictions.size == 1


def test_one_thread_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more, the order in which they end would decide how sums are rounded."""
    from sklearn.cluster import KMeans

    seen: list[int] = []
    fit_predict = KMeans.fit_predict

    def watched(self: KMeans, x: np.ndarray) -> np.ndarray:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return fit_predict(self, x)

    monkeypatch.setattr(KMeans, "fit_predict", watched)
    certified(points(9), np.arange(9) % 2, points(1), 2)
    assert set(seen) == {1}
