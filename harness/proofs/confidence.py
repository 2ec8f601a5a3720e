"""Simultaneous confidence bounds on label probabilities from votes (SimuEM).

The Clopper-Pearson quantiles come from SciPy, on the side of one half where they are small, and are
then moved away from the estimate by a relative 1e-9: more than SciPy's error and far less than
matters, so that rounding never favours a certificate.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainccinv, betaincinv

_MARGIN = 1e-9
_LEAST = 1e-200
"""Below this alpha SciPy's quantiles can be wrong by more than the margin: nothing is claimed."""

Split = Literal["paper", "per-example"]


@dataclass(frozen=True)
class LabelBounds:
    """Bounds for e examples: the voted label, and what is known of its and its rivals' probability.

    ``prediction`` (e,) int64; ``p_lower`` (e,) in [0, 1]: at most the label's probability;
    ``p_upper`` (e,) in [0, 1]: at least the probability of every other label.
    """

    prediction: NDArray[np.int64]
    p_lower: NDArray[np.float64]
    p_upper: NDArray[np.float64]


def clopper_pearson_lower(successes: ArrayLike, trials: int, alpha: float) -> NDArray[np.float64]:
    """One-sided lower bounds on a probability, each wrong with probability at most ``alpha``.

    ``Beta(alpha; x, N - x + 1)``, and 0 where x = 0 (Clopper and Pearson 1934; Jia et al., Eq. 5).
    """
    x, where = np.unique(np.asarray(successes), return_inverse=True)
    x = x.astype(np.float64)
    bound = np.zeros(x.shape)
    some = (x > 0) & (alpha >= _LEAST)
    bound[some] = betaincinv(x[some], trials - x[some] + 1, alpha) * (1 - _MARGIN)
    near = bound > 0.5
    failures = betainccinv(trials - x[near] + 1, x[near], alpha) * (1 + _MARGIN)
    bound[near] = np.nextafter(1 - failures, 0)
    return np.clip(np.nan_to_num(bound, nan=0.0), 0.0, 1.0)[where].reshape(np.shape(successes))


def clopper_pearson_upper(successes: ArrayLike, trials: int, alpha: float) -> NDArray[np.float64]:
    """One-sided upper bounds on a probability, each wrong with probability at most ``alpha``.

    ``Beta(1 - alpha; x + 1, N - x)``, and 1 where x = N (Clopper and Pearson 1934): one less the
    lower bound for the failures. Eq. 6 of Jia et al. prints the shapes (x, N - x + 1), which are
    the lower bound's and give no upper bound.
    """
    x, where = np.unique(np.asarray(successes), return_inverse=True)
    x = x.astype(np.float64)
    bound = np.ones(x.shape)
    some = (x < trials) & (alpha >= _LEAST)
    bound[some] = betainccinv(x[some] + 1, trials - x[some], alpha) * (1 + _MARGIN)
    near = some & (bound > 0.5)
    failures = betaincinv(trials - x[near], x[near] + 1, alpha) * (1 - _MARGIN)
    bound[near] = np.nextafter(1 - failures, 1)
    return np.clip(np.nan_to_num(bound, nan=1.0), 0.0, 1.0)[where].reshape(np.shape(successes))


def simuem(votes: NDArray[Any], alpha: float, *, split: Split = "paper") -> LabelBounds:
    """SimuEM (Jia et al. 2020; Jia et al. 2021, Eqs. 5 and 6) from ``votes`` (e, c), N in each row.

    The voted label is the one with most votes, the smaller one in a tie. ``split`` says how alpha
    is shared out:

    - ``paper``: alpha / (e c) for each bound; all e examples hold together with 1 - alpha.
    - ``per-example``: alpha / c for each bound; each example holds on its own with 1 - alpha.

    With two labels alpha / e for one bound would not do, although their counts are complementary:
    which label the bound is for is chosen by the same votes, so either label's bound may fail.

    Raises ValueError for votes that are not counts or differ in their sum.
    """
    votes = np.asarray(votes)
    if votes.ndim != 2 or votes.shape[1] < 2 or votes.size == 0:
        raise ValueError(f"votes must have shape (examples, labels >= 2), found {votes.shape}")
    if not np.issubdtype(votes.dtype, np.integer) or votes.min() < 0:
        raise ValueError("votes must be counts: whole numbers of at least 0")
    e, c = votes.shape
    trials = int(votes[0].sum(dtype=np.int64))
    if trials < 1 or (votes.sum(axis=1, dtype=np.int64) != trials).any():
        raise ValueError("every example must have the same number of votes, at least 1")
    prediction = votes.argmax(axis=1)
    most = votes[np.arange(e), prediction].astype(np.int64)
    one = alpha / c if split == "per-example" else alpha / (e * c)
    lower = clopper_pearson_lower(most, trials, one)
    # The upper bound grows with the count, so the largest of the rivals' is that of the runner-up.
    upper = clopper_pearson_upper(_runner_up(votes, prediction), trials, one)
    return LabelBounds(prediction, lower, np.minimum(upper, 1.0 - lower))


def _runner_up(votes: NDArray[Any], prediction: NDArray[np.int64]) -> NDArray[np.int64]:
    rivals = votes.astype(np.int64)
    rivals[np.arange(len(votes)), prediction] = -1
    most: NDArray[np.int64] = rivals.max(axis=1)
    return most
