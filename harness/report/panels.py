"""Panels of certified accuracy against r, one for each threat: what the figures have in common."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from harness.report import answers, words
from harness.report.figures import FAINT
from harness.report.load import RunResult

LINEAR_TO = 10
"""The axis of r is linear up to here, where weak certificates end, and logarithmic beyond."""

_LINEAR_LENGTH = 1.0
"""The linear part is as long as so many decades of the logarithmic one."""

_LEFT, _RIGHT, _GAP, _PANEL_HEIGHT, _XLABEL = 0.72, 0.22, 0.32, 2.75, 0.72
_TITLE, _LINE = 0.52, 0.165
_CHARACTER = 0.066
"""Mean width in inches of a character at the size of the notes."""


@dataclass(frozen=True)
class StepCurve:
    """One step curve: certified accuracy ``y`` holds from ``x`` up to the next."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def step_curves(result: RunResult, threat: str) -> list[StepCurve]:
    """The curves under one threat, each with only the r at which it falls."""
    called = answers.names(result)
    table = result.curves[result.curves["threat"] == threat]
    curves = []
    for (defense, certificate), group in table.groupby(["defense", "certificate"], sort=False):
        rows = group.sort_values("r")
        changes = rows["certified_accuracy"].ne(rows["certified_accuracy"].shift())
        changes.iloc[-1] = True
        kept: pd.DataFrame = rows[changes]
        name = called.get((str(defense), str(certificate)), str(defense))
        curves.append(StepCurve(name, list(kept["r"]), list(kept["certified_accuracy"])))
    return curves


def add_legend(figure: Figure, handles: Sequence[Artist], texts: Sequence[str]) -> Legend | None:
    """A legend along the lower edge, in as many columns as fit."""
    for columns in range(min(len(texts), 5), 0, -1):
        legend = figure.legend(
            list(handles),
            [" "] * len(handles),  # set below: a label that begins with _ would be left out
            loc="lower center",
            ncols=columns,
            frameon=False,
            handlelength=3.6,
            columnspacing=2.2,
            labelspacing=0.7,
            borderaxespad=0.4,
        )
        for shown, text in zip(legend.get_texts(), texts, strict=True):
            shown.set_text(text)
        if columns == 1 or _inches(legend)[0] < figure.get_figwidth() - 0.2:
            return legend
        legend.remove()
    return None


def _inches(legend: Legend) -> tuple[float, float]:
    figure = legend.get_figure()
    assert figure is not None
    box = legend.get_window_extent()
    return box.width / figure.dpi, box.height / figure.dpi


def panel_columns(panels: int) -> int:
    """How many of so many panels stand side by side."""
    return 2 if panels == 4 else min(max(panels, 1), 3)


def _panel_width(panels: int) -> float:
    return {1: 5.4, 2: 4.3}.get(panel_columns(panels), 3.3)


def figure_width(panels: int) -> float:
    """The width in inches of a figure with so many panels."""
    columns = panel_columns(panels)
    return _LEFT + columns * _panel_width(panels) + (columns - 1) * _GAP + _RIGHT


def missing(answer: answers.ThreatAnswer, panels: int) -> str:
    """What is missing from a panel, in lines that fit above it."""
    room = int(_panel_width(panels) / _CHARACTER)
    parts = [
        f"{what}: {', '.join(words.one_line(name) for name in missing)}"
        for what, missing in (("not covered", answer.not_covered), ("not run", answer.not_run))
        if missing
    ]
    return "\n".join(line for part in parts for line in textwrap.wrap(part, room))


