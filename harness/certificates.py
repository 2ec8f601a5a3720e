"""Certificates: what is proved about each test example, or about the expected accuracy.

A certificate is made without test labels. Labels meet it in :meth:`Certificate.certified_accuracy`
and :meth:`Certificate.clean_accuracy`, which the curve calls, and nowhere else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from harness.threats import Threat

ABSTAIN = -1
"""The radius of an example for which nothing is proved, not even on the clean training set."""

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Kind(StrEnum):
    """What a certificate is a statement about. Only statements of one kind can be ranked."""

    POINTWISE = "pointwise"
    """Each test example: its prediction stays the same, whichever attack is chosen for it."""
    EXPECTED_ACCURACY = "expected-accuracy"
    """The accuracy on average over the randomness of training; not any one example."""
    COLLECTIVE = "collective-accuracy"
    """The accuracy on the whole test set after one attack; not which examples it leaves right."""


@dataclass(frozen=True)
class Guarantee:
    """How sure a certificate is: ``deterministic``, ``probabilistic`` or ``estimate``.

    A probabilistic certificate errs with probability at most ``alpha``: for all test examples and
    threats of its defense at once where ``split`` is "defense", for each test example on its own
    where it is "example".
    """

    kind: str
    alpha: float | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("deterministic", "probabilistic", "estimate"):
            raise ValueError(f"unknown kind of guarantee: {self.kind!r}")
        if {self.alpha is None, self.split is None} != {self.kind != "probabilistic"}:
            raise ValueError("alpha and its split belong to a probabilistic guarantee")

    @classmethod
    def probabilistic(cls, alpha: float, split: str = "defense") -> "Guarantee":
        """Wrong with probability at most ``alpha``, over all test examples unless said."""
        return cls("probabilistic", alpha, split)

    def __str__(self) -> str:
        if self.alpha is None:
            return self.kind
        return f"probabilistic (alpha={self.alpha:g} per {self.split})"


DETERMINISTIC = Guarantee("deterministic")
ESTIMATE = Guarantee("estimate")


@dataclass(frozen=True)
class Certificate(ABC):
    """What one defense proves under one threat. ``method`` names the theorem that was used."""

    method: str
    threat: Threat
    guarantee: Guarantee

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What it is a statement about; the same for all certificates of a class."""

    @abstractmethod
    def certified_accuracy(self, labels: IntArray, r: IntArray) -> FloatArray:
        """Certified accuracy in [0, 1] at each of the integers ``r`` >= 0, given (e,) labels."""

    @abstractmethod
    def clean_accuracy(self, labels: IntArray) -> float:
        """Accuracy in [0, 1] of the defense trained on the clean set, abstention or not."""

    @abstractmethod
    def last_radius(self, labels: IntArray) -> int:
        """The largest r with certified accuracy above 0; -1 where there is none."""

    @property
    @abstractmethod
    def abstained(self) -> float:
        """The fraction of test examples, in [0, 1], for which nothing is proved."""

    @property
    def by_example(self) -> "PointwiseCertificate | None":
        """What it says of each test example by itself; None where it says nothing of any."""
        return None


@dataclass(frozen=True)
class PointwiseCertificate(Certificate):
    """For each test example a prediction and a radius.

    ``predictions`` (e,) int64: the label that the defense predicts. ``radii`` (e,) int64: the
    prediction stays the same for every attack of at most that size; ABSTAIN (-1) where nothing is
    proved. Raises ValueError for arrays that do not fit together or radii below -1.
    """

    predictions: IntArray
    radii: IntArray

    kind = Kind.POINTWISE

    def __post_init__(self) -> None:
        if self.predictions.ndim != 1 or self.predictions.shape != self.radii.shape:
            raise ValueError(
                "predictions and radii must be two arrays of one length, found shapes "
                f"{self.predictions.shape} and {self.radii.shape}"
            )
        for name in ("predictions", "radii"):
            array = getattr(self, name)
            if not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"{name} must be integers, found {array.dtype}")
            object.__setattr__(self, name, array.astype(np.int64))
        if self.radii.size and self.radii.min() < ABSTAIN:
            raise ValueError(f"a radius is never below -1 (abstain), found {self.radii.min()}")

    def certified_accuracy(self, labels: IntArray, r: IntArray) -> FloatArray:
        """The fraction rightly predicted with a radius of at least r (Jia et al., Eq. 9)."""
        right = np.sort(self.radii[(self.predictions == labels) & (self.radii >= 0)])
        at_least = right.size - np.searchsorted(right, r, side="left")
        return at_least / max(labels.size, 1)

    def clean_accuracy(self, labels: IntArray) -> float:
        return float(np.mean(self.predictions == labels))

    def last_radius(self, labels: IntArray) -> int:
        right = self.radii[self.predictions == labels]
        return int(right.max(initial=ABSTAIN))

    @property
    def abstained(self) -> float:
        return float(np.mean(self.radii == ABSTAIN))

    @property
    def by_example(self) -> "PointwiseCertificate":
        return self


