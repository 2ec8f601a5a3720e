"""One poisoned training set against all test examples at once: what it may be, and what it does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.attacking.aim import Aim, OutOfTime
from harness.attacking.together import Crowd, merged, spread
from harness.attacking.verdict import NOT_ITS_FAULT, REPEATS
from harness.attacking.victim import CLEAN
from harness.attacks.names import ADAPTIVE, OWN
from harness.certificates import ABSTAIN, AccuracyCertificate
from harness.running.containment import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.attacking.victim import Victim
    from harness.attacks.base import Attack
    from harness.datasets.poisoning import Poisoning
    from harness.defense import Evidence
    from harness.threats import Threat

COPIES, NEAR, INFLUENCE = "copies", "near-copies", "influence"
"""The attacks that are made for all test examples together; others are put together of those on
single ones."""
_FRACTIONS = (1.0, 1 / 4, 1 / 16, 1 / 64)
_PLACES = (0.75, 0.5, 0.99, 0.25)
_SIDES = 2
"""So many labels whose examples are attacked alone, too: poison for one side is poison for all."""


@dataclass(frozen=True)
class Shape:
    """How an attack is laid out: against the cheapest ``fraction`` of the test examples that are
    predicted rightly, or of those of one ``label``; at most as many as it has poisonings. With
    ``place``, against one of them alone, so far along their order: what turns most base models
    against one test example turns them against others like it.
    """

    attack: str
    fraction: float
    label: int | None = None
    place: float | None = None


@dataclass(frozen=True)
class Tried:
    """What one layout came to: the accuracy that is ``left``. ``poisoning`` is None where it has
    none of that size, ``ended`` says that time was over; ``error``: what the attack, a plugin,
    raises; ``failure``: what the defense fails with on the poisoned set.
    """

    shape: Shape
    poisoning: Poisoning | None = None
    left: float = 1.0
    trainings: int = 0
    seconds: float = 0.0
    ended: bool = False
    error: str = ""
    failure: str = ""


class Joint:
    """All test examples of a cell under one threat. Trains the cell on the clean set when made.

    ``attacks``: by their names; ``wanted``: only those, all where empty.
    """

    def __init__(
        self,
        victim: Victim,
        threat: Threat,
        attacks: Mapping[str, Attack],
        wanted: tuple[str, ...] = (),
    ) -> None:
        self.victim, self.threat = victim, threat
        self._attacks, self._wanted = attacks, wanted
        self._shared: dict[str, Any] = {}
        self._all = np.arange(victim.data.n_test)
        self._evidence = victim.evidence(CLEAN, self._all)
        self.certificate = victim.certify(self._evidence, threat)
        self.errors: dict[str, str] = {}
        """By the name of an attack that could not be carried out, why."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(e,) the true labels."""
        return self.victim.data.y_test

    @property
    def clean_accuracy(self) -> float:
        """Of the cell trained on the clean set."""
        return self.certificate.clean_accuracy(self.labels)

    @cached_property
    def crowd(self) -> Crowd:
        """The test examples that are predicted rightly, the cheapest first, with their rivals.

        Cheap is what has a small radius or, where nothing is proved of single examples, what few of
        the models predict rightly.
        """
        c, votes = self.victim.data.n_labels, self._evidence.get("votes")
        found, e = self.certificate.by_example, self.victim.data.n_test
        scores = np.zeros((e, c))
        if votes is not None and votes.shape == scores.shape:
            scores += votes
        elif isinstance(self.certificate, AccuracyCertificate):
            scores += self.certificate.label_probabilities
        else:
            scores += np.bincount(self.victim.data.y_train, minlength=c)
        predicted = scores.argmax(axis=1) if found is None else found.predictions
        cost = scores[self._all, predicted] if found is None else found.radii
        right = np.flatnonzero(predicted == self.labels)
        scores[self._all, predicted] = -np.inf
        order = right[np.argsort(cost[right], kind="stable")]
        return Crowd(order, predicted, scores.argmax(axis=1), np.asarray(cost))

    def shapes(self) -> list[Shape]:
        """All layouts, the simplest of each attack first."""
        names = [COPIES] if self.threat.value == "insert" else [INFLUENCE]
        if type(self.victim.defense).attack is not _no_attack():
            names.append(OWN)
        names += [
            name
            for name, one in self._attacks.items()
            if self.threat in one.threats and name not in (COPIES, NEAR, INFLUENCE, ADAPTIVE)
        ]
        names = [name for name in names if not self._wanted or name in self._wanted]
        sides = self.crowd.sides(_SIDES)
        whole = [n for n in names if n in (COPIES, INFLUENCE)]
        each = [n for n in names if n not in whole]
        wide, *narrow = [
            [Shape(n, part, side) for side in (None, *sides) for n in whole] for part in _FRACTIONS
        ]
        alone = [Shape(n, 0.0, side, at) for at in _PLACES for side in sides for n in each]
        # Last what is planned for hundreds of test examples one by one, the fewest first.
        slow = [
            Shape(n, part, side)
            for part in reversed(_FRACTIONS)
            for side in (None, *sides)
            for n in each
        ]
        return [*wide, *alone, *(shape for some in narrow for shape in some), *slow]

    def carry_out(self, shape: Shape, r: int, deadline: float) -> Tried:
        """What that layout of at most ``r`` comes to; ``deadline`` as ``time.monotonic`` counts."""
        start, trained = time.perf_counter(), self.victim.trainings
        try:
            poisoning = self.poisoning(shape, r, deadline)
        except OutOfTime:
            return Tried(shape, ended=True)
        if poisoning is None:
            return Tried(shape, error=self.errors.get(shape.attack, ""))
        try:
            left = self.left(poisoning)[0]
        except NOT_ITS_FAULT:
            raise
        except (Exception, SystemExit) as failed:  # of a plugin
            return Tried(shape, failure=describe(failed))
        trainings = self.victim.trainings - trained
        return Tried(shape, poisoning, left, trainings, time.perf_counter() - start)

    def poisoning(self, shape: Shape, r: int, deadline: float) -> Poisoning | None:
        """The poisoned set of that layout, of at most r; None where there is none. Raises
        OutOfTime; what an attack that is a plugin raises is kept in ``errors``.
        """
        targets = self.crowd.of(shape.label)
        if not len(targets) or shape.attack in self.errors:
            return None
        if shape.place is not None:
            targets = targets[[int(shape.place * (len(targets) - 1))]]
        else:
            bounded = len(targets) if shape.attack == INFLUENCE else min(r, len(targets))
            targets = targets[: max(1, int(shape.fraction * bounded))]
        try:
            if shape.attack in (COPIES, INFLUENCE):
                found = spread(self.victim, self.threat, self.crowd, targets, r, self._shared)
            else:
                found = merged(self._each(shape.attack, targets, r, deadline), self.threat, r)
            if found is not None:
                found.check(self.victim.data, self.threat, r)
        except OutOfTime:
            raise
        except Exception as failed:  # of a plugin
            text = " ".join(f"{type(failed).__name__}: {failed}".split())
            self.errors[shape.attack] = f"attack {shape.attack}: {text}"
            return None
        return found if found is not None and found.size(self.threat) else None

    def _each(
        self, name: str, targets: NDArray[np.int64], r: int, deadline: float
    ) -> Iterator[Poisoning]:
        """The attacks on single examples, each with its share of r."""
        share = max(1, r // len(targets))
        for example in targets:
            if time.monotonic() > deadline:
                raise OutOfTime
            predicted = int(self.crowd.predicted[example])
            first = int(self.crowd.rivals[example])
            others = [k for k in range(self.victim.data.n_labels) if k not in (predicted, first)]
            found = self.certificate.by_example
            proved = 0 if found is None else max(0, int(found.radii[example]))
            rivals = (first, *others)
            aim = Aim(
                self.victim, self.threat, int(example), predicted, proved, rivals, self._shared
            )
            one = (
                aim.defense.attack(aim, self.threat, share)
                if name == OWN
                else self._attacks[name].poison(aim, self.threat, share)
            )
            if one is not None:
                one.check(self.victim.data, self.threat, share)
                yield one

    def left(self, poisoning: Poisoning, seed: int | None = None) -> tuple[float, int]:
        """The accuracy that is left on the poisoned set, and of how many models it is the mean.

        For an expected accuracy it is the mean of the models' accuracies. Else it is the fraction
        of test examples that are predicted rightly; a probabilistic prediction counts as wrong only
        where another label is certified. Raises what the defense does.
        """
        evidence = self.victim.evidence(poisoning, self._all, seed)
        after = self.victim.certify(evidence, self.threat)
        found = after.by_example
        if found is None:
            return after.clean_accuracy(self.labels), models_of(evidence)
        wrong = found.predictions != self.labels
        if self.certificate.guarantee.kind != "deterministic":
            wrong &= found.radii > ABSTAIN
        return 1 - float(wrong.mean()), models_of(evidence)

    def refutes(self, poisoning: Poisoning, r: int) -> bool:
        """Whether less accuracy is left than is certified at r, beyond chance, when the attack is
        carried out again.

        Of all test examples together (collective): the same training once more, if the certificate
        is deterministic, else one with each of REPEATS other seeds. Of an expected accuracy: with
        REPEATS other seeds, so that the models were not chosen for what they do. Their mean is one
        of N numbers in [0, 1], independent of each other; its upper confidence bound (Hoeffding
        1963, Theorem 1, in the form with the relative entropy) at the run's alpha must lie below
        what is certified. Where that is an estimate, made of a mean over the clean models, it is
        computed of the lower confidence bound of that mean, at the same alpha: the probabilities of
        all test examples are lowered by one factor.
        """
        certified = float(self.certificate.certified_accuracy(self.labels, np.array([r]))[0])
        seeds = [self.victim.cell.seed + i for i in range(1, REPEATS + 1)]
        if not isinstance(self.certificate, AccuracyCertificate):
            sure = self.certificate.guarantee.kind == "deterministic"
            again: list[int | None] = [None] if sure else [*seeds]
            return all(self.left(poisoning, seed)[0] < certified for seed in again)
        alpha = self.victim.cell.alpha
        found = [self.left(poisoning, seed) for seed in seeds]
        models = sum(n for _, n in found)
        mean = sum(left * n for left, n in found) / models
        if self.certificate.guarantee.kind == "estimate":
            clean = self.certificate.clean_accuracy(self.labels)
            lower = 1 - mean_upper(1 - clean, models_of(self._evidence), alpha)
            factor = lower / clean if clean > 0 else 0.0
            lowered = replace(
                self.certificate, label_probabilities=factor * self.certificate.label_probabilities
            )
            certified = float(lowered.certified_accuracy(self.labels, np.array([r]))[0])
        return mean_upper(mean, models, alpha) < certified


def models_of(evidence: Evidence) -> int:
    """How many models voted on each test example; 1 where there are no ``votes`` to tell."""
    votes = evidence.get("votes")
    if votes is None or votes.ndim != 2 or not votes.size:
        return 1
    return max(1, int(votes.sum(axis=1).min()))


def mean_upper(mean: float, n: int, alpha: float) -> float:
    """An upper confidence bound on the expectation of independent numbers in [0, 1], from the
    ``mean`` of n of them; wrong with probability at most ``alpha`` (Hoeffding 1963, Theorem 1).

    The largest p with n KL(mean || p) <= ln(1 / alpha).
    """
    most, low, high = np.log(1 / alpha) / n, min(1.0, max(0.0, mean)), 1.0
    mean = low
    for _ in range(60):
        p = (low + high) / 2
        away = (mean * np.log(mean / p) if mean > 0 else 0.0) + (
            (1 - mean) * np.log((1 - mean) / max(1 - p, 1e-300)) if mean < 1 else 0.0
        )
        low, high = (p, high) if away <= most else (low, p)
    return high


def _no_attack() -> Any:
    from harness.defense import Defense

    return Defense.attack