def place(figure: Figure, legend: Legend | None, notes: Sequence[str]) -> list[Axes]:
    """Lays out panels in rows, titles and notes above them, the legend below; sizes the figure."""
    columns, width = panel_columns(len(notes)), _panel_width(len(notes))
    rows = [notes[i : i + columns] for i in range(0, len(notes), columns)]
    heads = [_TITLE + _LINE * max(_lines(note) for note in row) for row in rows]
    foot = _inches(legend)[1] + 0.1 if legend else 0.05
    height = sum(heads) + len(rows) * (_PANEL_HEIGHT + _XLABEL) + foot
    figure.set_size_inches(figure.get_figwidth(), height)
    axes: list[Axes] = []
    top = height
    for head, row in zip(heads, rows, strict=True):
        top -= head + _PANEL_HEIGHT
        for column, note in enumerate(row):
            left = _LEFT + column * (width + _GAP)
            box = (
                left / figure.get_figwidth(),
                top / height,
                width / figure.get_figwidth(),
                _PANEL_HEIGHT / height,
            )
            axes.append(figure.add_axes(box))
            _annotate(axes[-1], 0.08, note, fontsize=8, color=FAINT, style="italic")
        top -= _XLABEL
    return axes


def _lines(note: str) -> int:
    return note.count("\n") + 1 if note else 0


def _annotate(axis: Axes, inches: float, text: str, **options: Any) -> None:
    """Text above a panel, left-aligned, its lower edge so many inches above the panel."""
    axis.annotate(
        text,
        (0, 1),
        xytext=(0, inches * 72),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        **options,
    )


def dress(axis: Axes, answer: answers.ThreatAnswer, furthest: float, *, first: bool) -> None:
    """Scales, ticks and words of one panel."""
    above = 0.08 + _LINE * _lines(axis.texts[0].get_text())
    _annotate(axis, above + 0.19, answer.threat, fontsize=10.5, weight="bold")
    _annotate(axis, above + 0.02, words.threat_meaning(answer.threat), fontsize=8.5, color=FAINT)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.tick_params(labelleft=first)
    if first:
        axis.set_ylabel("certified accuracy")
    unit = "flipped labels" if answer.threat == "label-flip" else "poisoned training examples"
    scale = f"\n(linear up to {LINEAR_TO}, logarithmic beyond)" if furthest > LINEAR_TO else ""
    axis.set_xlabel(f"{unit}, r{scale}", linespacing=1.35)
    # matplotlib draws the linear part 1 / 0.9 times as long as it is told, in base 10
    axis.set_xscale("symlog", linthresh=LINEAR_TO, linscale=0.9 * _LINEAR_LENGTH)
    axis.set_xlim(0, max(furthest * 1.06, furthest + 0.5))
    width = axis.get_position().width * axis.figure.get_figwidth()  # type: ignore[union-attr]
    axis.xaxis.set_major_locator(FixedLocator(r_ticks(furthest, width)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda r, _: f"{r:,.0f}"))
    if not answer.covered:
        message = "no certificate in this run\ncovers this attacker"
        axis.text(0.5, 0.5, message, transform=axis.transAxes, ha="center", color=FAINT)


def r_ticks(furthest: float, width: float) -> list[int]:
    """Ticks from 0 to ``furthest``, as many as have room for their labels on ``width`` inches."""
    candidates = [_candidates(furthest, steps) for steps in ((1, 2, 5), (1, 5), (1,))]
    length = _position(furthest)
    for ticks in candidates:
        places = [_position(r) / length * width for r in ticks]
        halves = [0.5 * 0.078 * len(f"{r:,}") + 0.035 for r in ticks]
        gaps = [b - a for a, b in pairwise(places)]
        needs = [a + b for a, b in pairwise(halves)]
        if all(gap >= need for gap, need in zip(gaps, needs, strict=True)):
            return ticks
    return candidates[-1]


def _candidates(furthest: float, steps: Sequence[int]) -> list[int]:
    if furthest <= LINEAR_TO:
        apart = {3: 1, 2: 2, 1: 5}[len(steps)]
        return list(range(0, int(furthest) + 1, apart))
    small = {3: [0, 2, 5], 2: [0, 5], 1: [0]}[len(steps)]
    powers = [10**e for e in range(1, len(str(int(furthest))))]
    return small + [s * p for p in powers for s in steps if s * p <= furthest]


def _position(r: float) -> float:
    """Where r lies on the axis, in decades."""
    if r <= LINEAR_TO:
        return _LINEAR_LENGTH * r / LINEAR_TO
    return _LINEAR_LENGTH + math.log10(r / LINEAR_TO)
