"""How many base models an attacker must rewrite to turn an election among disjoint parts.

Levine, Feizi: Deep Partition Aggregation, ICLR 2021. Rezaei, Banihashem, Chegini, Feizi: Run-Off
Election, ICML 2023. Ties go to the smaller label, in every round.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Election = Literal["plurality", "run-off"]
"""The label with the most votes; or, of the two with the most, the one that more models prefer."""


def plurality(votes: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """The label with the most ``votes`` (e, c) and how many rewritten models it withstands.

    Levine and Feizi, Theorem 1: floor((n_l - max_{j != l} (n_j + 1[j < l])) / 2), each (e,) int64.
    It is tight: rewriting one model more can turn the vote.
    """
    winner = votes.argmax(axis=1)
    needed = _ceil_half(_lead(votes, winner))
    np.put_along_axis(needed, winner[:, None], np.iinfo(np.int64).max, axis=1)
    return winner, needed.min(axis=1) - 1


def run_off(votes: NDArray[Any], preferences: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """The winner of a run-off between the two labels with the most votes, and its radius.

    ``votes`` (e, c); ``preferences`` (e, c, c): how many models prefer label a to label b at
    [a, b]. Returns the winner and how many rewritten models it withstands, each (e,) int64.

    The winner w loses only if it leaves the top two, or some j that beats it in the second round
    reaches them (then w wins no more, in the top two or not). The radius is one less than what the
    cheaper of these takes. It is not always tight: the models whose votes lift j need not be those
    whose preference turns.
    """
    smaller, larger = finalists(votes)
    rows = np.arange(len(votes))
    behind = preferences[rows, larger, smaller] > preferences[rows, smaller, larger]
    winner = np.where(behind, larger, smaller)
    head = preferences[rows, winner].astype(np.int64) - preferences[rows, :, winner]
    labels = np.arange(votes.shape[1])
    second_round = _ceil_half(head + (labels > winner[:, None]))
    needed = np.maximum(second_round, _models_to_top_two(votes))
    needed[rows, winner] = _models_to_push_out(votes, winner)
    return winner, needed.min(axis=1) - 1


def finalists(votes: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """The two labels with the most votes, the smaller label first, each (e,)."""
    order = np.argsort(-votes.astype(np.int64), axis=1, kind="stable")
    smaller, larger = np.sort(order[:, :2], axis=1).T
    return smaller, larger


def _lead(votes: NDArray[Any], winner: IntArray) -> IntArray:
    """(e, c) how far label j must gain on the winner to be ahead of it."""
    labels = np.arange(votes.shape[1])
    counts = votes.astype(np.int64)
    lead: IntArray = np.take_along_axis(counts, winner[:, None], axis=1) - counts
    return lead + (labels > winner[:, None])


def _ceil_half(lead: IntArray) -> IntArray:
    return np.maximum(-(-lead // 2), 0)


def _models_to_top_two(votes: NDArray[Any]) -> IntArray:
    """(e, c) the fewest rewritten models that bring label j among the two with the most votes.

    All of them vote j then. With D the leads of the other labels over j, all but the largest must
    be caught up with; r models gain r on each of them, and another 1 on the one that a model had
    voted for. That is possible with the i largest of these if their sum is at most (i + 1) r.
    """
    e, c = votes.shape
    labels = np.arange(c)
    needed = np.zeros((e, c), np.int64)
    for j in range(c):
        lead = np.delete(votes.astype(np.int64) - votes[:, j : j + 1] + (labels < j), j, axis=1)
        to_catch = -np.sort(-lead, axis=1)[:, 1:]
        i = np.arange(1, to_catch.shape[1] + 1)
        each = -(-to_catch.cumsum(axis=1) // (i + 1))
        needed[:, j] = each.max(axis=1, initial=0)
    return needed


def _models_to_push_out(votes: NDArray[Any], winner: IntArray) -> IntArray:
    """(e,) the fewest rewritten models that put two labels ahead of the winner.

    A model that had voted for the winner and votes a then gains 2 on the lead over a and 1 on that
    over b. p to a and q to b, r in all, suffice if r + p and r + q reach the leads: so both are at
    most 2 r, and their sum at most 3 r. With two labels there is no second one.
    """
    if votes.shape[1] == 2:
        return np.full(len(votes), np.iinfo(np.int64).max)
    lead = _lead(votes, winner)
    np.put_along_axis(lead, winner[:, None], np.iinfo(np.int64).max, axis=1)
    smaller, larger = np.partition(lead, 1, axis=1)[:, :2].T
    both: IntArray = -(-(smaller + larger) // 3)
    return np.maximum(_ceil_half(larger), both)
