"""Proved and reached: what attacks did, beside what certificates say that no attack can do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from harness.report import answers
from harness.results.attacks import SAMPLED, Attacked, JointAttacked
from harness.results.findings import Findings, load_findings
from harness.results.reader import RunResult, accuracy_at, group_of
from harness.results.seeds import over_seeds


@dataclass(frozen=True)
class Strongest:
    """The strongest attack on one test example: ``reached`` is the smallest of any attack, None
    where none changed the prediction up to ``largest``, the largest size that any tried.
    """

    proved: int
    reached: int | None
    largest: int
    attack: str

    @property
    def at(self) -> float:
        """``reached``, infinite where no attack changed the prediction."""
        return math.inf if self.reached is None else self.reached


@dataclass(frozen=True)
class Reached:
    """What attacks reached against one certificate under one threat.

    ``examples``: the test examples that were drawn at random and attacked, of all seeds together;
    ``refuted``: those attacks, on examples chosen in any way, that did what was proved impossible.
    """

    name: str
    defense: str
    certificate: str
    threat: str
    examples: tuple[Strongest, ...]
    refuted: tuple[Attacked, ...]

    @property
    def turned(self) -> int:
        """How many of the examples were turned."""
        return sum(one.reached is not None for one in self.examples)

    @property
    def tried(self) -> int:
        """How far the attacks went: the largest size that was tried on an example that no attack
        turned; where all were turned, the size that turned the last.
        """
        return max((one.reached or one.largest for one in self.examples), default=0)

    @property
    def proved(self) -> float:
        """The median radius of the examples; NaN without any."""
        return _median([one.proved for one in self.examples])

    @property
    def reached(self) -> float:
        """The median size that turned them, one that was not turned being infinite."""
        return _median([one.at for one in self.examples])

    @property
    def ratio(self) -> float:
        """The median of reached over proved: 1 where the proof is tight, but for one example.

        A radius of 0 counts as 1.
        """
        return _median([one.at / max(1, one.proved) for one in self.examples])

    @property
    def strongest(self) -> str:
        """The attack that needed least most often; empty where none succeeded."""
        best = Counter(one.attack for one in self.examples if one.reached is not None)
        return best.most_common(1)[0][0] if best else ""


@dataclass(frozen=True)
class JointReached:
    """The strongest attack on all test examples at once: ``proved`` and ``reached`` at ``r``,
    accuracies in [0, 1].
    """

    name: str
    threat: str
    r: int
    proved: float
    reached: float
    attack: str
    refuted: bool


@dataclass(frozen=True)
class Survival:
    """The accuracy ``y`` that survives attacks: a step function from ``x`` up to the next."""

    x: NDArray[np.int64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Attacks:
    """All that a report says of attacks, in the order of the run's threats and cells."""

    reached: tuple[Reached, ...]
    joint: tuple[JointReached, ...]
    refuted: tuple[Attacked | JointAttacked, ...]


def attacks(result: RunResult) -> Attacks | None:
    """What attacks on the run reached; None where it was not attacked. Raises RunFolderError."""
    found = load_findings(result)
    if not found:
        return None
    return Attacks(_reached(result, found), _joint(result, found), tuple(found.refuted))


def survival(result: RunResult, one: Reached) -> Survival:
    """The accuracy that survives the strongest attack tried: an upper bound, up to sampling.

    What is proved of the whole test set, with what lies between proved and reached estimated from
    the examples that were attacked::

        surviving(r) = certified(r) + clean - certified(0)
                       + certified(0) * (fraction with reached > r - fraction with proved >= r)

    That is clean - certified(0) * (fraction with reached <= r) where all examples were attacked,
    and on average over the draw. But the draw has a part in the difference alone: below what is
    proved is only what is refuted. The falling function that fits this best is returned, for no
    accuracy under attack rises with r. What is right and not certified even at 0 is not attacked,
    and counts as surviving.
    """
    result = over_seeds(result)
    curves, summary = (
        table[
            (table["defense"] == one.defense)
            & (table["certificate"] == one.certificate)
            & (table["threat"] == one.threat)
        ]
        for table in (result.curves, result.summary)
    )
    proved = np.array([example.proved for example in one.examples])
    reached = np.array([example.at for example in one.examples])
    steps = [[0.0], curves["r"], proved + 1, reached[np.isfinite(reached)]]
    r = np.unique(np.concatenate(steps)).astype(np.int64)
    certified = np.array([accuracy_at(curves, at) for at in r])
    clean = float(summary["clean_accuracy"].iloc[0])
    if math.isnan(clean):  # the labels are not known: whatever is predicted counts
        clean = 1.0
    between = (reached > r[:, None]).mean(axis=1) - (proved >= r[:, None]).mean(axis=1)
    y = certified + clean - certified[0] + certified[0] * between
    y = isotonic_regression(y, increasing=False).x
    return Survival(r, np.clip(y, 0, clean))


def _reached(result: RunResult, found: Findings) -> tuple[Reached, ...]:
    over, groups = over_seeds(result), _groups(result)
    rows: dict[tuple[str, str, str], list[Attacked]] = {}
    for row in found.rows:
        rows.setdefault((groups[row.defense], row.certificate, row.threat), []).append(row)
    return tuple(
        Reached(
            name,
            defense,
            certificate,
            threat,
            _strongest(mine),
            tuple(row for row in mine if row.refuted),
        )
        for threat in result.threats
        for (defense, certificate), name in answers.names(over).items()
        if (mine := rows.get((defense, certificate, threat)))
    )


def _strongest(rows: Sequence[Attacked]) -> tuple[Strongest, ...]:
    """The strongest attack on each example that was drawn and had an attack tried on it."""
    of_example: dict[tuple[str, int], list[Attacked]] = {}
    for row in rows:
        if row.chosen == SAMPLED and row.largest > 0:
            of_example.setdefault((row.defense, row.example), []).append(row)
    found = []
    for tried in of_example.values():
        best = min(tried, key=lambda row: math.inf if row.reached is None else row.reached)
        largest = max(row.largest for row in tried)
        found.append(Strongest(best.proved, best.reached, largest, best.attack))
    return tuple(found)


def _joint(result: RunResult, found: Findings) -> tuple[JointReached, ...]:
    over, groups = over_seeds(result), _groups(result)
    rows: dict[tuple[str, str, str], dict[int, JointAttacked]] = {}
    for row in found.joint:
        at = rows.setdefault((groups[row.defense], row.certificate, row.threat), {})
        if row.r not in at or row.reached < at[row.r].reached:
            at[row.r] = row
    return tuple(
        JointReached(name, threat, r, row.certified_accuracy, row.reached, row.attack, row.refuted)
        for threat in result.threats
        for (defense, certificate), name in answers.names(over).items()
        for r, row in sorted(rows.get((defense, certificate, threat), {}).items())
    )


def _groups(result: RunResult) -> dict[str, str]:
    return {str(cell["label"]): group_of(cell) for cell in result.by_seed.cells}


def _median(values: Sequence[float]) -> float:
    """The median, infinite where half of them are; NaN without any."""
    return float(median(values)) if values else math.nan
