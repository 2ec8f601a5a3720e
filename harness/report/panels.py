"""Panels of certified accuracy against r, one for each threat: what the figures have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from harness.report import answers, problem, words
from harness.report.figures import FAINT
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

LINEAR_TO = 10
"""The axis of r is linear up to here, where weak certificates end, and logarithmic beyond."""

_LINEAR_LENGTH = 1.0
"""The linear part is as long as so many decades of the logarithmic one."""

_LEFT, _RIGHT, _GAP, _PANEL_HEIGHT, _XLABEL = 0.72, 0.22, 0.32, 2.75, 0.72
_TITLE, _LINE = 0.52, 0.165
_CHARACTER = 0.066
"""Mean width in inches of a character at the size of the notes."""
_DIGIT, _COMMA = 0.075, 0.038
"""Widths in inches at the size of the labels of ticks."""


@dataclass(frozen=True)
class StepCurve:
    """One step curve: certified accuracy ``y`` holds from ``x`` up to the next.

    ``lowest`` and ``highest``: of any seed, where ``y`` is a mean over seeds; else ``y`` itself.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    lowest: Sequence[float]
    highest: Sequence[float]

    @property
    def banded(self) -> bool:
        """Whether seeds differ, so that there is a band to draw."""
        return self.lowest != self.highest


def step_curves(result: RunResult, threat: str) -> list[StepCurve]:
    """The curves under one threat, each with only the r at which it, or its band, changes."""
    result = over_seeds(result)
    called = answers.names(result)
    table = result.curves[result.curves["threat"] == threat]
    table = table.assign(
        lowest=result.lowest.curves["certified_accuracy"],
        highest=result.highest.curves["certified_accuracy"],
    )
    values = ["certified_accuracy", "lowest", "highest"]
    curves = []
    for (defense, certificate), group in table.groupby(["defense", "certificate"], sort=False):
        rows = group.sort_values("r")
        changes = rows[values].ne(rows[values].shift()).any(axis=1)
        changes.iloc[-1] = True
        kept: pd.DataFrame = rows[changes]
        name = called.get((str(defense), str(certificate)), str(defense))
        curves.append(StepCurve(name, list(kept["r"]), *(list(kept[value]) for value in values)))
    return curves


def draw_band(axis: Axes, curve: StepCurve, colour: Any) -> None:
    """From the lowest to the highest of the seeds; its edges are thin, for print without colour."""
    if not curve.banded:
        return
    axis.fill_between(
        curve.x, curve.lowest, curve.highest,
        step="post", facecolor=(*colour[:3], 0.22), linewidth=0, zorder=2.2, label="_band",
    )  # fmt: skip
    for edge in (curve.lowest, curve.highest):
        axis.plot(
            curve.x, edge, drawstyle="steps-post", color=colour, alpha=0.55,
            linewidth=0.5, zorder=2.3, label="_band",
        )  # fmt: skip


def band_key() -> Artist:
    """What the legend shows for all bands."""
    return Patch(facecolor="#b5b5b566", edgecolor="#808080", linewidth=0.5)


BAND = "lowest to highest of the seeds"


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
    return "\n".join(words.wrap_label(part, room) for part in parts)


def place(
    figure: Figure, legend: Legend | None, answered: Sequence[answers.ThreatAnswer]
) -> list[Axes]:
    """Lays out panels in rows, titles and notes above them, the legend below; sizes the figure.

    The titles of a row are at one height, whatever the length of the notes below them.
    """
    columns, width = panel_columns(len(answered)), _panel_width(len(answered))
    rows = [answered[i : i + columns] for i in range(0, len(answered), columns)]
    notes = [[missing(answer, len(answered)) for answer in row] for row in rows]
    heads = [_TITLE + _LINE * max(map(_lines, row)) for row in notes]
    foot = _inches(legend)[1] + 0.1 if legend else 0.05
    height = sum(heads) + len(rows) * (_PANEL_HEIGHT + _XLABEL) + foot
    figure.set_size_inches(figure.get_figwidth(), height)
    axes: list[Axes] = []
    top = height
    for head, row, beside in zip(heads, rows, notes, strict=True):
        top -= head + _PANEL_HEIGHT
        for column, (answer, note) in enumerate(zip(row, beside, strict=True)):
            left = _LEFT + column * (width + _GAP)
            box = (
                left / figure.get_figwidth(),
                top / height,
                width / figure.get_figwidth(),
                _PANEL_HEIGHT / height,
            )
            axes.append(figure.add_axes(box))
            _entitle(axes[-1], answer.threat, note, 0.08 + head - _TITLE)
        top -= _XLABEL
    return axes


