"""What a comparison is told in: its columns, remarks and verdict; and all of it as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.comparing.change import IMPROVEMENT, NOISE, NOT_COMPARABLE, REGRESSION, SAME
from harness.comparing.comparison import CellChange, Comparison
from harness.comparing.metrics import ACCURACY, COSTS
from harness.comparing.words import difference, told, value
from harness.report import words
from harness.report.tables import plain

if TYPE_CHECKING:
    from harness.comparing.change import Change
    from harness.comparing.comparison import ThreatChange

_MARKS = {REGRESSION: "▼", IMPROVEMENT: "▲", NOISE: "~", SAME: ""}
LEGEND = "▼ worse, ▲ better, ~ noise or within what is tolerated, = the same"
UNITS = "certified accuracy at r in percentage points, median radius in examples"


def verdict(found: Comparison) -> str:
    """The last word, in a line."""
    if found.missing_baseline:
        return f"no baseline: {found.base} does not exist, so nothing was compared (allowed)"
    if found.exit_code == 4:
        return f"nothing is comparable: {found.reason}"
    count = len(found.regressions)
    changes = [change for cell in found.cells for _, change in cell.changes()]
    compared = [change for change in changes if change.verdict != NOT_COMPARABLE]
    noise = sum(change.verdict == NOISE for change in compared)
    same = sum(change.verdict == SAME for change in compared)
    better = sum(change.verdict == IMPROVEMENT for change in compared)
    rest = f"{len(compared)} numbers compared: {same} the same, {noise} noise, {better} better"
    slower = sum(change.verdict == REGRESSION and not change.fails for change in compared)
    rest += f", {slower} worse without a gate" if slower else ""
    unknown = sum(t.verdict == NOT_COMPARABLE for cell in found.cells for t in cell.threats)
    rest += f"; {unknown} threats not comparable" if unknown else ""
    if count:
        return f"{count} regression{'s' if count > 1 else ''} ({rest})"
    if found.incomparable:
        return f"not comparable: {', '.join(found.incomparable)}; else no regression ({rest})"
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
            f"{cell.label} under {threat.threat}: "
            f"{f'{threat.verdict}: ' if threat.verdict else ''}{threat.reason}"
            for threat in cell.threats
            if threat.reason and threat.verdict != REGRESSION
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


def accuracy_rows(cell: CellChange) -> list[tuple[ThreatChange, list[Change]]]:
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


def heads(cell: CellChange) -> list[str]:
    """The headings of :func:`accuracy_rows`."""
    return ["clean", *(f"r={r}" for r in accuracy_columns(cell)), "median"]


def short(change: Change) -> str:
    """A difference without its unit, which the heading says."""
    text = difference(change)
    if change.metric in (ACCURACY, "clean_accuracy"):
        text = text.removesuffix(" pp")
    text = "0" if text == "=" and change.verdict == NOISE else text  # as many better as worse
    return _marked(change, text)


def compared_cells(found: Comparison) -> list[CellChange]:
    """The cells that there are numbers of, before and after."""
    return [cell for cell in found.cells if any(threat.changes for threat in cell.threats)]


def title(cell: CellChange) -> str:
    """The cell's name; both names where another stands in its place."""
    if cell.pair.replaced and cell.pair.new is not None:
        return f"{cell.label} -> {cell.pair.new['label']}"
    return cell.label


def cost(change: Change) -> str:
    """What the new run needed, and the difference where the two can be compared."""
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
    for cell in compared_cells(found):
        lines += [f"## {plain(title(cell))}", ""]
        rows = [
            [threat.threat, threat.guarantees[1], *(_both(change) for change in changes)]
            for threat, changes in accuracy_rows(cell)
        ]
        lines += [*_table(["threat", "guarantee", *heads(cell)], rows, texts=2), ""]
        costs = [[name, _both(change)] for name, change in zip(COSTS, cell.costs, strict=True)]
        lines += [*_table(["cost", "base -> new"], costs, texts=1), ""]
    if compared_cells(found):
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
