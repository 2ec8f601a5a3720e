"""Median radius, accuracy and cost against the parameter that was swept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from harness.report import words
from harness.report.accuracy_figure import look
from harness.report.answers import Row
from harness.report.costs import Cost
from harness.report.figures import FAINT, INK, new_figure, style
from harness.report.panels import BAND, add_legend, band_key
from harness.report.sweep import Line, Point, Sweep, r_that_matter, same_threats, sweeps
from harness.results.reader import RunResult

_LEFT, _PANEL, _GAP, _RIGHT = 0.85, 3.05, 0.85, 0.2
_HEAD, _HEIGHT, _FOOT, _LINE = 0.62, 2.2, 0.48, 0.155
_CHARACTER = 0.075
"""Room in inches for a character of a tick's label."""
_TURNED = 24
"""Characters of a line of a label that is turned."""
_DASHES = ("-", (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)))
_DOTTED = (0, (1.2, 1.4))
_DECADE = 10
_NONE = "x: no median radius, less than half is certified at r = 0"

Measure = Callable[[Point], tuple[float, float, float]]
"""Of a cell: the mean, the lowest and the highest over seeds; NaN where there is none."""


@dataclass(frozen=True)
class _Key:
    """How things look: lines by their names, accuracies by their r, None for clean accuracy."""

    lines: Mapping[str, Mapping[str, Any]]
    accuracies: Mapping[int | None, Mapping[str, Any]]


def sweep_figure(result: RunResult) -> Figure:
    """For each parameter that was swept, a row of panels for each threat: the median certified
    radius, clean and certified accuracy, and, beside the first, the seconds of training.

    Threats under which all numbers are the same share a row. Axes are logarithmic where values span
    a decade or more. Raises ValueError where :func:`worth_drawing` says that nothing was swept.
    """
    found = sweeps(result)
    if not found:
        raise ValueError("no parameter was swept")
    rows = [(sweep, group) for sweep in found for group in same_threats(sweep, result.threats)]
    most = max(len(sweep.lines) for sweep in found)
    names = list(dict.fromkeys(line.name for sweep in found for line in sweep.lines))
    key = _key(names, r_that_matter(found, 3 if len(names) == 1 else 1 + (most <= 2)))
    width = _LEFT + 3 * _PANEL + 2 * _GAP + _RIGHT
    feet = [_FOOT + _ticks_height(sweep) for sweep, _ in rows]
    with style():
        figure = new_figure(width, 4)
        legend = add_legend(figure, *_legend(found, key))
        assert legend is not None
        below = legend.get_window_extent().height / figure.dpi + 0.1
        height = below + sum(feet) + len(rows) * (_HEAD + _HEIGHT)
        figure.set_size_inches(width, height)
        top = height
        for i, (sweep, group) in enumerate(rows):
            top -= _HEAD + _HEIGHT
            first = i == 0 or rows[i - 1][0] is not sweep
            axes = [
                figure.add_axes(
                    (
                        (_LEFT + j * (_PANEL + _GAP)) / width,
                        top / height,
                        _PANEL / width,
                        _HEIGHT / height,
                    )
                )
                for j in range(3 if first else 2)
            ]
            _row(axes, sweep, group, key)
            top -= feet[i]
    return figure


def worth_drawing(result: RunResult) -> bool:
    """Whether a parameter was swept: three values of a number, or two of anything else."""
    return bool(sweeps(result))


def _key(names: Sequence[str], at: Sequence[int]) -> _Key:
    """A single line is black and accuracies have colours; else lines have the colours."""
    plain = {"drawstyle": "default", "markevery": None, "linewidth": 1.6, "linestyle": "-"}
    if len(names) == 1:
        lines = {names[0]: {**look(0), **plain, "color": INK}}
        looks = [{**look(i + 1), **plain, "linestyle": dash} for i, dash in enumerate(_DASHES)]
        clean = {**look(4), **plain, "color": FAINT, "linestyle": _DOTTED}
        return _Key(lines, {None: clean, **dict(zip(at, looks, strict=False))})
    lines = {name: {**look(i), **plain} for i, name in enumerate(names)}
    dashes = {r: {"linestyle": dash} for r, dash in zip(at, _DASHES, strict=False)}
    return _Key(lines, {None: {"linestyle": _DOTTED, "fillstyle": "none"}, **dashes})


