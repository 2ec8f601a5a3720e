"""The error of smoothed ridge regression, against every noisy labelling and a 50-digit minimum."""

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.defense import Evidence, Shape, Task
from harness.defenses.label_flip import (
    LabelFlip,
    LabelFlipParameters,
    log_error_bound,
)
from harness.proofs.influence import ridge_influence
from harness.threats import Threat

Floats = NDArray[np.float64]
LOG_HALF = float(np.log(0.5))


def chances(a: list[float], s: list[float]) -> tuple[Fraction, Fraction]:
    """P(score >= 1/2) and P(score <= 1/2), exactly, over every noisy labelling."""
    exact_a, exact_s = [Fraction(v) for v in a], [Fraction(v) for v in s]
    at_least, at_most = Fraction(0), Fraction(0)
    for noisy in itertools.product([0, 1], repeat=len(a)):
        chance, score = Fraction(1), Fraction(0)
        for y, one_a, one_s in zip(noisy, exact_a, exact_s, strict=True):
            chance *= one_s if y else 1 - one_s
            score += one_a * y
        at_least += chance if score >= Fraction(1, 2) else 0
        at_most += chance if score <= Fraction(1, 2) else 0
    return at_least, at_most


def exponent(t: Any, a: list[Any], s: list[Any]) -> Any:
    """log of exp(-t / 2) prod(1 - s + s exp(t a)), at mpmath's precision."""
    terms = (mpmath.log(1 - p + p * mpmath.exp(t * one)) for one, p in zip(a, s, strict=True))
    return mpmath.fsum(terms) - t / 2


def smallest_exponent(a: Floats, s: list[Any]) -> tuple[Any, Any]:
    """The minimiser t over all t, and the minimum there, of a convex function: by thirds."""
    exact_a = [mpmath.mpf(float(one)) for one in a]
    low, high = mpmath.mpf(-1), mpmath.mpf(1)
    while exponent(high, exact_a, s) < exponent(high / 2, exact_a, s):
        high *= 2
    while exponent(low, exact_a, s) < exponent(low / 2, exact_a, s):
        low *= 2
    for _ in range(60):
        third = (high - low) / 3
        first, second = low + third, high - third
        if exponent(first, exact_a, s) < exponent(second, exact_a, s):
            high = second
        else:
            low = first
    return low, exponent(low, exact_a, s)


coefficient = st.one_of(
    st.floats(-1.5, 1.5), st.sampled_from([0.0, 0.5, 0.25, 1e-12, -1e-12, 1e-300, 50.0])
)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(coefficient, st.booleans()), min_size=1, max_size=7),
    st.sampled_from([0.01, 0.2, 0.4, 0.499]),
)
def test_the_bound_is_never_below_the_error(rows: list[tuple[float, bool]], q: float) -> None:
    a = [coefficient for coefficient, _ in rows]
    s = [1 - q if one else q for _, one in rows]
    predicted, log_error = log_error_bound(np.array([a]), np.array(s))
    assert predicted.shape == log_error.shape == (1,)
    assert log_error[0] <= 0 and not np.isnan(log_error[0])
    at_least, at_most = chances(a, s)
    error = at_least if predicted[0] == 0 else at_most
    if error > 0:
        with mpmath.workdps(50):
            assert mpmath.log(mpmath.mpf(error.numerator) / error.denominator) <= log_error[0]
    if log_error[0] < LOG_HALF:
        assert error < Fraction(1, 2), "the predicted label wins the vote over all flips"


@pytest.mark.parametrize(
    "a",
    [
        [0.1, 0.2, 0.2],  # one half is reached by a single labelling, at t = infinity
        [0.5, 1e-9, -1e-9],
        [0.5, 0.5, -0.5, 0.5],
        [1e3, -1e3, 0.1],
        [1e-3] * 4,
        [1e-30, -1e-30],
        [-1.0, -2.0],
        [0.0, 0.0],
        [1e-170, 0.6],
    ],
    ids=str,
)
@pytest.mark.parametrize("q", [1e-9, 0.1, 0.45])
def test_scores_at_the_edge(a: list[float], q: float) -> None:
    for labels in itertools.product([False, True], repeat=len(a)):
        s = [1 - q if one else q for one in labels]
        predicted, log_error = log_error_bound(np.array([a]), np.array(s))
        assert not np.isnan(log_error[0])
        error = chances(a, s)[int(predicted[0])]
        if error > 0:
            with mpmath.workdps(50):
                true = mpmath.log(mpmath.mpf(error.numerator) / error.denominator)
            assert true <= log_error[0], labels


def ridge_rows(n: int, d: int, e: int, penalty: float, seed: int) -> tuple[Floats, Floats]:
    """Influence of n labels on e scores, and which labels are 1, for two overlapping classes."""
    rng = np.random.default_rng(seed)
    ones = rng.random(n) < 0.4
    x = rng.normal(size=(n, d)) + 1.5 * ones[:, None] * (np.arange(d) < 2)
    x_test = rng.normal(size=(e, d)) + np.linspace(-2, 4, e)[:, None] * (np.arange(d) < 2)
    influence = ridge_influence(torch.tensor(x), torch.tensor(x_test), penalty)
    return influence(slice(0, e)).numpy(), ones.astype(float)


