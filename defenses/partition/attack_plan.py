"""What an attacker on votes of parts does with r examples, once it knows what turns each model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.datasets.poisoning import Poisoning
from harness.defenses.partition.attack_choice import examples_in_turn
from harness.defenses.partition.attack_copies import Copies
from harness.threats import Threat

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Inserting:
    """Examples that can be inserted: ``copies``, the models ``reached`` (K, G) by each, and how
    many of them turn a model, ``needed`` (m,), 0 where nobody knows.
    """

    copies: Copies
    reached: IntArray
    needed: IntArray


@dataclass
class Plan:
    """Against one rival: ``gains`` (m,) of each model on the difference that the rival ``lacks``.

    ``supporters``: the training examples of the predicted label, the nearest first: what is changed
    where there is nothing better to do. ``turn``: models, the cheapest first, with the rows that
    are changed for each beside the earlier ones.
    """

    rival: int
    gains: IntArray
    lacks: int
    supporters: IntArray
    turn: list[tuple[int, list[int]]] = field(default_factory=list)
    inserting: Inserting | None = None
    _turns: dict[int, IntArray] = field(default_factory=dict, repr=False)

    @cached_property
    def cost(self) -> float:
        """The fewest examples with which the rival should have all that it lacks, or infinity."""
        low, high = 0, 1
        while self._gained(high) < self.lacks:
            if high > len(self.supporters) + len(self.gains):
                return np.inf
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._gained(middle) >= self.lacks else (middle, high)
        return high

    def poisoning(self, threat: Threat, r: int) -> Poisoning | None:
        """What is done with ``r`` examples under the threat; None where there is nothing to do."""
        if threat is Threat.INSERT:
            return self._insertion(r)
        models, rows = self._changed(r)
        rows = self._filled(rows, r)
        if not len(rows):
            return None
        if threat is Threat.DELETE:
            return Poisoning.delete(rows)
        if threat is Threat.LABEL_FLIP:
            return Poisoning.flip(rows, self.rival)
        which = self._inserted(len(rows), models)
        if self.inserting is None or not len(which):
            return None
        return Poisoning.replace(rows, self.inserting.copies.rows(which), self.rival)

    def _insertion(self, r: int) -> Poisoning | None:
        which = self._inserted(r, [])
        if self.inserting is None or not len(which):
            return None
        return Poisoning.insert(self.inserting.copies.rows(which), self.rival)

    def _changed(self, r: int) -> tuple[list[int], IntArray]:
        """The models that ``r`` changed examples turn, and these examples."""
        models, rows = [], list[int]()
        for model, own in self.turn:
            if len(rows) + len(own) > r:
                break
            models.append(model)
            rows += own
        return models, np.array(rows, np.int64)

    def _filled(self, rows: IntArray, r: int) -> IntArray:
        """``r`` rows, or as many as there are: those, then supporters."""
        more = self.supporters[~np.isin(self.supporters, rows)]
        return np.concatenate([rows, more])[:r]

    def _inserted(self, r: int, without: list[int]) -> IntArray:
        """``r`` copies, by their number; the models ``without`` need none."""
        if self.inserting is None:
            return np.zeros(0, np.int64)
        if len(without) not in self._turns:  # they are the first of ``turn``
            needed = self.inserting.needed.copy()
            needed[without] = 0
            found = examples_in_turn(self.inserting.reached, needed, self.gains)
            self._turns[len(without)] = np.array(found, np.int64)
        turn = self._turns[len(without)]
        return np.resize(turn, r if len(turn) else 0)

    def _gained(self, r: int) -> int:
        """What ``r`` examples should gain of what the rival lacks."""
        models, _ = self._changed(r)
        won = int(self.gains[models].sum())
        if self.inserting is None:
            return won
        reached = self.inserting.reached[self._inserted(r, models)]
        there = np.bincount(reached.ravel(), minlength=len(self.gains))
        turned = (self.inserting.needed > 0) & (there >= self.inserting.needed)
        turned[models] = False
        return won + int(self.gains[turned].sum())