def _legend(found: Sequence[Sweep], key: _Key) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = [Line2D([], [], **how) for how in key.lines.values()]
    texts = [words.wrap_label(name, 38) for name in key.lines]
    for r, how in key.accuracies.items():
        single = len(key.lines) == 1
        shown = how if single else {"color": FAINT, "linewidth": 1.6, **how}
        handles.append(Line2D([], [], **shown))
        texts.append("clean accuracy" if r is None else f"certified accuracy at r = {r:,}")
    points = [point for sweep in found for line in sweep.lines for point in line.points]
    rows = [row for point in points for row in point.rows.values()]
    if any(row.spread for row in rows):
        handles.append(band_key())
        texts.append(BAND)
    if any(row.median_radius < 0 for row in rows):
        handles.append(Line2D([], [], color=FAINT, marker="x", linestyle="", markersize=6))
        texts.append(_NONE.removeprefix("x: "))
    return handles, texts


def _row(axes: Sequence[Axes], sweep: Sweep, group: Sequence[str], key: _Key) -> None:
    """The panels of one sweep under threats whose numbers are the same."""
    threat = group[0]
    radii, accuracies = axes[:2]
    title = words.listing(group)
    meaning = words.threat_meaning(threat) if len(group) == 1 else "the same under each of them"
    _entitle(radii, title, meaning)
    for i, line in enumerate(sweep.lines):
        how = key.lines[line.name]
        _draw(radii, sweep, i, line, _of(threat, lambda row: row.median_radius), how)
        for r, other in key.accuracies.items():
            _draw(accuracies, sweep, i, line, _of(threat, _accuracy(r)), {**how, **other})
    half = "r with an expected accuracy\nof at least one half"
    _dress_number(radii, "median certified radius" if sweep.pointwise else half)
    _dress_accuracy(accuracies)
    for axis in axes:
        _dress_x(axis, sweep)
    if len(axes) > 2:
        _entitle(axes[2], "cost", "of training, the same under every threat")
        for i, line in enumerate(sweep.lines):
            _draw(axes[2], sweep, i, line, _seconds, key.lines[line.name])
        _dress_number(axes[2], "seconds")


def _accuracy(r: int | None) -> Callable[[Row], float]:
    return lambda row: row.clean_accuracy if r is None else row.at[r]


def _of(threat: str, what: Callable[[Row], float]) -> Measure:
    def measure(point: Point) -> tuple[float, float, float]:
        row = point.rows.get(threat)
        if row is None:
            return math.nan, math.nan, math.nan
        return what(row), what(row.lowest), what(row.highest)

    return measure


def _seconds(point: Point) -> tuple[float, float, float]:
    cost: Cost = point.cost
    return cost.train, cost.lowest.train, cost.highest.train


def _draw(
    axis: Axes, sweep: Sweep, i: int, line: Line, measure: Measure, how: Mapping[str, Any]
) -> None:
    """One line with its band; an x at the lower edge where nothing is certified of the half."""
    places = sorted((_place(sweep, i, point.x), *measure(point)) for point in line.points)
    known = [place for place in places if place[1] >= 0]
    x, mean, low, high = (
        (list(column) for column in zip(*known, strict=True)) if known else [[]] * 4
    )
    low = [max(value, 0) for value in low]
    edge = {"markeredgecolor": how["color"]} if how.get("fillstyle") == "none" else {}
    axis.plot(x, mean, label=line.name, **{**how, **edge})
    if low != high and sweep.numeric:
        axis.fill_between(x, low, high, facecolor=(*_rgb(how), 0.2), linewidth=0, zorder=2)
    if low != high:
        axis.vlines(x, low, high, color=how["color"], linewidth=1.1, alpha=0.7, zorder=2.5)
    none = [place[0] for place in places if place[1] < 0]
    if none:
        axis.plot(
            none, [0] * len(none), "x", color=how["color"], transform=axis.get_xaxis_transform(),
            clip_on=False, zorder=5, label="_none",
        )  # fmt: skip


def _rgb(how: Mapping[str, Any]) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(how["color"])


def _place(sweep: Sweep, i: int, value: float | str) -> float:
    """Where a value lies: itself, or the place of its name; lines beside one another there."""
    if sweep.numeric:
        return float(value)
    apart = min(0.14, 0.6 / len(sweep.lines))
    return sweep.values.index(value) + apart * (i - (len(sweep.lines) - 1) / 2)


