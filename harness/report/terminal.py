"""Tables for the terminal: readable from 80 columns on, however long the labels are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from harness.report import answers, problem, words

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

    from harness.report.answers import Row, ThreatAnswer
    from harness.results.reader import RunResult

_GAP = 2
"""Spaces between two columns."""


@dataclass(frozen=True)
class SummaryTable:
    """A table for each threat, as wide as the terminal: the best in bold."""

    result: RunResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = options.max_width
        if not self.result.labelled:
            yield Text("\n" + words.wrap_label(problem.unlabelled(self.result), width))
        found = answers.threat_answers(self.result)
        for answer in found:
            meaning = words.threat_meaning(answer.threat)
            title = words.wrap_label(f"{answer.threat}: {meaning}, r times", width)
            yield Text(f"\n{title}", style="bold")
            if answer.covered:
                yield label_table("certified %", _heads(answer), _rows(answer), width)
            if answer.not_covered:
                missing = f"not covered: {words.listing(answer.not_covered)}"
                yield Text(words.wrap_label(missing, width))
            for sentence in answers.statements(answer):
                for claim in sentence.replace("; ", ";\n").splitlines():
                    yield Text(words.wrap_label(claim, width))
        if any(answer.averaged for answer in found):
            yield Text(f"\n{words.wrap_label(words.SEEDS_APART, width)}")
        yield Text()


def label_table(
    head: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]], width: int
) -> Text:
    """Labels and, right-aligned, what is said of each, in lines of ``width`` characters.

    A label that leaves too little room for its row stands on lines of its own above it. Spaces that
    a label begins with are kept.
    """
    widths = [
        max(len(title), *(cells[i].cell_len for _, cells in rows)) + _GAP
        for i, title in enumerate(heads)
    ]
    room = width - sum(widths)
    shown = [(_indent(label) + words.one_line(label), cells) for label, cells in rows]
    first = max([len(head), *(Text(label).cell_len for label, _ in shown if len(label) <= room)])
    lines = [_line(head, [Text(title) for title in heads], first, widths)]
    for label, cells in shown:
        long = Text(label).cell_len > first
        lines += [Text(words.wrap_label(label, width))] if long else []
        lines.append(_line("" if long else label, cells, first, widths))
    return Text("\n").join(lines)


def _indent(label: str) -> str:
    return " " * (len(label) - len(label.lstrip(" ")))


def _line(label: str, cells: Sequence[Text], first: int, widths: Sequence[int]) -> Text:
    line = Text(label + " " * (first - Text(label).cell_len))
    for cell, width in zip(cells, widths, strict=True):
        line.append(" " * (width - cell.cell_len)).append_text(cell)
    return line


def _heads(answer: ThreatAnswer) -> list[str]:
    at = [f"r={r}" if r == answer.alive[0] else str(r) for r in answer.alive]
    return ["clean", *at, "median r", "largest"]


def _rows(answer: ThreatAnswer) -> list[tuple[str, list[Text]]]:
    """Certified accuracies in percent, to one decimal, which is what fits.

    A mean over seeds has two lines below it, the lowest and the highest of the seeds, unless they
    read the same.
    """
    rows = []
    for row in answer.covered:
        rows.append((row.marked, _values(answer, row, "bold")))
        extremes = [_values(answer, extreme) for extreme in (row.lowest, row.highest)]
        if extremes[0] != extremes[1]:
            rows += zip(("  lowest", "  highest"), extremes, strict=True)
    return rows


def _values(answer: ThreatAnswer, row: Row, best: str = "") -> list[Text]:
    accuracies = [words.percent(row.at[r], 1).rstrip("%") for r in answer.alive]
    return [
        Text(words.percent(row.clean_accuracy, 1).rstrip("%")),
        *(
            Text(text, best * answer.is_best(row, r))
            for r, text in zip(answer.alive, accuracies, strict=True)
        ),
        Text(words.radius(row.median_radius)),
        Text(words.radius(row.max_radius)),
    ]
