"""Certified accuracy against r: the one place where test labels meet predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.certificates import Certificate, CollectiveCertificate, PointwiseCertificate

SUMMARY_R = (0, 10, 50, 100, 200, 500, 1000)
"""The r at which summaries give the certified accuracy."""

_EVERY_R = 10_000
_BEYOND = 2_000
"""At how many r beyond those a bound on the average accuracy is asked for, a geometric series."""
_FARTHEST = 2**62
"""The largest radius in a curve."""


@dataclass(frozen=True)
class Curve:
    """Certified accuracy as a step function of r: a value holds until the next r.

    ``r`` (s,) int64 from 0 on, increasing; ``certified_accuracy`` (s,) in [0, 1], non-increasing,
    0 at the last r. Every r is listed as long as there are at most 10,000, else those at which the
    value changes. A bound on the average accuracy may then change at every r: from 10,000 on it is
    listed at some 2,000, each with the value at the last r before the next, the smallest up to
    there. So the curve never claims more than the certificate.
    """

    r: NDArray[np.int64]
    certified_accuracy: NDArray[np.float64]
    clean_accuracy: float
    abstained: float
    median_radius: int
    """The largest r with a certified accuracy of at least one half; -1 where there is none."""
    max_radius: int
    """The largest r with a certified accuracy above 0; -1 where there is none."""

    def at(self, r: int) -> float:
        """The certified accuracy at r."""
        return float(self.certified_accuracy[np.searchsorted(self.r, r, side="right") - 1])


def curve(certificate: Certificate, labels: NDArray[np.int64]) -> Curve:
    """The curve of a certificate for (e,) test labels.

    Time and memory depend on the number of test examples, not on the radii.
    """
    if isinstance(certificate, CollectiveCertificate):
        return _collective(certificate, labels)
    last = min(certificate.last_radius(labels), _FARTHEST)
    if last + 2 <= _EVERY_R:
        r = np.arange(last + 2, dtype=np.int64)
    elif isinstance(certificate, PointwiseCertificate):
        r = _changes(certificate, labels, last)
    else:
        r = _grid(certificate, labels, last)
    until = np.append(r[1:] - 1, last + 1)
    accuracy = certificate.certified_accuracy(labels, until)
    return _made(certificate, labels, r, accuracy)


def _made(
    certificate: Certificate,
    labels: NDArray[np.int64],
    r: NDArray[np.int64],
    accuracy: NDArray[np.float64],
) -> Curve:
    """The curve with those values from each ``r`` until the next, the last of which is 0."""
    last = int(r[-1]) - 1
    median = int(np.append(r, last + 2)[np.count_nonzero(accuracy >= 0.5)]) - 1
    if r.size > _EVERY_R:
        changes = np.flatnonzero(np.diff(accuracy, prepend=np.inf))
        r, accuracy = r[changes], accuracy[changes]
    clean = certificate.clean_accuracy(labels)
    return Curve(r, accuracy, clean, certificate.abstained, median, last)


def _changes(
    certificate: PointwiseCertificate, labels: NDArray[np.int64], last: int
) -> NDArray[np.int64]:
    """0 and each r that is one more than the radius of an example that is rightly predicted."""
    right = certificate.radii[certificate.predictions == labels]
    return np.unique(np.append(np.minimum(right, last), -1)) + 1


def _grid(certificate: Certificate, labels: NDArray[np.int64], last: int) -> NDArray[np.int64]:
    """Every r below 10,000, some up to ``last`` + 1, and the one beyond the median radius."""
    low, high = -1, last + 1  # bisect for the largest r with one half: certified accuracy falls
    while high - low > 1:
        middle = (low + high) // 2
        enough = certificate.certified_accuracy(labels, np.array([middle]))[0] >= 0.5
        low, high = (middle, high) if enough else (low, middle)
    beyond = np.geomspace(_EVERY_R, last + 1, _BEYOND).astype(np.int64)
    return np.unique(np.concatenate([np.arange(_EVERY_R), beyond.clip(max=last + 1), [high]]))


_LEVELS = (0.9, 0.75, 0.5, 0.25, 0.1, 0.0)
"""The fractions of the clean accuracy below which the pointwise curve has fallen where one attacker
for all test examples is asked for."""
_FARTHER = 1.25
_STEPS = 6
"""Beyond the last pointwise radius: so often that much farther, while anything is left."""


def _collective(certificate: CollectiveCertificate, labels: NDArray[np.int64]) -> Curve:
    """Each r is an integer program, so few are solved: those of the summary, and those where the
    pointwise curve falls. An attack of fewer units turns no more, so what is proved at one holds
    down to where the pointwise curve proves more.
    """
    simple = curve(certificate.by_example, labels)
    solved = _programs(certificate, labels, simple)
    # Accuracy falls with r, so whatever holds farther out holds here as well.
    proved = np.maximum.accumulate(np.array(list(solved.values()))[::-1])[::-1]
    at = np.array(list(solved))
    last = max(simple.max_radius, int(at[-1]))
    r = np.unique(np.concatenate([simple.r, at, at + 1]))
    if last + 2 <= _EVERY_R:
        r = np.arange(last + 2, dtype=np.int64)
    accuracy = np.maximum(
        [simple.at(int(one)) for one in r], np.append(proved, 0.0)[np.searchsorted(at, r)]
    )
    end = int(np.count_nonzero(accuracy > 0)) + 1  # 0 is listed once
    return _made(certificate, labels, r[:end], accuracy[:end])


def _programs(
    certificate: CollectiveCertificate, labels: NDArray[np.int64], simple: Curve
) -> dict[int, float]:
    """The certified accuracy at each r for which one attacker is asked, by increasing r."""
    first = [
        int(simple.r[np.argmax(simple.certified_accuracy <= level * simple.certified_accuracy[0])])
        for level in _LEVELS
    ]
    fallen = [r for r in SUMMARY_R if simple.at(r) < simple.certified_accuracy[0]]
    solved: dict[int, float] = {}
    for r in sorted({*first, *fallen}):
        solved[r] = float(certificate.certified_accuracy(labels, np.array([r]))[0])
        if not solved[r]:
            return solved
    for _ in range(_STEPS):
        r = math.ceil(_FARTHER * max(solved))
        solved[r] = float(certificate.certified_accuracy(labels, np.array([r]))[0])
        if not solved[r]:
            break
    return solved
