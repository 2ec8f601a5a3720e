"""Certified accuracy against r, a panel for each threat (Figure 3b of Jia et al. 2021)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from harness.report import answers, words
from harness.report.figures import FAINT, new_figure, style
from harness.report.load import RunResult

LINEAR_TO = 10
"""The axis of r is linear up to here, where weak certificates end, and logarithmic beyond."""

_LINEAR_LENGTH = 1.0
"""The linear part is as long as so many decades of the logarithmic one."""

# Seaborn's colour-blind palette, ordered so that neighbours differ in lightness as well.
_COLOURS = [seaborn.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 3, 9, 5, 7)]
_DASHES: Sequence[Any] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.6, 1.2, 1.6)), (0, (9, 2)))
_MARKERS = "osD^vPX*"

_LEFT, _RIGHT, _GAP, _PANEL_HEIGHT, _XLABEL = 0.72, 0.22, 0.32, 2.75, 0.72
_TITLE, _LINE = 0.52, 0.165
_CHARACTER = 0.066
"""Mean width in inches of a character at the size of the notes."""


@dataclass(frozen=True)
class _Curve:
    """One step curve: certified accuracy ``y`` holds from ``x`` up to the next."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def accuracy_figure(result: RunResult) -> Figure:
    """Step curves of certified accuracy in percent against r; certificates share their style."""
    panels = [(answers.threat_answer(result, t), _curves(result, t)) for t in result.threats]
    drawn = {curve.name for _, curves in panels for curve in curves}
    order = [name for name in dict.fromkeys(answers.names(result).values()) if name in drawn]
    looks = {name: _look(i) for i, name in enumerate(order)}
    ends = [curve.x[-1] for _, curves in panels for curve in curves]
    furthest = max(1.0, *ends) if ends else 1.0
    with style():
        figure = new_figure(_width(len(panels)), 4)
        legend = _legend(figure, looks, _estimates(panels))
        axes = _place(figure, legend, [_notes(answer, len(panels)) for answer, _ in panels])
        for i, (axis, (answer, curves)) in enumerate(zip(axes, panels, strict=True)):
            for curve in curves:
                axis.plot(curve.x, curve.y, label=curve.name, **looks[curve.name])
            _dress(axis, answer, furthest, first=i % _columns(len(panels)) == 0)
    return figure


def _curves(result: RunResult, threat: str) -> list[_Curve]:
    called = answers.names(result)
    table = result.curves[result.curves["threat"] == threat]
    curves = []
    for (defense, certificate), group in table.groupby(["defense", "certificate"], sort=False):
        rows = group.sort_values("r")
        changes = rows["certified_accuracy"].ne(rows["certified_accuracy"].shift())
        changes.iloc[-1] = True
        kept: pd.DataFrame = rows[changes]
        name = called.get((str(defense), str(certificate)), str(defense))
        curves.append(_Curve(name, list(kept["r"]), list(kept["certified_accuracy"])))
    return curves


def _estimates(panels: Sequence[tuple[answers.ThreatAnswer, Sequence[_Curve]]]) -> set[str]:
    rows = [row for answer, _ in panels for row in answer.covered]
    return {row.name for row in rows if not row.proven}


def _look(i: int) -> dict[str, Any]:
    """Colour, dashes and marker of the i-th certificate: each tells it apart without the others."""
    return {
        "color": _COLOURS[i % len(_COLOURS)],
        "linestyle": _DASHES[i % len(_DASHES)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "markevery": (0.03 + 0.045 * (i % len(_MARKERS)), 0.36),
        "markersize": 5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.7,
        "linewidth": 1.9,
        "drawstyle": "steps-post",
        "dash_capstyle": "butt",
        "clip_on": False,
        "zorder": 3 + 0.01 * i,
    }


def _legend(figure: Figure, looks: Mapping[str, Any], estimates: set[str]) -> Legend | None:
    """A legend along the lower edge, in as many columns as fit."""
    if not looks:
        return None
    texts = [
        words.wrap_label(f"{name} (estimate)" if name in estimates else name, 38) for name in looks
    ]
    handles: list[Artist] = [
        Line2D([], [], **{**look, "markevery": None}) for look in looks.values()
    ]
    for columns in range(min(len(texts), 5), 0, -1):
        legend = figure.legend(
            handles,
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


def _columns(panels: int) -> int:
    return 2 if panels == 4 else min(max(panels, 1), 3)


def _panel_width(panels: int) -> float:
    return {1: 5.4, 2: 4.3}.get(_columns(panels), 3.3)


def _width(panels: int) -> float:
    columns = _columns(panels)
    return _LEFT + columns * _panel_width(panels) + (columns - 1) * _GAP + _RIGHT


def _notes(answer: answers.ThreatAnswer, panels: int) -> str:
    """What is missing from a panel, in lines that fit above it."""
    room = int(_panel_width(panels) / _CHARACTER)
    parts = [
        f"{what}: {', '.join(words.one_line(name) for name in missing)}"
        for what, missing in (("not covered", answer.not_covered), ("not run", answer.not_run))
        if missing
    ]
    return "\n".join(line for part in parts for line in textwrap.wrap(part, room))


def _place(figure: Figure, legend: Legend | None, notes: Sequence[str]) -> list[Axes]:
    """Lays out panels in rows, titles and notes above them, the legend below; sizes the figure."""
    columns, width = _columns(len(notes)), _panel_width(len(notes))
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


def _dress(axis: Axes, answer: answers.ThreatAnswer, furthest: float, *, first: bool) -> None:
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
        message = "no defense in this run\ncovers this attacker"
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
