"""The Pareto front over a run's cells: who proves most at which r, from the whole curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.report import answers, words
from harness.report.panels import StepCurve, step_curves
from harness.results.reader import RunResult

LEADER_COLUMNS = ("defense", "proves most at r", "certified accuracy there")

_RANGES = 12
"""So many ranges of one cell are listed; where certificates are close, they alternate."""


@dataclass(frozen=True)
class Lead:
    """Who proves most at every r from ``first`` to ``last``.

    ``names``: those that tie all the way. ``highest`` and ``lowest``: the certified accuracy at
    both ends, in (0, 1].
    """

    names: tuple[str, ...]
    first: int
    last: int
    highest: float
    lowest: float


@dataclass(frozen=True)
class Front:
    """The most that anybody proves: ``accuracy`` (s,) from ``r`` (s,) up to the next, and by whom.

    ``leads`` follow one another up to where nothing is proved any more.
    """

    r: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    leads: tuple[Lead, ...]

    @property
    def leaders(self) -> list[str]:
        """The cells that lead anywhere, in the order of r."""
        return list(dict.fromkeys(name for lead in self.leads for name in lead.names))


def front(result: RunResult, threat: str) -> Front:
    """The upper envelope of the proofs about single examples under one threat.

    Expected accuracy and estimates take no part, and neither does what does not cover the threat.
    """
    curves = ranked_curves(result, threat)
    if not curves:
        return Front(np.zeros(0, np.int64), np.zeros(0), ())
    r = np.unique(np.concatenate([curve.x for curve in curves])).astype(np.int64)
    accuracy = np.array([_on(curve, r) for curve in curves])
    best: NDArray[np.float64] = accuracy.max(axis=0)
    found: list[Lead] = []
    for i in np.flatnonzero(best > 0):
        names = tuple(c.name for c, a in zip(curves, accuracy[:, i], strict=True) if a == best[i])
        last = int(r[i + 1]) - 1 if i + 1 < r.size else int(r[i])
        first, highest = int(r[i]), float(best[i])
        if found and found[-1].names == names:
            before = found.pop()
            first, highest = before.first, before.highest
        found.append(Lead(names, first, last, highest, float(best[i])))
    return Front(r, best, tuple(found))


def ranked_curves(result: RunResult, threat: str) -> list[StepCurve]:
    """The curves under one threat that are proofs about single examples."""
    ranked = {row.name for row in answers.threat_answer(result, threat).rows if row.ranked}
    return [curve for curve in step_curves(result, threat) if curve.name in ranked]


def _on(curve: StepCurve, r: NDArray[np.int64]) -> NDArray[np.float64]:
    """The curve at each r; 0 before it begins."""
    place = np.searchsorted(curve.x, r, side="right")
    accuracy: NDArray[np.float64] = np.concatenate([[0.0], curve.y])[place]
    return accuracy


def leader_rows(found: Front) -> list[list[str]]:
    """A row for each cell that leads anywhere, in the order of r, as LEADER_COLUMNS head them."""
    rows = []
    for name in found.leaders:
        mine = [lead for lead in found.leads if name in lead.names]
        ranges = [_range(lead) for lead in mine[:_RANGES]]
        if len(mine) > _RANGES:
            ranges.append(f"and {len(mine) - _RANGES} more up to {mine[-1].last:,}")
        highest, lowest = words.percent(mine[0].highest), words.percent(mine[-1].lowest)
        there = highest if highest == lowest else f"{highest} to {lowest}"
        rows.append([name, ", ".join(ranges), there])
    return rows


def _range(lead: Lead) -> str:
    ends = f"{lead.first:,}" if lead.first == lead.last else f"{lead.first:,}–{lead.last:,}"
    return f"{ends} (tied)" if len(lead.names) > 1 else ends
