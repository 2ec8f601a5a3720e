"""Bagged nearest neighbours: exact probabilities against every subsample, and against sampling."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.datasets.base import Dataset
from harness.defense import Evidence, Task
from harness.defenses import bagged_nearest
from harness.defenses.bagged_nearest import (
    exact_bounds,
    label_probabilities,
    rank_probabilities,
)
from harness.defenses.bagging import Bagging, BaggingParameters, certified_poisoning_size
from harness.learners.base import Learner
from harness.learners.nearest import NearestNeighbour
from harness.plugins.lookup import Installed, features_of, learner_of
from harness.plugins.registry import Registry
from harness.results.cells import shape_of
from harness.threats import Threat

THREATS = [Threat.ANY, Threat.MODIFY, Threat.INSERT, Threat.DELETE]
Example = tuple[int, int]
"""A whole number on a line, and its label."""


def enumerated(data: list[Example], at: int, c: int, k: int) -> list[Fraction]:
    """P(each label), over all n^k subsamples: the nearest example's, the smallest in a tie."""
    counts = [0] * c
    for drawn in itertools.product(data, repeat=k):
        counts[min((abs(at - place), label) for place, label in drawn)[1]] += 1
    return [Fraction(count, len(data) ** k) for count in counts]


def probabilities(data: list[Example], at: list[int], c: int, k: int) -> NDArray[np.float64]:
    places = torch.tensor([[float(place)] for place, _ in data])
    labels = torch.tensor([label for _, label in data])
    tests = torch.tensor([[float(place)] for place in at])
    return label_probabilities(NearestNeighbour(step=1), places, labels, tests, c, k)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_probabilities_are_those_of_all_subsamples(data: list[Example], k: int) -> None:
    found = probabilities(data, list(range(5)), 3, k)
    assert found.dtype == np.float64
    for at in range(5):
        np.testing.assert_allclose(
            found[at], [float(p) for p in enumerated(data, at, 3, k)], rtol=1e-12
        )


def test_only_the_content_of_the_training_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = [(int(p), int(y)) for p, y in rng.integers(0, 3, (60, 2))]
    found = probabilities(data, [0, 1, 2, 3], 3, 7)
    shuffled = [data[i] for i in rng.permutation(60)]
    assert np.array_equal(found, probabilities(shuffled, [0, 1, 2, 3], 3, 7))
    monkeypatch.setattr(bagged_nearest, "_KEYS", 60)
    assert np.array_equal(found, probabilities(data, [0, 1, 2, 3], 3, 7))


def true_ranks(n: int, k: int, ranks: list[int]) -> list[Any]:
    return [(mpmath.mpf(n - i + 1) / n) ** k - (mpmath.mpf(n - i) / n) ** k for i in ranks]


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 13_007, 200_001])
@pytest.mark.parametrize("k", [1, 2, 50, 1000, 10**6])
def test_ranks_at_high_precision(n: int, k: int) -> None:
    found = rank_probabilities(n, k)
    assert found.shape == (n,)
    ranks = sorted({1, min(2, n), n // 3 + 1, n // 2, n // 2 + 1, n - 1, n} & set(range(1, n + 1)))
    with mpmath.workdps(400):
        for rank, true in zip(ranks, true_ranks(n, k, ranks), strict=True):
            assert abs(mpmath.mpf(found[rank - 1]) - true) <= 1e-12 * true + mpmath.mpf(10) ** -300
    assert found.sum() == pytest.approx(1, abs=1e-10)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 200))
def test_bounds_hold_at_high_precision(labels: list[int], k: int) -> None:
    """A far example's label may have a probability of 1e-300; the bounds know it."""
    n = len(labels)
    data = [(place, label) for place, label in enumerate(labels)]
    bounds = exact_bounds(probabilities(data, [0], 4, k), n)
    with mpmath.workdps(400):
        true = [mpmath.mpf(0)] * 4
        for label, chance in zip(labels, true_ranks(n, k, list(range(1, n + 1))), strict=True):
            true[label] += chance
        top = int(bounds.prediction[0])
        rivals = max(p for label, p in enumerate(true) if label != top)
        assert bounds.p_lower[0] <= true[top] <= bounds.p_lower[0] + 1e-11
        # Two labels in a near tie may be taken for each other: then nothing is certified.
        assert true[top] >= rivals * (1 - mpmath.mpf(10) ** -11)
        assert rivals <= bounds.p_upper[0] <= rivals * (1 + mpmath.mpf(10) ** -11) + 1e-280
        assert 1 - bounds.p_lower[0] <= (1 - true[top]) * (1 + mpmath.mpf(10) ** -10) + 3e-16


def test_a_tie_goes_to_the_smaller_label_and_is_not_certified() -> None:
    bounds = exact_bounds(np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0]]), 10)
    assert bounds.prediction.tolist() == [1, 0]
    radii = certified_poisoning_size(bounds.p_lower, bounds.p_upper, 10, 3, Threat.ANY)
    assert radii.tolist() == [-1, -1]


