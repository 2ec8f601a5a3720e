"""More than two labels: the error bound against every noisy labelling and a 50-digit minimum."""

import itertools
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.defense import Evidence
from harness.defenses.label_flip_rivals import log_error_against_rivals
from harness.proofs.flips import exact_radius

Floats = NDArray[np.float64]
LOG_HALF = float(np.log(0.5))


def bound(a: Any, labels: list[int], q: float, c: int) -> tuple[NDArray[np.int64], Floats]:
    return log_error_against_rivals(np.asarray(a), np.array(labels), q, c)


def error_of(label: int, a: list[float], labels: list[int], q: float, c: int) -> Fraction:
    """P(another label than ``label`` is predicted), exactly, over all c^n noisy labellings."""
    keep, other = 1 - Fraction(q), Fraction(q) / (c - 1)
    wrong = Fraction(0)
    for noisy in itertools.product(range(c), repeat=len(a)):
        scores = [Fraction(0)] * c
        chance = Fraction(1)
        for own, seen, weight in zip(labels, noisy, a, strict=True):
            scores[seen] += Fraction(weight)
            chance *= keep if own == seen else other
        if scores.index(max(scores)) != label:
            wrong += chance
    return wrong


coefficient = st.one_of(
    st.floats(-1.5, 1.5), st.sampled_from([0.0, 0.5, 0.25, 1e-12, -1e-12, 1e-300, 50.0])
)


@settings(max_examples=60)
@given(
    st.integers(3, 4),
    st.lists(st.tuples(coefficient, st.integers(0, 2)), min_size=1, max_size=4),
    st.sampled_from([1e-18, 0.01, 0.2, 0.4, 0.6]),
)
def test_the_bound_is_never_below_the_error(
    c: int, rows: list[tuple[float, int]], q: float
) -> None:
    a, labels = [weight for weight, _ in rows], [label for _, label in rows]
    predicted, log_error = bound([a], labels, q, c)
    assert predicted.shape == log_error.shape == (1,)
    assert log_error[0] <= 0 and not np.isnan(log_error[0])
    error = error_of(int(predicted[0]), a, labels, q, c)
    if error > 0:
        with mpmath.workdps(50):
            assert mpmath.log(mpmath.mpf(error.numerator) / error.denominator) <= log_error[0]


@pytest.mark.parametrize(
    "labels", [[0, 0, 0, 1], [2, 2, 1, 0], [1, 1, 1, 1], [0, 0, 1, 2]], ids=str
)
@pytest.mark.parametrize("q", [1e-9, 0.05, 0.3])
def test_a_certain_label_is_certain(labels: list[int], q: float) -> None:
    a = [0.55, 0.4, 0.3, 0.2]
    predicted, log_error = bound([a], labels, q, 3)
    error = error_of(int(predicted[0]), a, labels, q, 3)
    assert float(error) <= np.exp(log_error[0])
    if error < Fraction(1, 10**6):
        assert log_error[0] < -5, "or this would show nothing"


def smallest_union(a: Floats, labels: list[int], q: float, c: int, winner: int) -> Any:
    """min over t of the log of the sum over rivals of prod E exp(t a_i D_i), by thirds, in mpmath.

    The expectation is summed over what the noise may make of a label, one by one.
    """
    keep, other = 1 - mpmath.mpf(q), mpmath.mpf(q) / (c - 1)
    exact_a = [mpmath.mpf(float(one)) for one in a]

    def union(t: Any) -> Any:
        total = mpmath.mpf(0)
        for rival in set(range(c)) - {winner}:
            product = mpmath.mpf(1)
            for weight, own in zip(exact_a, labels, strict=True):
                product *= mpmath.fsum(
                    (keep if noisy == own else other)
                    * mpmath.exp(t * weight * ((noisy == rival) - (noisy == winner)))
                    for noisy in range(c)
                )
            total += product
        return mpmath.log(total)

    low, high = mpmath.mpf(0), mpmath.mpf(1)
    while union(high) < union(high / 2):
        high *= 2
    for _ in range(50):
        third = (high - low) / 3
        if union(low + third) < union(high - third):
            high -= third
        else:
            low += third
    return union(low)


