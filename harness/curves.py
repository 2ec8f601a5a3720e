"""Certified accuracy against r: the one place where test labels meet predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.certificates import Certificate

SUMMARY_R = (0, 10, 50, 100, 200, 500, 1000)
"""The r at which summaries give the certified accuracy."""

_EVERY_R = 10_000


@dataclass(frozen=True)
class Curve:
    """Certified accuracy as a step function of r: a value holds until the next r.

    ``r`` (s,) int64 from 0 on, increasing; ``certified_accuracy`` (s,) in [0, 1], non-increasing,
    0 at the last r. Every r is listed as long as there are at most 10,000, else those at which the
    value changes.
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
    """The curve of a certificate for (e,) test labels."""
    last = certificate.last_radius(labels)
    r = np.arange(last + 2, dtype=np.int64)
    accuracy = certificate.certified_accuracy(labels, r)
    median = int(np.count_nonzero(accuracy >= 0.5)) - 1
    if r.size > _EVERY_R:
        changes = np.flatnonzero(np.diff(accuracy, prepend=np.inf))
        r, accuracy = r[changes], accuracy[changes]
    clean = certificate.clean_accuracy(labels)
    return Curve(r, accuracy, clean, certificate.abstained, median, last)
