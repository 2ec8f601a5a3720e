"""Median radius, accuracy and cost against the parameter that was swept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report import words
from harness.report.accuracy_figure import look
from harness.report.answers import Row
from harness.report.costs import Cost
from harness.report.figures import FAINT, INK, new_figure, style
from harness.report.panels import BAND, add_legend, band_key
from harness.report.sweep import Line, Point, Sweep, r_that_matter, same_threats, sweeps
from harness.report.sweep_axes import (
    NONE,
    PANEL,
    dress_accuracy,
    dress_number,
    dress_x,
    ticks_height,
)
from harness.results.reader import RunResult

_LEFT, _GAP, _RIGHT = 0.85, 0.85, 0.2
_HEAD, _HEIGHT, _FOOT = 0.62, 2.2, 0.48
_DASHES = ("-", (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)))
_DOTTED = (0, (1.2, 1.4))
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
    width = _LEFT + 3 * PANEL + 2 * _GAP + _RIGHT
    feet = [_FOOT + ticks_height(sweep) for sweep, _ in rows]
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
                        (_LEFT + j * (PANEL + _GAP)) / width,
                        top / height,
                        PANEL / width,
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
        clean = {**look(4), **plain, "color": FAINT, "linestyle": _DOTTED}
        accuracies: dict[int | None, Mapping[str, Any]] = {None: clean}
        for i, (r, dash) in enumerate(zip(at, _DASHES, strict=False)):
            accuracies[r] = {**look(i + 1), **plain, "linestyle": dash}
        return _Key(lines, accuracies)
    lines = {name: {**look(i), **plain} for i, name in enumerate(names)}
    dashes: dict[int | None, Mapping[str, Any]] = {
        r: {"linestyle": dash} for r, dash in zip(at, _DASHES, strict=False)
    }
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
    about = "".join(words.not_pointwise(sweep.kind))
    half = f"r with {words.a(about)}\nof at least one half"
    dress_number(radii, half if about else "median certified radius")
    dress_accuracy(accuracies)
    for axis in axes:
        dress_x(axis, sweep)
    if len(axes) > 2:
        _entitle(axes[2], "cost", "of training, the same under every threat")
        for i, line in enumerate(sweep.lines):
            _draw(axes[2], sweep, i, line, _seconds, key.lines[line.name])
        dress_number(axes[2], "seconds")


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
            clip_on=False, zorder=5, label=NONE,
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


def _entitle(axis: Axes, title: str, below: str) -> None:
    for text, above, options in (
        (title, 0.25, {"fontsize": 10.5, "weight": "bold"}),
        (below, 0.08, {"fontsize": 8.5, "color": FAINT}),
    ):
        axis.annotate(
            text, (0, 1), xytext=(0, above * 72), xycoords="axes fraction",
            textcoords="offset points", va="bottom", **options,  # type: ignore[arg-type]
        )  # fmt: skip