def attacks(data: list[Example], r: int, threat: Threat) -> Iterator[list[Example]]:
    """Every data set within r poisonings, with poison at 0, 2 or 5 and any of three labels."""
    poison = list(itertools.product((0, 2, 5), range(3)))
    for gone in range(r + 1):
        for kept in itertools.combinations(data, len(data) - gone):
            sizes = {
                Threat.MODIFY: [gone],
                Threat.DELETE: [0],
                Threat.INSERT: range(r + 1) if gone == 0 else [],
                Threat.ANY: range(r + 1),
            }[threat]
            for added in sizes:
                for new in itertools.combinations_with_replacement(poison, added):
                    if kept or new:
                        yield [*kept, *new]


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("threat", THREATS)
def test_no_attack_on_a_toy_turns_a_certified_prediction(k: int, threat: Threat) -> None:
    data = [(0, 1), (1, 1), (1, 1), (2, 1), (2, 1), (3, 2), (5, 0)]
    tests = [0, 1, 4]
    bounds = exact_bounds(probabilities(data, tests, 3, k), len(data))
    radii = certified_poisoning_size(bounds.p_lower, bounds.p_upper, len(data), k, threat)
    assert radii.max() >= 1, "or this would show nothing"
    for at, label, r in zip(tests, bounds.prediction, radii, strict=True):
        for poisoned in attacks(data, min(int(r), 2), threat):
            after = enumerated(poisoned, at, 3, k)
            assert max(p for other, p in enumerate(after) if other != label) < after[label]


class Whole(Task):
    """All base models of a cell as one block."""

    def __init__(self, data: Dataset, registry: Registry, models: int) -> None:
        self.shape = shape_of(data)
        self.x_train, self.y_train, self.x_test = data.x_train, data.y_train, data.x_test
        self.models, self.device = range(models), torch.device("cpu")
        self._registry = registry

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def features(
        self, spec: str, rows: NDArray[np.int64] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        made = features_of(self._registry, spec, self.shape.example)
        x = made.compute(self.x_train)
        return x if rows is None else x[rows], made.compute(self.x_test)

    def images(self, rows: NDArray[np.int64] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def learner(self, spec: str) -> Learner:
        return learner_of(self._registry, spec)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def advance(self, models: int) -> None:
        pass


def bagging(**params: Any) -> Bagging:
    return Bagging(BaggingParameters.model_validate({"features": "raw", "k": 8, **params}))


def test_sampling_converges_to_the_exact_probabilities(tiny: Dataset, registry: Registry) -> None:
    """Some labels are swapped at random, so that the probabilities are not all near 1."""
    rng = np.random.default_rng(1)
    y = np.where(rng.random(tiny.n_train) < 0.3, 1 - tiny.y_train, tiny.y_train)
    noisy = Dataset("noisy", tiny.x_train, y, tiny.x_test, tiny.y_test, tiny.label_names)
    exact = bagging(learner="1nn").gather(Whole(noisy, registry, 1))["probabilities"]
    assert ((exact > 0.2) & (exact < 0.8)).all(axis=1).any()
    errors = []
    for m in (100, 6400):
        sampled = bagging(learner="1nn", exact=False, n_models=m)
        votes = sampled.gather(Whole(noisy, registry, m))["votes"]
        deviation = np.sqrt(exact * (1 - exact) / m)
        assert (np.abs(votes / m - exact) < 5 * deviation + 1e-9).all()
        errors.append(np.sqrt(np.mean((votes / m - exact) ** 2)))
        # Sixty bounds at alpha = 0.001 hold together: sampling never certifies more.
        evidence = {"votes": votes}, {"probabilities": exact}
        radii = [
            bagging(learner="1nn", exact="votes" not in arrays)
            .certify(Evidence(arrays, noisy.n_train, 2, 64), Threat.ANY, 0.001)
            .radii
            for arrays in evidence
        ]
        assert (radii[0] <= radii[1]).all() and (radii[0] < radii[1]).any()
    assert errors[1] < errors[0] / 4


def test_the_guarantee_says_what_was_used(tiny: Dataset, registry: Registry) -> None:
    exact, sampled = bagging(learner="1nn(step=0.001)"), bagging(learner="1nn", exact=False)
    assert exact.guarantee(0.01).kind == "deterministic"
    assert sampled.guarantee(0.01).kind == "probabilistic"
    assert bagging(learner="ridge").guarantee(0.01).kind == "probabilistic"
    assert exact.blocks(shape_of(tiny), Installed(registry, (8, 8))) == [range(1)]
    arrays = exact.gather(Whole(tiny, registry, 1))
    proved = exact.certify(Evidence(arrays, tiny.n_train, 2, 64), Threat.ANY, 0.5)
    assert proved.guarantee.kind == "deterministic"
    assert np.mean(proved.predictions == tiny.y_test) > 0.9 and proved.radii.max() > 3
    # Votes that were counted elsewhere stay votes, whatever the learner was.
    votes = Evidence({"votes": np.array([[90, 10]])}, 1000, 2, 64)
    assert exact.certify(votes, Threat.ANY, 0.01).guarantee.alpha == 0.01


def test_probabilities_beside_votes_prove_nothing() -> None:
    """Fractions of 1,000 votes are not the label probabilities, whatever they are called."""
    votes = np.array([[1000, 0], [900, 100]])
    both = Evidence({"votes": votes, "probabilities": votes / 1000}, 6000, 2, 64)
    alone = Evidence({"votes": votes}, 6000, 2, 64)
    for defense in (bagging(learner="ridge"), bagging(learner="1nn", exact=False)):
        found = defense.certify(both, Threat.ANY, 0.01)
        assert found.guarantee == defense.guarantee(0.01)
        assert (found.radii == defense.certify(alone, Threat.ANY, 0.01).radii).all()
    mixed = bagging(learner="1nn").certify(both, Threat.ANY, 0.01)
    assert mixed.guarantee.kind == "probabilistic"
