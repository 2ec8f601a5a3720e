"""How many parts an attacker must rewrite where every part is used by several base models.

Wang, Levine, Feizi: Improved Certified Defenses against Data Poisoning with (Deterministic) Finite
Aggregation, ICML 2022; with the run-off of Rezaei et al., ICML 2023. Ties go to the smaller label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.defenses.partition.elections import IntArray, finalists

AT_ONCE = 2**21
"""Predictions handled at a time: arrays of 2 MiB."""

NEVER = np.iinfo(np.int64).max


def plurality(
    predictions: NDArray[Any], offsets: NDArray[Any], n_labels: int
) -> tuple[IntArray, IntArray]:
    """The label with the most votes and how many rewritten parts it withstands, each (e,) int64.

    ``predictions`` (m, e): the label that each model gives; part h is used by the models
    (h + s) mod m for s in ``offsets`` (d,). Wang et al., Theorem 2: for each rival j the largest
    number of parts whose powers, however chosen, sum to no more than n_l - n_j - 1[j < l]; the
    power of a part is the sum over its models of 1 + 1[it votes l] - 1[it votes j].
    """
    return _in_chunks(
        predictions.shape, lambda part: _plurality(predictions[:, part], offsets, n_labels)
    )


def run_off(ranks: NDArray[Any], offsets: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """The winner of the run-off and how many rewritten parts it withstands, each (e,) int64.

    ``ranks`` (m, e, c): the place that each model gives each label, 0 for the best. As
    :func:`harness.defenses.partition.elections.run_off`, with parts in place of models: a rewritten
    part may change all models that use it, and what they could change at most is added up.
    """
    m, e, _ = ranks.shape
    return _in_chunks((m, e), lambda part: _run_off(ranks[:, part], offsets))


def _in_chunks(
    shape: tuple[int, ...], certify: Callable[[slice], tuple[IntArray, IntArray]]
) -> tuple[IntArray, IntArray]:
    m, e = shape
    size = max(1, AT_ONCE // m)
    parts = [certify(slice(start, start + size)) for start in range(0, e, size)]
    return np.concatenate([p for p, _ in parts]), np.concatenate([r for _, r in parts])


def _plurality(
    predictions: NDArray[Any], offsets: NDArray[Any], n_labels: int
) -> tuple[IntArray, IntArray]:
    ballot = _Ballot(predictions, offsets, n_labels)
    winner = ballot.votes.argmax(axis=1)
    needed = [ballot.parts_to_overtake(winner, rival) for rival in _rivals(winner, n_labels)]
    return winner, np.min(needed, axis=0) - 1


def _run_off(ranks: NDArray[Any], offsets: NDArray[Any]) -> tuple[IntArray, IntArray]:
    c = ranks.shape[2]
    if c == 2:  # both labels are in the run-off, and who prefers one has voted for it
        return _plurality(ranks.argmin(axis=2), offsets, c)
    ballot = _Ballot(ranks.argmin(axis=2), offsets, c)
    smaller, larger = finalists(ballot.votes)
    prefer_larger = _of(ranks, larger) < _of(ranks, smaller)
    winner = np.where(2 * prefer_larger.sum(axis=0) > len(ranks), larger, smaller)
    of_winner = _of(ranks, winner)
    losses, overtaken = [], []
    for rival in _rivals(winner, c):
        prefer_winner = of_winner < _of(ranks, rival)
        head = 2 * prefer_winner.sum(axis=0) - len(ranks) + (rival > winner)
        second_round = ballot.fewest_parts(2 * prefer_winner, head)
        # It enters the top two only past one of those that are there; past itself costs nothing.
        first_round = np.minimum(
            ballot.parts_to_overtake(smaller, rival), ballot.parts_to_overtake(larger, rival)
        )
        losses.append(np.maximum(second_round, first_round))
        overtaken.append(ballot.parts_to_overtake(winner, rival))
    pushed_out = np.maximum(np.sort(overtaken, axis=0)[1], ballot.parts_to_push_out(winner))
    return winner, np.minimum(np.min(losses, axis=0), pushed_out) - 1


class _Ballot:
    """What m models vote for e test examples, and which parts of the training set they use."""

    def __init__(self, predictions: NDArray[Any], offsets: NDArray[Any], n_labels: int) -> None:
        self.predictions = np.ascontiguousarray(predictions)
        self.offsets = offsets
        self.votes = np.stack(
            [(self.predictions == label).sum(axis=0) for label in range(n_labels)], axis=1
        )

    def parts_to_overtake(self, ahead: IntArray, behind: IntArray) -> IntArray:
        """(e,) the fewest parts whose powers sum to the lead of one label over another."""
        lead = _of(self.votes, ahead) - _of(self.votes, behind) + (ahead < behind)
        powers = (self.predictions == ahead).astype(np.uint8) + (self.predictions != behind)
        return self.fewest_parts(powers, lead)

    def parts_to_push_out(self, winner: IntArray) -> IntArray:
        """(e,) parts without which no attack puts two labels ahead of ``winner``.

        A model that had voted for it gains at most 3 on the sum of its leads over the two, any
        other at most 1; see :func:`harness.defenses.partition.elections.run_off`.
        """
        labels = np.arange(self.votes.shape[1])
        leads = _of(self.votes, winner)[:, None] - self.votes + (labels > winner[:, None])
        np.put_along_axis(leads, winner[:, None], NEVER, axis=1)
        both = np.partition(leads, 1, axis=1)[:, :2].sum(axis=1)
        return self.fewest_parts(1 + 2 * (self.predictions == winner), both)

    def fewest_parts(self, powers: NDArray[Any], target: IntArray) -> IntArray:
        """(e,) how many of the most powerful parts it takes to reach ``target`` (e,).

        ``powers`` (m, e) is what each model can contribute; a part has the sum of its models'.
        """
        most = int(powers.max()) * len(self.offsets)
        powers = powers.astype(np.min_scalar_type(most))
        of_parts = np.zeros_like(powers)
        for offset in self.offsets:
            of_parts += np.roll(powers, -int(offset), axis=0)
        missing, needed = target.copy(), np.zeros_like(target)
        for power in range(int(of_parts.max()), 0, -1):
            if (missing <= 0).all():
                break
            there = (of_parts == power).sum(axis=0)
            used = np.clip(-(-missing // power), 0, there)
            missing -= used * power
            needed += used
        return np.where(missing > 0, NEVER, needed)


def _rivals(winner: IntArray, n_labels: int) -> Iterator[IntArray]:
    """All labels but the winner, one for each test example at a time."""
    for i in range(n_labels - 1):
        yield i + (i >= winner)


def _of(values: NDArray[Any], label: IntArray) -> NDArray[Any]:
    """What ``values`` (..., e, c) hold for the one ``label`` (e,) of each example: (..., e)."""
    index = np.broadcast_to(label[..., None], (*values.shape[:-1], 1))
    return np.take_along_axis(values, index, axis=-1)[..., 0]
