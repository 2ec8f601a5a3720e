"""Single poisonings that may cost a test example something, whatever the defense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.attacks.near_copies import near_copy
from harness.datasets.poisoning import Poisoning
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.attacking.aim import Aim
    from harness.datasets.base import Dataset


@dataclass(frozen=True)
class Candidates:
    """Changes of one training example each, that the threat allows.

    Copies of the test examples ``aims`` in which the last bit of a value is changed, so that
    whatever follows from an example's content is another; the training examples that are nearest to
    them; the first and the last example, by which it shows whether places matter; and examples of
    the lowest and the highest values, which move a statistic most.
    """

    data: Dataset
    threat: Threat
    aims: Sequence[Aim]

    def general(self) -> Iterator[Poisoning]:
        """Those that are meant for no test example in particular."""
        n, threat = self.data.n_train, self.threat
        if threat in (Threat.DELETE, Threat.ANY):
            for index in (0, n - 1):
                yield Poisoning.delete([index])
        if threat is Threat.LABEL_FLIP:
            for index in (0, n - 1):
                label = (int(self.data.y_train[index]) + 1) % self.data.n_labels
                yield Poisoning.flip([index], label)
        for row, label in self._corners():
            if threat is Threat.INSERT:
                for first in (True, False):
                    yield Poisoning.insert(row[None], label, first=first)
            elif threat in (Threat.MODIFY, Threat.ANY):
                yield Poisoning.replace([0], row[None], label)

    def against(self, aim: Aim, start: int, size: int) -> Iterator[Poisoning]:
        """``size`` of them against that test example, from the ``start``-th on."""
        for place in range(start, start + size):
            yield from self._against(aim, place)

    def _corners(self) -> Iterator[tuple[NDArray[Any], int]]:
        domain = self.data.domain
        for value in (domain.lowest, domain.highest):
            row = np.full(domain.example, value).astype(domain.dtype)
            for label in sorted({aim.rivals[0] for aim in self.aims}):
                yield row, label

    def _against(self, aim: Aim, place: int) -> Iterator[Poisoning]:
        threat, rival = self.threat, aim.rivals[0]
        if threat is Threat.INSERT:
            yield Poisoning.insert(near_copy(self.data, aim.example, place)[None], rival)
            return
        near = aim.nearness()
        supporters = near[self.data.y_train[near] == aim.predicted]
        if place >= len(supporters):
            return
        victim = [int(supporters[place])]
        if threat is Threat.DELETE:
            yield Poisoning.delete(victim)
        elif threat is Threat.LABEL_FLIP:
            yield Poisoning.flip(victim, rival)
        else:
            copy = near_copy(self.data, aim.example, place)
            yield Poisoning.replace(victim, copy[None], rival)
