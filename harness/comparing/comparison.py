"""Two runs side by side: every pair of cells, every threat, every metric, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from harness.comparing.change import IMPROVEMENT, NOT_COMPARABLE, REGRESSION, Change
from harness.comparing.pairing import Pair
from harness.comparing.words import told
from harness.results.schema import NOT_COVERED


@dataclass(frozen=True)
class ThreatChange:
    """One pair of cells under one threat. ``reason``: why it cannot be compared, or what was lost.

    ``verdict`` is ``regression`` or ``improvement`` where a guarantee was lost or won,
    ``not comparable`` where the numbers mean different things, else empty.
    """

    threat: str
    guarantees: tuple[str, str]
    changes: Sequence[Change] = ()
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CellChange:
    """One pair of cells: what became of its certificates and of its cost.

    ``verdict`` is ``regression`` for a cell that vanished or fails now, ``new`` for one that was
    not there, ``not comparable`` where nothing can be said, else empty; ``reason`` says why.
    """

    pair: Pair
    threats: Sequence[ThreatChange] = ()
    costs: Sequence[Change] = ()
    verdict: str = ""
    reason: str = ""

    @property
    def label(self) -> str:
        return self.pair.label

    @property
    def compared(self) -> bool:
        """Whether anything is known about what became of its certificates."""
        failed = self.verdict == REGRESSION and self.pair.new is not None
        return (failed and not self.pair.replaced) or any(
            threat.verdict in (REGRESSION, IMPROVEMENT)
            or any(change.verdict != NOT_COMPARABLE for change in threat.changes)
            for threat in self.threats
        )

    def changes(self) -> Iterator[tuple[str, Change]]:
        """Every compared metric, with its threat; cost has none."""
        for threat in self.threats:
            for change in threat.changes:
                yield threat.threat, change
        for change in self.costs:
            yield "", change


@dataclass(frozen=True)
class Comparison:
    """All of it. ``reason``: why nothing at all could be compared, or that there is no baseline."""

    base: str
    new: str
    cells: Sequence[CellChange] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    reason: str = ""
    missing_baseline: bool = False

    @property
    def regressions(self) -> list[str]:
        """A line for each thing that fails the gate."""
        return [line for cell in self.cells for line in _regressions(cell)]

    @property
    def comparable(self) -> bool:
        """Whether any certificate was compared at all."""
        return any(cell.compared for cell in self.cells)

    @property
    def incomparable(self) -> list[str]:
        """Cells that the base certified something of, and of which nothing could be compared."""
        return [
            cell.label
            for cell in self.cells
            if not cell.compared and cell.pair.new is not None and _certified(cell)
        ]

    @property
    def exit_code(self) -> int:
        """0 fine, 1 a regression, 4 nothing was comparable, or nothing of one of the cells."""
        if self.missing_baseline:
            return 0
        if self.reason or not self.comparable:
            return 4
        if self.regressions:
            return 1
        return 4 if self.incomparable else 0


def _certified(cell: CellChange) -> bool:
    """Whether the base says anything of it that is not "not covered"."""
    return any(threat.guarantees[0] not in ("", NOT_COVERED) for threat in cell.threats)


def _regressions(cell: CellChange) -> Iterator[str]:
    if cell.verdict == REGRESSION:
        yield f"{cell.label}: {cell.reason}"
    for threat in cell.threats:
        if threat.verdict == REGRESSION:
            yield f"{cell.label} under {threat.threat}: {threat.reason}"
    for threat_name, change in cell.changes():
        if change.fails:
            yield f"{cell.label}{f' under {threat_name}' if threat_name else ''}: {told(change)}"
