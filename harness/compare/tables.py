"""A comparison as text: for the terminal, and as Markdown for a job's summary page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.compare.comparison import (
    IMPROVEMENT,
    NOISE,
    NOT_COMPARABLE,
    REGRESSION,
    SAME,
    CellChange,
    Comparison,
)
from harness.compare.metrics import ACCURACY, COSTS
from harness.compare.words import difference, told, value
from harness.report import words
from harness.report.tables import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.compare.comparison import Change, ThreatChange

_MARKS = {REGRESSION: "▼", IMPROVEMENT: "▲", NOISE: "~", SAME: ""}
LEGEND = "▼ worse, ▲ better, ~ noise or within what is tolerated, = the same"
_UNITS = "certified accuracy at r in percentage points, median radius in examples"


def verdict(found: Comparison) -> str:
    """The last word, in a line."""
    if found.missing_baseline:
        return f"no baseline: {found.base} does not exist, so nothing was compared (allowed)"
    if found.exit_code == 4:
        return f"nothing is comparable: {found.reason}"
    count = len(found.regressions)
    compared = [change for cell in found.cells for _, change in cell.changes()]
    noise = sum(change.verdict == NOISE for change in compared)
    same = sum(change.verdict == SAME for change in compared)
    better = sum(change.verdict == IMPROVEMENT for change in compared)
    rest = f"{len(compared)} numbers compared: {same} the same, {noise} noise, {better} better"
    if count:
        return f"{count} regression{'s' if count > 1 else ''} ({rest})"
    return f"no regression ({rest})"


def accuracy_columns(cell: CellChange) -> list[int]:
    """The r at which anything is certified before or after."""
    at = {
        change.at
        for _, change in cell.changes()
        if change.at is not None and (change.base > 0 or change.new > 0)
    }
    return sorted(at) or [0]


def remarks(found: Comparison) -> list[str]:
    """What no table can hold: cells that are new, changed or cannot be compared."""
    lines = []
    for cell in found.cells:
        if cell.verdict and cell.verdict != REGRESSION:
            lines.append(f"{cell.label}: {cell.verdict}: {cell.reason}")
        if cell.pair.changed and not cell.pair.replaced:
            changed = ", ".join(f"{k} {b} -> {a}" for k, (b, a) in cell.pair.changed.items())
            lines.append(f"{cell.label}: its parameters have changed: {changed}")
        lines += [
            f"{cell.label} under {threat.threat}: {threat.verdict}: {threat.reason}"
            for threat in cell.threats
            if threat.verdict and threat.verdict != REGRESSION
        ]
        lines += [
            f"{cell.label}: the gate {change.name} {change.rule} cannot be judged: {change.note}"
            for change in cell.costs
            if change.rule.gates and change.verdict == NOT_COMPARABLE
        ]
    return [*lines, *found.notes]


def improvements(found: Comparison) -> list[str]:
    """A line for each metric that became better."""
    return [
        f"{cell.label}{f' under {threat}' if threat else ''}: {told(change)}"
        for cell in found.cells
        for threat, change in cell.changes()
        if change.verdict == IMPROVEMENT
    ]


def _marked(change: Change, text: str) -> str:
    mark = _MARKS.get(change.verdict, "")
    return f"{mark}{text}" if mark and change.verdict != SAME else text


def _accuracy_rows(cell: CellChange) -> list[tuple[ThreatChange, list[Change]]]:
    """By threat the changes worth a column: clean accuracy, each r, the median radius."""
    columns = accuracy_columns(cell)
    return [
        (
            threat,
            [
                change
                for change in threat.changes
                if change.metric in ("clean_accuracy", "median_radius") or change.at in columns
            ],
        )
        for threat in cell.threats
        if threat.changes
    ]


def _heads(cell: CellChange) -> list[str]:
    return ["clean", *(f"r={r}" for r in accuracy_columns(cell)), "median"]


def _short(change: Change) -> str:
    """A difference without its unit, which the heading says."""
    text = difference(change)
    if change.metric in (ACCURACY, "clean_accuracy"):
        text = text.removesuffix(" pp")
    text = "0" if text == "=" and change.verdict == NOISE else text  # as many better as worse
    return _marked(change, text)


def _compared(found: Comparison) -> list[CellChange]:
    return [cell for cell in found.cells if any(threat.changes for threat in cell.threats)]


def terminal(found: Comparison) -> RenderableType:
    """Differences in percentage points, a table for each cell, then cost, then what it means."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for cell in _compared(found):
        parts.append(Text(_title(cell), style="bold"))
        table = Table(box=None, pad_edge=False)
        table.add_column("new - base")
        for head in _heads(cell):
            table.add_column(head, justify="right", no_wrap=True)
        for threat, changes in _accuracy_rows(cell):
            table.add_row(threat.threat, *(_styled(c, _short(c)) for c in changes))
        parts += [table, Text()]
    rows = [cell for cell in _compared(found) if cell.costs]
    if rows:
        table = Table(box=None, pad_edge=False)
        table.add_column("cost", overflow="fold")
        for name in ("training", "predicting", "certifying", "total", "memory"):
            table.add_column(name, justify="right", no_wrap=True)
        for cell in rows:
            table.add_row(cell.label, *(_styled(c, _cost(c)) for c in cell.costs))
        parts += [table, Text()]
    if rows:
        parts += [Text(_UNITS), Text(LEGEND), Text()]
    for line in remarks(found):
        parts.append(Text(line))
    for line in found.regressions:
        parts.append(Text(f"REGRESSION  {line}", style="bold red"))
    for line in improvements(found):
        parts.append(Text(f"better      {line}", style="green"))
    parts.append(Text(verdict(found), style="bold"))
    return Group(*parts)


