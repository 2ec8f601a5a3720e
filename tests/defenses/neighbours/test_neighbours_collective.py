"""One attacker who changes labels, against every set of changed labels of small training sets."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.certificates import Certificate, CollectiveCertificate
from harness.defense import Evidence
from harness.defenses.neighbours import Knn, Rnn
from harness.defenses.neighbours.knn import KnnParameters
from harness.defenses.neighbours.rnn import RnnParameters
from harness.threats import Threat

TESTS = 6
COLLECTIVE = {"step": 1.0, "certificate": "collective"}
DEFENSES = {
    "knn": Knn(KnnParameters(k=3, **COLLECTIVE)),
    "rnn": Rnn(RnnParameters(radius=1, **COLLECTIVE)),
}


def line(points: np.ndarray, labels: np.ndarray, c: int) -> Any:
    """What ``gather`` is given: points on a line, used as they are."""
    x, tests = points.astype(np.uint8)[:, None], np.arange(TESTS, dtype=np.uint8)[:, None]
    return SimpleNamespace(
        x_train=x,
        y_train=labels,
        x_test=tests,
        models=range(TESTS),
        shape=SimpleNamespace(n_labels=c),
        features=lambda spec: (torch.from_numpy(x).float(), torch.from_numpy(tests).float()),
        phase=lambda name: nullcontext(),
        advance=lambda models: None,
    )


def certified(defense: Any, points: np.ndarray, labels: np.ndarray, c: int) -> Certificate:
    arrays = defense.gather(line(points, labels, c))
    evidence = Evidence(arrays, len(points), c, 1)
    found: Certificate = defense.certify(evidence, Threat.LABEL_FLIP, 0.001)
    return found


def changed_labels(labels: np.ndarray, c: int, r: int) -> list[np.ndarray]:
    """All labellings that differ from ``labels`` in exactly r places."""
    found = []
    for places in itertools.combinations(range(len(labels)), r):
        others = [[y for y in range(c) if y != labels[place]] for place in places]
        for new in itertools.product(*others):
            changed = labels.copy()
            changed[list(places)] = new
            found.append(changed)
    return found


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize(("c", "seed"), [(c, seed) for c in (2, 3) for seed in range(5)])
def test_no_attack_turns_more_and_where_predictions_agree_one_turns_as_many(
    name: str, c: int, seed: int
) -> None:
    defense, rng = DEFENSES[name], np.random.default_rng(seed)
    points = rng.permutation(TESTS)[:5]  # no two alike: where a voter is, is its own
    labels = rng.integers(0, c, 5)
    before = certified(defense, points, labels, c)
    assert isinstance(before, CollectiveCertificate)
    for r in (1, 2):
        most = dict.fromkeys(range(c), 0)
        for changed in changed_labels(labels, c, r):
            after = certified(defense, points, changed, c).by_example
            assert after is not None
            turned = after.predictions != before.predictions
            assert before.lost(turned, r) >= turned.sum()
            for label in range(c):
                alike = int((turned & (before.predictions == label)).sum())
                most[label] = max(most[label], alike)
        for label, reached in most.items():
            proved = before.lost(before.predictions == label, r)
            assert proved >= reached
            # Of two labels, one that is changed helps against all examples predicted like it.
            assert c > 2 or proved == reached


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("seed", range(6))
def test_equal_examples_with_several_labels(name: str, seed: int) -> None:
    """A changed label may move one of them in and another out of the nearest k."""
    defense, rng = DEFENSES[name], np.random.default_rng(seed)
    points, labels = rng.integers(0, 3, 6), rng.integers(0, 2, 6)
    before = certified(defense, points, labels, 2)
    assert isinstance(before, CollectiveCertificate)
    for r in (1, 2):
        for changed in changed_labels(labels, 2, r):
            after = certified(defense, points, changed, 2).by_example
            assert after is not None
            turned = after.predictions != before.predictions
            assert before.lost(turned, r) >= turned.sum()


def test_other_threats_are_certified_by_example() -> None:
    for defense in DEFENSES.values():
        points, labels = np.arange(5), np.array([0, 1, 0, 1, 1])
        arrays = defense.gather(line(points, labels, 2))
        one = defense.certify(Evidence(arrays, 5, 2, 1), Threat.ANY, 0.001)
        assert one.by_example is one