def _dress_x(axis: Axes, sweep: Sweep) -> None:
    axis.set_xlabel(sweep.parameter)
    axis.xaxis.set_minor_locator(NullLocator())
    if not sweep.numeric:
        texts, turned = _tick_texts(sweep)
        how: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axis.set_xticks(range(len(texts)), texts, **how if turned else {})
        axis.set_xlim(-0.6, len(texts) - 0.4)
        return
    numbers = [float(value) for value in sweep.values]
    logarithmic = numbers[0] > 0 and numbers[-1] >= _DECADE * numbers[0]
    if logarithmic:
        axis.set_xscale("log")
        axis.set_xlabel(f"{sweep.parameter}, log scale")
    axis.xaxis.set_minor_locator(NullLocator())
    places = [math.log(number) if logarithmic else number for number in numbers]
    length = (places[-1] - places[0]) or 1.0
    axis.xaxis.set_major_locator(FixedLocator(_with_room(numbers, places, 0.9 * _PANEL / length)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _with_room(numbers: Sequence[float], places: Sequence[float], scale: float) -> list[float]:
    """Those numbers whose labels do not touch; ``scale``: inches of a unit of ``places``."""
    kept: list[float] = []
    free = -math.inf
    for number, place in zip(numbers, places, strict=True):
        half = _CHARACTER * len(f"{number:,g}") / 2 + 0.03
        if place * scale - half >= free:
            kept.append(number)
            free = place * scale + half
    return kept


def _tick_texts(sweep: Sweep) -> tuple[list[str], bool]:
    """The names on the axis, and whether they are turned: those that are too long for a level.

    Of an import path the last part is enough, unless two are the same then.
    """
    full = [str(value) for value in sweep.values]
    short = [re.sub(r"^[\w.]+\.(?=\w+(\(|$))", "", name) for name in full]
    names = short if len(set(short)) == len(short) else full
    turned = max(map(len, names)) > _PANEL / len(names) / _CHARACTER
    return [words.wrap_label(name, _TURNED) if turned else name for name in names], turned


def _ticks_height(sweep: Sweep) -> float:
    """Inches below an axis for the labels of its ticks."""
    if sweep.numeric:
        return _LINE
    texts, turned = _tick_texts(sweep)
    lines = [text.split("\n") for text in texts]
    if not turned:
        return _LINE
    return max(
        (_LINE * len(split) + 0.9 * _CHARACTER * max(map(len, split))) / math.sqrt(2)
        for split in lines
    )


def _dress_accuracy(axis: Axes) -> None:
    """Percent, from 0 on unless everything is above one half."""
    values = [float(y) for line in axis.lines for y in line.get_ydata()]  # type: ignore[union-attr]
    lowest = min(values, default=0.0)
    axis.set_ylim(math.floor(lowest * 10) / 10 if lowest > 0.5 else 0, 1.01)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_ylabel("accuracy")


def _dress_number(axis: Axes, label: str) -> None:
    """A logarithmic axis where values span more than a decade, else one from 0 on."""
    shown = [line for line in axis.lines if line.get_label() != "_none"]
    values = [float(y) for line in shown for y in line.get_ydata()]  # type: ignore[union-attr]
    low, high = min(values, default=0.0), max(values, default=0.0)
    axis.set_ylabel(label)
    if low > 0 and high >= _DECADE * low:
        axis.set_yscale("log")
        axis.set_ylabel(f"{label}, log scale")
        few = high < _DECADE**2 * low
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.yaxis.set_major_locator(MaxNLocator("auto", integer=high >= 4, steps=[1, 2, 5, 10]))
        axis.set_ylim(0, max(axis.get_ylim()[1], 1 if high == 0 else high * 1.08))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _entitle(axis: Axes, title: str, below: str) -> None:
    for text, above, options in (
        (title, 0.25, {"fontsize": 10.5, "weight": "bold"}),
        (below, 0.08, {"fontsize": 8.5, "color": FAINT}),
    ):
        axis.annotate(
            text, (0, 1), xytext=(0, above * 72), xycoords="axes fraction",
            textcoords="offset points", va="bottom", **options,  # type: ignore[arg-type]
        )  # fmt: skip