def _styled(change: Change, text: str) -> RenderableType:
    from rich.text import Text

    styles = {REGRESSION: "bold red" if change.rule.gates else "red", IMPROVEMENT: "green"}
    return Text(text, style=styles.get(change.verdict, ""))


def _title(cell: CellChange) -> str:
    if cell.pair.replaced and cell.pair.new is not None:
        return f"{cell.label} -> {cell.pair.new['label']}"
    return cell.label


def _cost(change: Change) -> str:
    text = value(change.metric, change.new)
    if math.isnan(change.expected) or math.isnan(change.new):
        return text
    return _marked(change, f"{text} {difference(change)}")


def markdown(found: Comparison) -> str:
    """The same for a page: values as well, regressions first."""
    state = "✅" if found.exit_code == 0 else "❌"
    lines = [f"# {state} {plain(verdict(found))}", ""]
    lines += [f"Base {plain(found.base)}, new {plain(found.new)}.", ""]
    for head, told_lines in (
        ("Regressions", found.regressions),
        ("Better", improvements(found)),
        ("Remarks", remarks(found)),
    ):
        if told_lines:
            lines += [f"## {head}", "", *(f"- {plain(line)}" for line in told_lines), ""]
    for cell in _compared(found):
        lines += [f"## {plain(_title(cell))}", ""]
        rows = [
            [threat.threat, threat.guarantees[1], *(_both(change) for change in changes)]
            for threat, changes in _accuracy_rows(cell)
        ]
        lines += [*_table(["threat", "guarantee", *_heads(cell)], rows, texts=2), ""]
        costs = [[name, _both(change)] for name, change in zip(COSTS, cell.costs, strict=True)]
        lines += [*_table(["cost", "base -> new"], costs, texts=1), ""]
    if _compared(found):
        lines += [f"Certified accuracy at r, base -> new. {LEGEND}.", ""]
    return "\n".join(lines)


def _both(change: Change) -> str:
    new = value(change.metric, change.new)
    if math.isnan(change.base) or math.isnan(change.new):
        return words.NOTHING
    base = value(change.metric, change.base)
    if change.verdict == SAME or (change.base == change.new and not math.isnan(change.expected)):
        return new
    text = f"{base} -> {new}"
    shown = difference(change)
    return _marked(change, f"{text} ({shown})" if shown not in ("=", words.NOTHING) else text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    right = ["---" if i < texts else "---:" for i in range(len(heads))]
    shown = [[plain(text) for text in row] for row in (heads, *rows)]
    return [f"| {' | '.join(row)} |" for row in (shown[0], right, *shown[1:])]
