"""Every training set of a small world: no radius is wrong, and where it is exact, it is reached.

Examples are points on a line with labels; a training set holds up to six of them. Trained by the
defenses' own ``gather``; distances of training sets from one another are counted here.
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.defense import Evidence
from harness.defenses.neighbours import Knn, Rnn
from harness.defenses.neighbours.knn import KnnParameters
from harness.defenses.neighbours.rnn import RnnParameters
from harness.threats import Threat

LARGEST, CLEAN, NEVER = 6, 4, 99

Set = tuple[int, ...]


class LineTask:
    """What ``gather`` is given: points on a line, used as they are."""

    def __init__(self, points: np.ndarray, labels: np.ndarray, tests: int, c: int) -> None:
        self.x_train, self.y_train = points.astype(np.uint8)[:, None], labels
        self.x_test = np.arange(tests, dtype=np.uint8)[:, None]
        self.models = range(tests)
        self.shape = SimpleNamespace(n_labels=c)

    def features(self, spec: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.x_train).float(), torch.from_numpy(self.x_test).float()

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def advance(self, models: int) -> None:
        pass


@dataclass(frozen=True)
class World:
    """All training sets of points 0 ... ``points`` - 1 with ``labels`` labels, none empty."""

    points: int
    labels: int

    @cached_property
    def sets(self) -> list[Set]:
        """By the kinds of their examples, each a point times ``labels`` plus a label."""
        kinds = range(self.points * self.labels)
        sizes = range(1, LARGEST + 1)
        return [s for n in sizes for s in itertools.combinations_with_replacement(kinds, n)]

    @cached_property
    def counts(self) -> np.ndarray:
        """(sets, kinds)"""
        return np.stack([np.bincount(s, minlength=self.points * self.labels) for s in self.sets])

    @cached_property
    def n(self) -> np.ndarray:
        """(sets, 1)"""
        return self.counts.sum(1, keepdims=True)

    @cached_property
    def at(self) -> np.ndarray:
        """(sets, points) how many examples are at each point."""
        return self.counts.reshape(-1, self.points, self.labels).sum(2)

    @cached_property
    def attacks(self) -> dict[Threat, np.ndarray]:
        """How many poisonings make of each training set each other one; NEVER where none do."""
        before, after = self.n, self.n.T
        common = np.minimum(self.counts[:, None], self.counts[None]).sum(2)
        same_points = (self.at[:, None] == self.at[None]).all(2)
        return {
            Threat.ANY: np.maximum(before, after) - common,
            Threat.MODIFY: np.where(before == after, before - common, NEVER),
            Threat.INSERT: np.where(common == before, after - before, NEVER),
            Threat.DELETE: np.where(common == after, before - after, NEVER),
            Threat.LABEL_FLIP: np.where(same_points, before - common, NEVER),
        }

    def trained(self, defense: Any) -> tuple[np.ndarray, dict[Threat, np.ndarray]]:
        """Predictions (sets, tests) and radii under each threat, of all training sets."""
        predictions, radii = [], {threat: [] for threat in Threat}
        rng = np.random.default_rng(0)
        for examples in self.sets:
            points, labels = np.divmod(rng.permutation(examples), self.labels)
            arrays = defense.gather(LineTask(points, labels, self.points, self.labels))
            evidence = Evidence(arrays, len(examples), self.labels, 1)
            for threat in Threat:
                certificate = defense.certify(evidence, threat, 0.001)
                radii[threat].append(certificate.radii)
            predictions.append(certificate.predictions)
        return np.stack(predictions), {threat: np.stack(r) for threat, r in radii.items()}

    def needed(self, predictions: np.ndarray, threat: Threat) -> np.ndarray:
        """(sets, tests) the smallest attack that changes a prediction, of those in this world."""
        found = [
            np.where(now[:, None] != now[None], self.attacks[threat], NEVER).min(axis=1)
            for now in predictions.T
        ]
        return np.stack(found, axis=1)

    def ties_matter(self, k: int) -> np.ndarray:
        """(sets, tests) where the order of ties may keep an attacker from the best attack: of
        identical examples some vote and some do not, or the neighbours are all at distance 0.
        """
        found = self.at >= k
        for test, order in itertools.product(
            range(self.points), itertools.permutations(range(self.points))
        ):
            away = [abs(point - test) for point in order]
            if away == sorted(away):  # points at equal distance: whichever the digest puts first
                ends = self.at[:, order].cumsum(axis=1)
                found[:, test] |= ((ends > k) & (ends - self.at[:, order] < k)).any(axis=1)
        return found


WORLDS = [World(3, 2), World(2, 3)]


def knn(k: int) -> Knn:
    return Knn(KnnParameters(k=k, features="raw", step=1))


def rnn(radius: float) -> Rnn:
    return Rnn(RnnParameters(radius=radius, features="raw", step=1))


@pytest.mark.parametrize(
    ("world", "k"), [*itertools.product(WORLDS, [2, 3, 5]), (WORLDS[0], 1)], ids=repr
)
def test_k_nearest_in_every_small_world(world: World, k: int) -> None:
    predictions, radii = world.trained(knn(k))
    for threat in Threat:
        least = world.needed(predictions, threat)
        assert (radii[threat] < least).all(), threat
        reached = (world.n <= CLEAN) & (least < NEVER) & ~world.ties_matter(k)
        if threat in (Threat.INSERT, Threat.ANY):  # larger training sets were not tried
            reached &= world.n + least <= LARGEST
        assert reached.any()
        assert (radii[threat] + 1 == least)[reached].all(), threat


@pytest.mark.parametrize("radius", [0, 1])
@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_within_a_radius_in_every_small_world(world: World, radius: float) -> None:
    predictions, radii = world.trained(rnn(radius))
    for threat in Threat:
        least = world.needed(predictions, threat)
        assert (radii[threat] < least).all(), threat
        reached = (world.n <= CLEAN) & (least < NEVER)
        assert (radii[threat] + 1 == least)[reached].all(), threat
        never = least == NEVER
        if threat is Threat.LABEL_FLIP:
            assert (radii[threat] == world.n)[never].all()
        if threat is Threat.DELETE:  # label 0 is what is predicted without any example as well
            assert (radii[threat] == world.n)[never & (predictions == 0)].all()


@pytest.mark.parametrize("defense", [knn(2), knn(9), rnn(3)], ids=["2", "9", "radius"])
@pytest.mark.parametrize(("label", "radius"), [(0, 3), (1, 2)])
def test_only_one_label_is_left(defense: Any, label: int, radius: int) -> None:
    """Label 0 is predicted without any example as well, so deleting them all changes nothing."""
    alone = LineTask(np.array([0, 0, 1]), np.full(3, label), 2, 2)
    evidence = Evidence(defense.gather(alone), 3, 2, 1)
    assert (defense.certify(evidence, Threat.DELETE, 0.001).radii == radius).all()
