"""Curves of certificates that reach far: nothing grows with the radius, nothing is claimed twice.

The ordinary, short curve is tested with the certificates.
"""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.certificates import (
    DETERMINISTIC,
    ESTIMATE,
    AccuracyCertificate,
    CollectiveCertificate,
    PointwiseCertificate,
)
from harness.proofs.curves import Curve, curve
from harness.threats import Threat

MOST = int(np.iinfo(np.int64).max)


def pointwise(predictions: Any, radii: Any) -> PointwiseCertificate:
    return PointwiseCertificate(
        "toy", Threat.ANY, DETERMINISTIC, np.asarray(predictions), np.asarray(radii)
    )


def accuracy(bound: Callable[[int], float]) -> AccuracyCertificate:
    return AccuracyCertificate(
        "toy", Threat.ANY, ESTIMATE, np.array([[1.0, 0.0]]), lambda p, r: bound(r)
    )


def is_a_step_function(found: Curve) -> bool:
    falls = bool((np.diff(found.certified_accuracy) <= 0).all())
    return found.r[0] == 0 and bool((found.r[1:] > found.r[:-1]).all()) and falls


radius = st.one_of(st.integers(-1, 12), st.integers(9_990, 10_010), st.integers(-1, 2**61))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), radius), min_size=1, max_size=12), st.data())
@example([(True, 9_997)], None)
@example([(True, 9_998)], None)
@example([(True, 9_999), (True, -1), (False, 10**9)], None)
def test_a_curve_says_of_every_r_what_the_certificate_says(
    examples: list[tuple[bool, int]], data: st.DataObject | None
) -> None:
    right, radii = np.array([one for one, _ in examples]), np.array([r for _, r in examples])
    found = curve(pointwise(np.zeros(len(radii), np.int64), radii), np.where(right, 0, 1))
    certified = radii[right]
    asked = {0, 1, *np.maximum(certified, 0), *(certified + 1), *(certified + 2)}
    if data is not None:
        asked |= set(data.draw(st.lists(st.integers(0, 2**62), max_size=4)))
    for r in asked:
        assert found.at(r) == pytest.approx(np.count_nonzero(certified >= r) / len(radii))
    assert is_a_step_function(found)
    assert found.max_radius == max(certified, default=-1)
    enough = [r for r in certified if np.count_nonzero(certified >= r) * 2 >= len(radii)]
    assert found.median_radius == max(enough, default=-1)
    if found.max_radius + 2 <= 10_000:
        assert found.r.tolist() == list(range(found.max_radius + 2))
    else:
        assert found.r.tolist() == sorted({0, *(certified + 1)})


@pytest.mark.parametrize("far", [10**9, 2**40, 2**62, MOST])
def test_a_far_radius_takes_no_memory(far: int) -> None:
    certificate = pointwise([0, 0, 0], [5, far, -1])
    tracemalloc.start()
    try:
        found = curve(certificate, np.zeros(3, np.int64))
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
    assert found.at(6) == found.at(min(far, 2**62)) == pytest.approx(1 / 3)
    assert found.at(0) == pytest.approx(2 / 3)
    assert found.r.size == 3 and is_a_step_function(found)
    assert (found.median_radius, found.max_radius) == (5, min(far, 2**62))
    assert far > 2**62 or found.certified_accuracy[-1] == 0


def test_examples_of_a_hundred_thousand_radii() -> None:
    radii = np.random.default_rng(0).integers(0, 10**9, 10**5)
    found = curve(pointwise(np.zeros(10**5, np.int64), radii), np.zeros(10**5, np.int64))
    assert found.r.size == np.unique(radii).size + 1
    assert found.at(found.median_radius) >= 0.5 > found.at(found.median_radius + 1)
    assert abs(found.median_radius - 5 * 10**8) < 10**7


FALLING: dict[str, Callable[[float], Callable[[int], float]]] = {
    "line": lambda last: lambda r: max(1 - r / (last + 1), 0.0),
    "cliff": lambda last: lambda r: 0.9 if r <= last else 0.0,
    "low": lambda last: lambda r: 0.3 * max(1 - r / (last + 1), 0.0),
    "bend": lambda last: lambda r: max(1 / (1 + 100 * r / last) - 1 / 101 + 1e-9, 0.0),
}