def last_above_zero(bound: Callable[[int], float], low: int) -> int:
    """The largest r at which ``bound``, which falls with r, is above 0, as it is at ``low`` >= 0.

    Raises ValueError where it is still above 0 at 2^40.
    """
    beyond = low + 1
    while bound(beyond) > 0:
        low, beyond = beyond, 2 * beyond
        if beyond > 2**41:
            raise ValueError("the bound on the accuracy never reaches 0")
    while beyond - low > 1:  # bound(low) > 0 >= bound(beyond)
        middle = (low + beyond) // 2
        low, beyond = (middle, beyond) if bound(middle) > 0 else (low, middle)
    return low


@dataclass(frozen=True)
class AccuracyCertificate(Certificate):
    """A lower bound on the expected accuracy after r poisonings; it says nothing of one example.

    ``label_probabilities`` (e, c): for each test example how probable each predicted label is, over
    the randomness of training. ``bound(p, r)`` takes p (e,), the probability of the right label,
    and one integer r, and returns a lower bound in [0, 1] that falls with r. Where
    ``label_probabilities`` are lower confidence bounds, ``mean_probabilities`` (e, c) are the
    plain means behind them: the clean accuracy is theirs.
    """

    label_probabilities: FloatArray
    bound: Callable[[FloatArray, int], float]
    mean_probabilities: FloatArray | None = None

    kind = Kind.EXPECTED_ACCURACY

    def _right(self, labels: IntArray) -> FloatArray:
        return self.label_probabilities[np.arange(labels.size), labels]

    def certified_accuracy(self, labels: IntArray, r: IntArray) -> FloatArray:
        p = self._right(labels)
        return np.array([self.bound(p, int(one)) for one in np.atleast_1d(r)])

    def clean_accuracy(self, labels: IntArray) -> float:
        means = self.mean_probabilities
        if means is None:
            means = self.label_probabilities
        return float(means[np.arange(labels.size), labels].mean())

    def last_radius(self, labels: IntArray) -> int:
        p = self._right(labels)
        if self.bound(p, 0) <= 0:
            return ABSTAIN
        return last_above_zero(lambda r: self.bound(p, r), 0)

    @property
    def abstained(self) -> float:
        return 0.0


@dataclass(frozen=True)
class CollectiveCertificate(Certificate):
    """A lower bound on the accuracy on the whole test set after one attack of size r.

    ``predictions`` (e,) and ``radii`` (e,) int64 as in :class:`PointwiseCertificate`: an example is
    lost at most where its radius is below r. ``turned(which, r)`` bounds from above how many of the
    test examples ``which`` (e,) bool one attack of size r turns. It may be dear, so each question
    is put once. Never below the pointwise curve (Chen et al., ICML 2022).
    """

    predictions: IntArray
    radii: IntArray
    turned: Callable[[NDArray[np.bool_], int], int]
    _asked: dict[tuple[bytes, int], int] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    kind = Kind.COLLECTIVE

    @property
    def by_example(self) -> PointwiseCertificate:
        return PointwiseCertificate(
            self.method, self.threat, self.guarantee, self.predictions, self.radii
        )

    def certified_accuracy(self, labels: IntArray, r: IntArray) -> FloatArray:
        right = self.predictions == labels
        safe = self.by_example.certified_accuracy(labels, np.atleast_1d(r))
        kept = [np.count_nonzero(right) - self.lost(right, int(one)) for one in np.atleast_1d(r)]
        return np.maximum(safe, np.array(kept) / max(labels.size, 1))

    def lost(self, which: NDArray[np.bool_], r: int) -> int:
        """How many of the examples ``which`` (e,) one attack of size r turns at most."""
        unsafe = which & (self.radii < r)
        key = unsafe.tobytes(), r
        if key not in self._asked:
            examples = int(np.count_nonzero(unsafe))
            found = self.turned(unsafe, r) if r > 0 and examples else examples
            self._asked[key] = min(found, examples)
        return self._asked[key]

    def clean_accuracy(self, labels: IntArray) -> float:
        return self.by_example.clean_accuracy(labels)

    def last_radius(self, labels: IntArray) -> int:
        low = self.by_example.last_radius(labels)
        return low if low < 0 else last_above_zero(lambda r: self._at(labels, r), low)

    def _at(self, labels: IntArray, r: int) -> float:
        return float(self.certified_accuracy(labels, np.array([r]))[0])

    @property
    def abstained(self) -> float:
        return self.by_example.abstained
