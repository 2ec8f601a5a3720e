"""Clusters that get the labels they agree with most: how many flips that withstands.

After the appendix of Levine, Feizi: Deep Partition Aggregation, ICLR 2021, which labels clusters of
unlabelled data by the training labels; the radius of a one-to-one assignment is derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

IntArray = NDArray[np.int64]


def agreements(counts: IntArray) -> IntArray:
    """(m, c): the largest agreement with the training labels if cluster g gets label l, at [g, l].

    ``counts`` (m, c): how many training examples of each cluster have each label. With as many
    clusters as labels each label goes to one cluster, and the agreement is that of all clusters; it
    is that of the cluster alone where there are more clusters, for then labels may be given twice.
    """
    m, c = counts.shape
    if m != c:
        return counts.astype(np.int64)
    given = linear_sum_assignment(counts, maximize=True)[1]
    own = counts[np.arange(m), given].astype(np.int64)
    # What is lost if cluster g takes the label of h, at [g, h]; then, by the shortest paths of
    # Floyd and Warshall, if h finds another and so on, until somebody takes that of the last. No
    # circle of such steps gains anything, as the assignment is the best: in whole numbers.
    loss = own[:, None] - counts[:, given]
    chain = loss.copy()
    for via in range(m):
        np.minimum(chain, chain[:, via, None] + chain[via], out=chain)
    found = np.empty((m, c), np.int64)
    found[:, given] = own.sum() - loss - chain.T
    return found


def labels_and_radii(counts: IntArray) -> tuple[IntArray, IntArray]:
    """The label of each cluster and how many flipped training labels it withstands, (m,) each.

    A cluster gets the label with the largest agreement, the smaller one in a tie. A flipped label
    raises the agreement of one assignment by at most 1 and lowers that of another by at most 1. So
    label a stays ahead of b after r flips if its agreement is larger by 2 r + [b < a] or more.
    Flips of examples on which only the two best assignments differ do that, so it is exact for two
    labels and for more clusters than labels; with more labels a third assignment may stay ahead.
    """
    m, c = counts.shape
    agreed = agreements(counts)
    labels = agreed.argmax(axis=1)
    ahead = agreed[np.arange(m), labels][:, None] - agreed - (np.arange(c) < labels[:, None])
    ahead[np.arange(m), labels] = np.iinfo(np.int64).max
    return labels.astype(np.int64), np.minimum(ahead.min(axis=1) // 2, int(counts.sum()))