def toy(n: int, c: int, e: int, seed: int) -> tuple[Floats, list[int]]:
    """Influence (e, n) with which examples of the label that is predicted weigh more."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(c, size=n)
    favoured = rng.integers(c, size=(e, 1))
    return rng.normal(0.3 + 8.0 * (labels == favoured), 1.0) / n, labels.tolist()


@pytest.mark.parametrize(("c", "q"), [(3, 0.05), (3, 0.3), (5, 0.2)])
def test_bound_is_the_minimum_at_30_digits(c: int, q: float) -> None:
    a, labels = toy(40, c, 3, seed=c)
    predicted, log_error = bound(a, labels, q, c)
    assert (log_error < -1).any()
    for row, label, value in zip(a, predicted, log_error, strict=True):
        assert label == np.argmax(np.bincount(labels, weights=row, minlength=c))
        with mpmath.workdps(30):
            true = min(smallest_union(row, labels, q, c, int(label)), 0)
            assert true <= value <= min(true + 1e-4 * (1 + abs(true)), 0)


def test_examples_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    a, labels = toy(400, 4, 6, seed=1)
    _, together = bound(a, labels, 0.3, 4)
    assert (together < -1).all()
    alone = [bound(row[None], labels, 0.3, 4)[1][0] for row in a]
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    monkeypatch.setattr("harness.defenses.label_flip_rivals._CHUNK", 800)
    np.testing.assert_allclose(together, bound(a, labels, 0.3, 4)[1], rtol=1e-9)


@pytest.mark.parametrize("q", [1e-30, 1e-3, 0.3, 0.7])
def test_strong_and_weak_influence(q: float) -> None:
    """No overflow, no NaN, and never more sure than Chernoff's bound in 50 digits can be."""
    labels = [0] * 5 + [1, 2, 3] * 2
    for scale in (1e-150, 1e-9, 1.0, 1e9, 1e150):
        _, log_error = bound(np.full((1, 11), scale), labels, q, 4)
        assert np.isfinite(log_error[0]) and log_error[0] <= 0
        with mpmath.workdps(50):
            true = smallest_union(np.ones(11), labels, q, 4, 0)
            assert min(true, 0) <= log_error[0] + 1e-9


def test_a_label_without_an_advantage_is_not_certain() -> None:
    predicted, log_error = bound(np.ones((1, 4)), [0, 0, 1, 1], 0.2, 3)
    assert predicted.tolist() == [0], "the smaller of two equals"
    assert log_error.tolist() == [0.0]


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 1], [2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 0, 2]])
def test_no_flipped_labels_turn_a_certified_vote(labels: list[int]) -> None:
    """All 729 attacks on 6 labels, each over all 729 noisy labellings."""
    c, q, n = 3, 0.002, 6
    a = np.array([[1.0, 1.1, 0.9, 1.0, 1.05, 0.95], [1.5, 0.2, 1.0, 0.7, 0.1, 1.0]]) / n
    predicted, log_error = bound(a, labels, q, c)
    radii = exact_radius(log_error, q, n, c)
    assert radii[0] >= 1 or labels.count(labels[0]) < 5, "or this would show nothing"
    noisy = np.array(list(itertools.product(range(c), repeat=n)))
    scores = np.stack([(noisy == j).astype(float) @ a.T for j in range(c)], axis=2)
    wins = scores.argmax(2) == predicted
    assert (np.sort(scores, 2)[:, :, 2] - np.sort(scores, 2)[:, :, 1]).min() >= 0
    for attacked in noisy:
        size = int((attacked != np.array(labels)).sum())
        chance = np.prod(np.where(noisy == attacked, 1 - q, q / (c - 1)), axis=1)
        for won, r in zip(chance @ wins, radii, strict=True):
            assert size > r or won > 0.5 + 1e-12


def test_evidence_keeps_what_certify_needs() -> None:
    from harness.defenses.label_flip import LabelFlip, LabelFlipParameters
    from harness.threats import Threat

    arrays = {"predictions": np.array([2, 0]), "log_error": np.array([-40.0, -0.1])}
    evidence = Evidence(arrays, 1000, 3, 4)
    for name in ("exact", "kl"):
        defense = LabelFlip(LabelFlipParameters(q=0.5, certificate=name))
        proved = defense.certify(evidence, Threat.LABEL_FLIP, 0.1)
        two = defense.guarantee(0.1)
        assert proved.radii[0] > 10 and proved.radii[1] == -1 and two.kind == "deterministic"