def _lines(note: str) -> int:
    return note.count("\n") + 1 if note else 0


def _entitle(axis: Axes, threat: str, note: str, above: float) -> None:
    """The threat and what it means, ``above`` inches over a panel, and below them the note."""
    _annotate(axis, above + 0.19, threat, fontsize=10.5, weight="bold")
    _annotate(axis, above + 0.02, words.threat_meaning(threat), fontsize=8.5, color=FAINT)
    _annotate(axis, above - 0.03, note, va="top", fontsize=8, color=FAINT, style="italic")


def _annotate(axis: Axes, inches: float, text: str, *, va: str = "bottom", **options: Any) -> None:
    """Text above a panel, left-aligned, its lower edge so many inches above the panel."""
    axis.annotate(
        text,
        (0, 1),
        xytext=(0, inches * 72),
        xycoords="axes fraction",
        textcoords="offset points",
        va=va,
        **options,
    )


def dress(axis: Axes, answer: answers.ThreatAnswer, furthest: float, *, first: bool) -> None:
    """Scales, ticks and axis labels of one panel."""
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


def say_what(figure: Figure, result: RunResult) -> None:
    """Names the axes of certified accuracy for what they show where no labels are known."""
    for axis in figure.axes if not result.labelled else []:
        if axis.get_ylabel() == "certified accuracy":
            axis.set_ylabel(problem.UNLABELLED)


def r_ticks(furthest: float, width: float) -> list[int]:
    """Ticks from 0 to ``furthest``, as many as have room for their labels on ``width`` inches.

    0 and the powers of ten come first, every other one if there are too many, then the fives, then
    the twos. Up to LINEAR_TO they are evenly spaced.
    """
    if furthest <= LINEAR_TO:
        rows = [list(range(0, int(furthest) + 1, apart)) for apart in (1, 2, 5)]
        return next((row for row in rows if _have_room(row, furthest, width)), rows[-1])
    powers = [10**e for e in range(1, len(str(int(furthest))))]
    rows = [[0, *powers[::apart]] for apart in range(1, len(powers) + 1)]
    ticks = next((row for row in rows if _have_room(row, furthest, width)), rows[-1])
    between = [s * p for s in (5, 2) for p in (1, *powers) if s * p <= furthest]
    for r in between if ticks == rows[0] else ():
        more = sorted([*ticks, r])
        if _have_room(more, furthest, width):
            ticks = more
    return ticks


def _have_room(ticks: Sequence[int], furthest: float, width: float) -> bool:
    """Whether no label of these ticks comes too close to the next."""
    places = [_position(r) / _position(furthest) * width for r in ticks]
    labels = [f"{r:,}" for r in ticks]
    commas = [label.count(",") for label in labels]
    digits = [len(label) - n for label, n in zip(labels, commas, strict=True)]
    halves = [(_DIGIT * a + _COMMA * b) / 2 + 0.03 for a, b in zip(digits, commas, strict=True)]
    gaps = [b - a for a, b in pairwise(places)]
    needs = [a + b for a, b in pairwise(halves)]
    return all(gap >= need for gap, need in zip(gaps, needs, strict=True))


def _position(r: float) -> float:
    """Where r lies on the axis, in decades."""
    if r <= LINEAR_TO:
        return _LINEAR_LENGTH * r / LINEAR_TO
    return _LINEAR_LENGTH + math.log10(r / LINEAR_TO)
