"""A comparison on the terminal, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from harness.comparing import tables
from harness.comparing.change import IMPROVEMENT, REGRESSION
from harness.report.terminal import label_table
from harness.report.words import wrap_label

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

    from harness.comparing.change import Change
    from harness.comparing.comparison import Comparison

_COSTS = ("training", "predicting", "certifying", "total", "memory")


@dataclass(frozen=True)
class ComparisonTable:
    """Differences of each cell, then cost, then what they mean, and the verdict last."""

    found: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = options.max_width
        cells = tables.compared_cells(self.found)
        for cell in cells:
            yield Text(wrap_label(tables.title(cell), width), style="bold")
            rows = [
                (threat.threat, [_styled(change, tables.short(change)) for change in changes])
                for threat, changes in tables.accuracy_rows(cell)
            ]
            yield label_table("new - base", tables.heads(cell), rows, width)
            yield Text()
        costs = [(c.label, [_styled(one, tables.cost(one)) for one in c.costs]) for c in cells]
        if costs:
            yield label_table("cost", _COSTS, costs, width)
            yield Text(f"\n{tables.UNITS}\n{tables.LEGEND}\n")
        for line in tables.remarks(self.found):
            yield Text(wrap_label(line, width))
        for line in self.found.regressions:
            yield Text(wrap_label(f"REGRESSION {line}", width), style="bold red")
        for line in tables.improvements(self.found):
            yield Text(wrap_label(f"better {line}", width), style="green")
        yield Text(wrap_label(tables.verdict(self.found), width), style="bold")


def _styled(change: Change, text: str) -> Text:
    styles = {REGRESSION: "bold red" if change.rule.gates else "red", IMPROVEMENT: "green"}
    return Text(text, style=styles.get(change.verdict, ""))
