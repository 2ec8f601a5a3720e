"""The adaptive attack: it knows nothing of a defense, and watches what single changes bring about.

Certificates that do not hold are found where they are smallest. Single poisonings are carried out
one after another, each told by what it costs some test examples of their margin or radius; then as
many as are certified are put together of those that cost one and the same example most. A radius
that is one too large, a part that follows from an example's place, a statistic of the whole
training set show without any idea of what the defense does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.attacking.candidates import Candidates
from harness.attacking.verdict import NOT_ITS_FAULT, pointwise, turned
from harness.attacking.victim import Victim
from harness.datasets.poisoning import Poisoning

if TYPE_CHECKING:
    from harness.attacking.aim import Aim
    from harness.threats import Threat

ROUND = 8
"""Single poisonings for each test example, between two attempts to put some together."""
ROUNDS = 6
_MANY, _LESS = 200, 1 / 2
"""Where so many trainings take longer than it has, it uses that part of its time: what a few single
changes tell is little, and the attacks of whole sizes can do with the rest."""
_TURNED = 1e9
"""What a changed prediction counts, beside votes of a margin."""


@dataclass(frozen=True)
class Success:
    """A test example that a poisoning of a certified size turned."""

    example: int
    size: int
    poisoning: Poisoning


@dataclass
class Probe:
    """Single poisonings and what they are worth, for the test examples ``aims`` of one cell.

    ``beside``: test examples that are only looked at, predicted so and certified so far: a
    poisoning that is meant for another may turn them as well. ``deadline``: as
    ``time.monotonic`` counts.
    """

    victim: Victim
    threat: Threat
    aims: Sequence[Aim]
    beside: Sequence[Aim] = ()
    deadline: float = float("inf")
    rounds: int = ROUNDS
    trainings: int = 0
    largest: dict[int, int] = field(default_factory=dict)
    """By test example, the largest size that was meant for it."""
    _singles: list[Poisoning] = field(default_factory=list)
    _worth: list[NDArray[np.float64]] = field(default_factory=list)
    _turned: set[int] = field(default_factory=set)
    _tried: set[tuple[int, tuple[int, ...]]] = field(default_factory=set)

    def __post_init__(self) -> None:
        everybody = [*self.aims, *self.beside]
        self._tests = np.array([aim.example for aim in everybody], dtype=np.int64)
        self._proved = np.array([aim.proved for aim in everybody], dtype=np.int64)
        self._before = np.array([aim.predicted for aim in everybody], dtype=np.int64)
        kind = self.victim.defense.guarantee(self.victim.cell.alpha).kind
        self._deterministic = kind == "deterministic"
        self._clean: NDArray[np.float64] | None = None

    def run(self) -> Iterator[Success]:
        """The successes, as they are found; ends when time is over or nothing is left to try."""
        if not self.aims or self._over():
            return
        begun = time.monotonic()
        self._clean = self._strength(Poisoning())[0]
        ready = time.monotonic()  # the first training makes what all have in common
        candidates = Candidates(self.victim.data, self.threat, self.aims)
        for single in candidates.general():
            if self._over():
                return
            yield from self._single(single)
        took = (time.monotonic() - ready) / max(1, len(self._singles))
        if took * _MANY > self.deadline - begun:
            self.deadline -= _LESS * (self.deadline - begun)
        for number in range(self.rounds):
            for place in range(len(self.aims)):  # one after another: time may end before the last
                if self.aims[place].example in self._turned:
                    continue
                for single in candidates.against(self.aims[place], number * ROUND, ROUND):
                    if self._over():
                        return
                    yield from self._single(single)
                yield from self._together(place)

    def _over(self) -> bool:
        return time.monotonic() > self.deadline

    def _single(self, single: Poisoning) -> Iterator[Success]:
        strength, changed = self._strength(single)
        assert self._clean is not None
        worth = self._clean - strength
        worth[changed] = _TURNED
        self._singles.append(single)
        self._worth.append(worth)
        yield from self._successes(single, changed)

    def _together(self, place: int) -> Iterator[Success]:
        """The certified number of those that cost this test example most, in one poisoning."""
        proved = int(self._proved[place])
        worth = np.array([one[place] for one in self._worth])
        order = np.argsort(-worth, kind="stable")
        helpful = [int(i) for i in order if worth[i] > 0]
        if proved < 2 or len(helpful) < proved:
            return  # a single one was tried
        chosen = tuple(self._compatible(helpful, proved))
        if len(chosen) < proved or (place, chosen) in self._tried:
            return
        self._tried.add((place, chosen))
        poisoning = Poisoning.together([self._singles[i] for i in chosen])
        example = int(self._tests[place])
        self.largest[example] = max(self.largest.get(example, 0), proved)
        _, changed = self._strength(poisoning)
        yield from self._successes(poisoning, changed)

    def _compatible(self, order: Sequence[int], most: int) -> Iterator[int]:
        """The first of them that change no training example twice."""
        touched: set[int] = set()
        found = 0
        for i in order:
            mine = set(self._singles[i].touched.tolist())
            if found < most and not mine & touched:
                touched |= mine
                found += 1
                yield i

    def _strength(self, poisoning: Poisoning) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(e,) how firmly each example keeps its label: votes ahead, else the radius; and which
        are turned.
        """
        self.trainings += 1
        try:
            evidence = self.victim.evidence(poisoning, self._tests)
            after = pointwise(self.victim.certify(evidence, self.threat))
        except NOT_ITS_FAULT:
            raise
        except (Exception, SystemExit):  # of a plugin: there is no prediction any more
            if self._clean is None:
                raise
            nothing = np.full(len(self._tests), -np.inf)
            return nothing, np.ones(len(self._tests), bool)
        changed = turned(self._before, after, deterministic=self._deterministic)
        votes = evidence.get("votes")
        if votes is None or votes.shape != (len(self._tests), self.victim.data.n_labels):
            return after.radii.astype(np.float64), changed
        rows = np.arange(len(votes))
        own = votes[rows, self._before].astype(np.float64)
        others = votes.astype(np.float64)
        others[rows, self._before] = -np.inf
        return own - others.max(axis=1), changed

    def _successes(self, poisoning: Poisoning, changed: NDArray[np.bool_]) -> Iterator[Success]:
        size = poisoning.size(self.threat)
        for aim in self.aims:
            self.largest[aim.example] = max(self.largest.get(aim.example, 0), min(size, aim.proved))
        for i in np.flatnonzero(changed & (self._proved >= size)):
            self._turned.add(int(self._tests[i]))
            yield Success(int(self._tests[i]), size, poisoning)
