"""Scores that are linear in the labels: the fewest changed labels that turn a prediction, exactly.

Where features are trusted, many learners give label l of a test example the score
``f_l = sum_j w_j [y_j = l]``, with weights w_j that follow from the features alone: ridge
regression, nearest neighbours, kernel smoothers. What an attacker who changes labels can do is then
known exactly (Meyer, Albarghouthi, D'Antoni: Certifying Data-Bias Robustness in Linear Regression,
2022, for one output).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.certificates import FloatArray, IntArray

NEVER = np.iinfo(np.int64).max
"""As many flips as no attacker has: the prediction cannot be turned."""


def flips_to_each(
    weights: FloatArray, labels: IntArray, n_labels: int, error: FloatArray | float = 0.0
) -> tuple[IntArray, IntArray]:
    """The labels with the largest scores, and the fewest changed labels that put each rival ahead.

    ``weights`` (e, n) float64, ``labels`` (n,) in 0 ... c - 1; ``error``, (e,) or one number, is a
    bound on how far any score can be from the one that is meant, whatever the labels: the sum over
    j of how far each weight is off, say. Let a be predicted and b a rival. Changing label j at best
    yields b, on f_a - f_b,

        w_j ([y_j = a] - [y_j = b] + 1)     if w_j > 0: the label becomes b,
        |w_j| ([y_j = b] - [y_j = a] + 1)   otherwise: the label becomes a.

    Each label can be changed once, so k changes yield at most the k largest gains, and the attacker
    can have those: the fewest flips for b is the shortest prefix of the sorted gains that makes up
    for the difference. That is exact, for two labels and for more.

    Sums are rounded against the certificate. A sum that falls short of the difference by no more
    than ``error`` and the rounding of float64 can explain is taken to reach it, tie or not.

    Returns ``predicted`` (e,), the smaller label in a tie, and ``flips`` (e, c): 0 where the scores
    are too close to say which label is ahead, NEVER where all labels together do not put this one
    ahead, and for the predicted label.
    """
    e, n = weights.shape
    scores = weights @ (labels[:, None] == np.arange(n_labels)).astype(np.float64)
    predicted = scores.argmax(axis=1).astype(np.int64)
    best, size = scores.max(axis=1), np.abs(weights)
    # A sum of n terms errs by less than n eps times the sum of their sizes, in any order. The
    # difference of two scores has each weight in it at most once, a prefix of gains at most twice.
    slack = 3 * (error + (n + 2) * np.finfo(np.float64).eps * size.sum(axis=1))
    own = np.equal.outer(predicted, labels)
    flips = np.full((e, n_labels), NEVER)
    for rival in range(n_labels):
        needed = best - scores[:, rival] - slack
        gains = gains_of_flips(weights, own, labels == rival)
        gains.sort(axis=1)
        reached = gains[:, ::-1].cumsum(axis=1)
        short = (reached < needed[:, None]).sum(axis=1)
        flips[:, rival] = np.where(needed > 0, np.where(short < n, short + 1, NEVER), 0)
    flips[np.arange(e), predicted] = NEVER
    return predicted, flips


def gains_of_flips(
    weights: FloatArray, own: NDArray[np.bool_], rival: NDArray[np.bool_]
) -> FloatArray:
    """What changing each label yields a rival at best, shape (..., n): see :func:`flips_to_each`.

    ``weights`` (..., n); ``own`` and ``rival``: which labels are the predicted one, and which are
    the rival's. A label with a positive weight becomes the rival's, any other the predicted one.
    """
    towards = np.where(weights > 0, 1, -1)
    found: FloatArray = np.abs(weights) * (1 + towards * (own.astype(np.int8) - rival))
    return found


def fewest_flips(
    weights: FloatArray, labels: IntArray, n_labels: int, error: FloatArray | float = 0.0
) -> tuple[IntArray, IntArray]:
    """As :func:`flips_to_each`, but ``flips`` (e,) that put whichever rival ahead: exact as well,
    for the prediction turns as soon as one of them is.
    """
    predicted, flips = flips_to_each(weights, labels, n_labels, error)
    return predicted, flips.min(axis=1)


def radii_of(flips: NDArray[np.int64], n: int) -> IntArray:
    """(e,) radii, given the fewest flips that turn each prediction: one less, at most n."""
    return np.minimum(flips - 1, n)
