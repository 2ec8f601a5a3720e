import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.certificates import (
    DETERMINISTIC,
    ESTIMATE,
    AccuracyCertificate,
    Guarantee,
    PointwiseCertificate,
)
from harness.proofs.curves import curve
from harness.threats import Threat


def pointwise(predictions: list[int], radii: list[int]) -> PointwiseCertificate:
    return PointwiseCertificate(
        "toy", Threat.ANY, DETERMINISTIC, np.array(predictions), np.array(radii)
    )


@given(st.data())
def test_certified_accuracy_counts_right_predictions_of_at_least_that_radius(
    data: st.DataObject,
) -> None:
    e = data.draw(st.integers(1, 20))
    row = st.lists(st.integers(0, 2), min_size=e, max_size=e)
    predictions, labels = data.draw(row), data.draw(row)
    radii = data.draw(st.lists(st.integers(-1, 9), min_size=e, max_size=e))
    found = pointwise(predictions, radii).certified_accuracy(np.array(labels), np.arange(12))
    for r in range(12):
        right = [p == y and q >= r for p, y, q in zip(predictions, labels, radii, strict=True)]
        assert found[r] == pytest.approx(sum(right) / e)


def test_the_curve_of_a_pointwise_certificate() -> None:
    certificate = pointwise([0, 0, 1, 1, 0], [3, -1, 5, 9, 0])
    found = curve(certificate, np.array([0, 0, 1, 0, 0]))
    assert found.r.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert found.certified_accuracy.tolist() == [0.6, 0.4, 0.4, 0.4, 0.2, 0.2, 0.0]
    assert found.clean_accuracy == 0.8
    assert found.abstained == 0.2
    assert (found.median_radius, found.max_radius) == (0, 5)
    assert (found.at(3), found.at(1000)) == (0.4, 0.0)


def test_a_curve_that_certifies_nothing() -> None:
    found = curve(pointwise([0, 1], [-1, 7]), np.array([0, 0]))
    assert found.r.tolist() == [0]
    assert found.certified_accuracy.tolist() == [0.0]
    assert (found.median_radius, found.max_radius, found.at(50)) == (-1, -1, 0.0)


def test_a_long_curve_lists_only_its_changes() -> None:
    certificate = pointwise([0, 0, 0], [5, 40_000, 2_000_000])
    found = curve(certificate, np.zeros(3, dtype=np.int64))
    assert found.r.tolist() == [0, 6, 40_001, 2_000_001]
    assert found.certified_accuracy.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert (found.median_radius, found.max_radius) == (40_000, 2_000_000)
    assert found.at(40_000) == pytest.approx(2 / 3)


def test_an_accuracy_certificate_bounds_the_mean() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]])
    certificate = AccuracyCertificate(
        "toy", Threat.ANY, ESTIMATE, probabilities, lambda p, r: max(p.mean() - 0.2 * r, 0.0)
    )
    found = curve(certificate, np.array([0, 0]))
    assert found.clean_accuracy == pytest.approx(0.65)
    assert found.certified_accuracy.tolist() == pytest.approx([0.65, 0.45, 0.25, 0.05, 0.0])
    assert (found.median_radius, found.max_radius, found.abstained) == (0, 3, 0.0)


def test_a_bound_that_never_falls_is_an_error() -> None:
    certificate = AccuracyCertificate(
        "toy", Threat.ANY, ESTIMATE, np.array([[1.0, 0.0]]), lambda p, r: 0.5
    )
    with pytest.raises(ValueError, match="never reaches 0"):
        certificate.last_radius(np.array([0]))


@pytest.mark.parametrize(
    ("predictions", "radii", "message"),
    [
        ([0, 1], [1], "two arrays of one length"),
        ([0], [-2], "never below -1"),
        ([0], [1.5], "radii must be integers"),
    ],
)
def test_arrays_that_are_no_certificate(
    predictions: list[int], radii: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pointwise(predictions, radii)


def test_guarantees_read_as_words() -> None:
    assert str(DETERMINISTIC) == "deterministic"
    assert str(ESTIMATE) == "estimate"
    assert str(Guarantee.probabilistic(0.001)) == "probabilistic (alpha=0.001 per defense)"
    with pytest.raises(ValueError, match="alpha"):
        Guarantee("deterministic", 0.1)
    with pytest.raises(ValueError, match="kind"):
        Guarantee("certain")