def test_influence_is_that_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x, x_test, y = rng.normal(size=(30, 4)), rng.normal(size=(7, 4)), rng.random(30)
    rows = ridge_influence(torch.tensor(x), torch.tensor(x_test), 0.7)
    phi = np.hstack([x, np.ones((30, 1))])
    stacked = np.vstack([phi, np.sqrt(0.7) * np.eye(5)])
    weights = np.linalg.lstsq(stacked, np.append(y, np.zeros(5)), rcond=None)[0]
    expected = np.hstack([x_test, np.ones((7, 1))]) @ weights
    np.testing.assert_allclose(rows(slice(0, 7)).numpy() @ y, expected, rtol=1e-10)
    np.testing.assert_allclose(rows(slice(2, 5)), rows(slice(0, 7))[2:5], rtol=1e-12)


@pytest.mark.parametrize("q", [0.05, 0.3, 0.45])
@pytest.mark.parametrize(("n", "penalty"), [(40, 1.0), (100, 30.0)])
def test_bound_is_the_minimum_at_50_digits(q: float, n: int, penalty: float) -> None:
    a, ones = ridge_rows(n, 3, 6, penalty, seed=n)
    s = np.where(ones == 1, 1 - q, q)
    predicted, log_error = log_error_bound(a, s)
    for row, label, bound in zip(a, predicted, log_error, strict=True):
        with mpmath.workdps(30):
            t, true = smallest_exponent(row, [mpmath.mpf(float(p)) for p in s])
            assert true <= bound <= min(true + 1e-6 * (1 + abs(true)), 0)
            if bound < LOG_HALF:
                assert label == int(t < 0)
        expected_score = row @ s
        assert label == int(expected_score > 0.5) or bound > LOG_HALF


def test_examples_do_not_depend_on_each_other() -> None:
    a, ones = ridge_rows(60, 3, 6, 1.0, seed=5)
    s = np.where(ones == 1, 0.7, 0.3)
    _, together = log_error_bound(a, s)
    alone = [log_error_bound(row[None], s)[1][0] for row in a]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


class Toy(Task):
    """A task on arrays in memory."""

    def __init__(self, x: Floats, y: NDArray[np.int64], x_test: Floats) -> None:
        self.shape = Shape(len(x), len(x_test), 2, x.shape[1:])
        self.x_train, self.y_train, self.x_test = x, y, x_test
        self.models, self.device = range(1), torch.device("cpu")

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def features(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.x_train).float(), torch.tensor(self.x_test).float()

    def images(self) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def learner(self, spec: str) -> Any:
        raise NotImplementedError

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def advance(self, models: int) -> None:
        pass


def gathered(
    monkeypatch: pytest.MonkeyPatch, defense: LabelFlip, task: Toy
) -> tuple[Evidence, Floats, Floats]:
    """The evidence, and what it was computed from: influence (e, n) and P(noisy label is 1)."""
    seen: list[tuple[Floats, Floats]] = []

    def spy(influence: torch.Tensor, noisy: torch.Tensor) -> Any:
        seen.append((influence.numpy(), noisy.numpy()))
        return log_error_bound(influence, noisy)

    monkeypatch.setattr("harness.defenses.label_flip.log_error_bound", spy)
    arrays = defense.gather(task)
    influence = np.concatenate([rows for rows, _ in seen])
    return Evidence(arrays, task.shape.n_train, 2, task.shape.dimension), influence, seen[0][1]


def test_the_flip_probability_keeps_its_digits_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is for q itself, not for the float32 next to it, which is less noise."""
    x = np.linspace(-2, 2, 300)[:, None]
    y = (x[:, 0] > 0.3).astype(np.int64)
    defense = LabelFlip(LabelFlipParameters(q=0.45))
    _, _, noisy = gathered(monkeypatch, defense, Toy(x, y, x[:3]))
    assert noisy.dtype == np.float64
    np.testing.assert_array_equal(noisy, np.where(y == 1, 1 - 0.45, 0.45))


def attack_everywhere(row: Floats, y: NDArray[np.int64], q: float) -> Iterator[tuple[int, float]]:
    """For every set of flipped labels: its size, and the probability that label 1 is predicted."""
    n = len(y)
    noise = np.array(list(itertools.product([0, 1], repeat=n)))
    chance = q ** noise.sum(1) * (1 - q) ** (n - noise.sum(1))
    for flips in noise:
        yield int(flips.sum()), float(chance @ (((y ^ flips) ^ noise) @ row > 0.5))


@pytest.mark.parametrize("certificate", ["exact", "kl"])
@pytest.mark.parametrize(("ones", "q"), [(0, 0.05), (9, 0.05), (8, 0.03), (4, 0.01)])
def test_no_flipped_labels_turn_a_certified_vote(
    certificate: str, ones: int, q: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """End to end on 9 labels: all 512 attacks, each over all 512 noisy labellings."""
    x, x_test = np.linspace(1, -1, 9)[:, None] ** 3, np.array([[-1.5], [-0.1], [0.0], [0.7]])
    y = (np.arange(9) < ones).astype(np.int64)
    defense = LabelFlip(LabelFlipParameters(q=q, penalty=0.001, certificate=certificate))
    evidence, influence, _ = gathered(monkeypatch, defense, Toy(x, y, x_test))
    proved = defense.certify(evidence, Threat.LABEL_FLIP, 0.001)
    assert proved.radii.max() >= (1 if ones in (0, 9) else 0), "or this would show nothing"
    for row, label, r in zip(influence, proved.predictions, proved.radii, strict=True):
        for size, p_one in attack_everywhere(row, y, q):
            assert size > r or (p_one - 0.5) * (2 * label - 1) > 1e-12