@pytest.mark.parametrize("shape", FALLING)
@pytest.mark.parametrize("last", [9_997, 9_998, 9_999, 10_000, 12_345, 10**6, 10**9, 2**39])
def test_a_bound_on_the_accuracy_is_listed_at_a_bounded_number_of_r(shape: str, last: int) -> None:
    bound, asked = FALLING[shape](last), []

    def counting(r: int) -> float:
        asked.append(r)
        return bound(r)

    certificate = accuracy(counting)
    last = certificate.last_radius(np.array([0]))
    asked.clear()
    found = curve(certificate, np.array([0]))
    assert len(asked) < 12_300
    assert is_a_step_function(found) and found.certified_accuracy[-1] == 0
    assert found.max_radius == last and found.r[-1] == last + 1
    median = found.median_radius
    assert (median == -1 or bound(median) >= 0.5) and bound(median + 1) < 0.5
    assert found.at(max(median, 0)) == bound(max(median, 0))
    every = np.arange(min(last + 1, 9_999))
    np.testing.assert_array_equal([found.at(r) for r in every[::7]], [bound(r) for r in every[::7]])
    for r in np.unique(np.geomspace(10_000, last + 2, 3_000).astype(np.int64)).tolist():
        assert found.at(r) <= bound(r)
        # Each value is that of an r at most a hundredth farther.
        assert r > last or found.at(r) >= bound(min(int(r * 1.01) + 1, last))


def collective(
    radii: Any, turned: Callable[[np.ndarray[Any, Any], int], int], predictions: Any = None
) -> CollectiveCertificate:
    zeros = np.zeros(len(radii), np.int64) if predictions is None else np.asarray(predictions)
    return CollectiveCertificate("toy", Threat.ANY, DETERMINISTIC, zeros, np.asarray(radii), turned)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(st.integers(-1, 60), st.integers(9_990, 10_010)), min_size=1, max_size=12),
    st.integers(1, 4),
)
@example([-1, -1], 1)
@example([9_999, 5, 5], 2)
def test_a_collective_curve_lies_between_what_is_proved_of_each_and_of_all(
    radii: list[int], fraction: int
) -> None:
    """Here one attack turns one in so many of those that it could turn."""

    def turned(which: np.ndarray[Any, Any], r: int) -> int:
        return int(-(-which.sum() // fraction))

    labels = np.zeros(len(radii), np.int64)
    labels[::3] = 1  # predicted wrongly: they count as lost, and not as turned
    certificate = collective(radii, turned)
    found, simple = curve(certificate, labels), curve(certificate.by_example, labels)
    assert is_a_step_function(found)
    assert found.clean_accuracy == simple.clean_accuracy
    assert found.abstained == simple.abstained
    asked = np.unique([0, 1, 9, 10, 11, *np.maximum(radii, 0), *(np.array(radii) + 1), 20_000])
    truth = certificate.certified_accuracy(labels, asked)
    for r, most in zip(asked, truth, strict=True):
        assert simple.at(int(r)) <= found.at(int(r)) <= most + 1e-12
    assert found.max_radius >= simple.max_radius
    if fraction > 1 and simple.max_radius >= 1 and simple.certified_accuracy[0] > 1 / len(radii):
        fallen = int(simple.r[np.argmax(simple.certified_accuracy <= 0)])
        at_the_end = certificate.certified_accuracy(labels, np.array([fallen]))[0]
        assert found.at(fallen) == at_the_end


def test_each_program_of_a_collective_certificate_is_solved_once() -> None:
    asked: list[tuple[int, int]] = []

    def turned(which: np.ndarray[Any, Any], r: int) -> int:
        asked.append((int(which.sum()), r))
        return 1

    certificate = collective([3, 3, 7], turned)
    labels = np.zeros(3, np.int64)
    first = curve(certificate, labels)
    assert asked and len(set(asked)) == len(asked)
    before = len(asked)
    assert curve(certificate, labels) is not first
    assert len(asked) == before


def test_a_bound_above_all_examples_is_no_accuracy_below_zero() -> None:
    certificate = collective([0, 0, 4], lambda which, r: 99)
    accuracy = certificate.certified_accuracy(np.zeros(3, np.int64), np.arange(7))
    assert accuracy.tolist() == pytest.approx([1, *[1 / 3] * 4, 0, 0])
    assert certificate.last_radius(np.zeros(3, np.int64)) == 4
