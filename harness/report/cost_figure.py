"""Seconds of training, predicting and certifying, on a log axis (Figure 3c of Jia et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.report import words
from harness.report.costs import Cost, Shared, costs, features
from harness.report.figures import FAINT, GRID, new_figure, style
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

PHASES = {"train": "training", "predict": "predicting", "certify": "certifying"}

_PANEL, _GAP, _RIGHT = 2.55, 0.32, 0.15
_TOP, _BOTTOM, _ROW, _LINE = 0.4, 0.55, 0.36, 0.16
_CHARACTER = 0.072
_ROOM_FOR_VALUE = 0.74
"""The longest bar ends at this fraction of the panel; its value is written beside it."""
_WIDE_PANEL, _ROOM_FOR_RANGE = 3.2, 0.55
"""The same where the range over seeds is written beside the value."""
_OWN, _SHARED = (seaborn.color_palette("colorblind")[i] for i in (0, 1))


def cost_figure(result: RunResult) -> Figure:
    """A panel for each phase, a row for each cell; every value is written beside its dot.

    A mean over seeds has a bar through its dot, from the lowest to the highest. Below the cells
    there is a row for features that they share, with a square: seconds that no cell's contain.
    """
    result = over_seeds(result)
    rows, shared = costs(result), features(result)
    labels = [words.wrap_label(words.bracketed(cost.name, cost.seeds), 34) for cost in rows]
    labels += [words.wrap_label(one.said, 34) for one in shared]
    longest = max((len(line) for label in labels for line in label.split("\n")), default=1)
    left = 0.3 + _CHARACTER * longest
    heights = [max(_ROW, _LINE * (label.count("\n") + 1) + 0.14) for label in labels] or [_ROW]
    height = _TOP + sum(heights) + _BOTTOM
    ranges = any(cost.spread for cost in rows)
    panel, room = (_WIDE_PANEL, _ROOM_FOR_RANGE) if ranges else (_PANEL, _ROOM_FOR_VALUE)
    width = left + 3 * panel + 2 * _GAP + _RIGHT
    low, high = _limits(rows, shared, room)
    with style():
        figure = new_figure(width, height)
        for i, (phase, title) in enumerate(PHASES.items()):
            box = (
                (left + i * (panel + _GAP)) / width,
                _BOTTOM / height,
                panel / width,
                sum(heights) / height,
            )
            axis = figure.add_axes(box)
            shown = labels if i == 0 else [""] * len(labels)
            _dress(axis, title, shown, heights)
            _scale(axis, (low, high), _ticks(low, high, room, panel))
            for y, cost in zip(_centres(heights), rows, strict=False):
                _draw(axis, y, cost, phase, low)
            if i == 0:
                for y, one in zip(_centres(heights)[len(rows) :], shared, strict=True):
                    _draw_shared(axis, y, one.seconds, low)
            if shared:
                edge = sum(heights[: len(rows)])
                axis.axhline(edge, color=FAINT, linewidth=0.9, zorder=0)
    return figure


def _limits(rows: Sequence[Cost], shared: Sequence[Shared], room: float) -> tuple[float, float]:
    """The seconds at both ends of the log axis, which leaves room for a value at the right."""
    every = [row for cost in rows for row in (cost, cost.lowest, cost.highest)]
    found = [s for cost in every for s in (cost.train, cost.predict, cost.certify) if s > 0]
    found += [one.seconds for one in shared if one.seconds > 0]
    low = math.floor(math.log10(max(min(found, default=0.1), 1e-4)) - 0.15)
    high = math.log10(max(found, default=1.0))
    low = min(low, math.floor(high) - 1)  # so that at least two powers of ten have a tick
    return 10.0**low, 10 ** (low + (high - low) / room)


def _ticks(low: float, high: float, room: float, panel: float) -> list[float]:
    """At most five powers of ten, the last of them no larger than the largest value."""
    start, end = math.log10(low), math.log10(high)
    largest = start + (end - start) * room
    step = max(1, math.ceil((end - start) * (_PANEL / panel) / 4))
    return [10.0**e for e in range(round(start), math.floor(largest + 1e-9) + 1, step)]


def _centres(heights: Sequence[float]) -> list[float]:
    """Where each row's middle lies, in inches from the upper edge."""
    return [sum(heights[:i]) + height / 2 for i, height in enumerate(heights)]


def _draw(axis: Axes, y: float, cost: Cost, phase: str, low: float) -> None:
    """One cell's seconds; a word where there are none, for 0 has no place on a log axis."""
    value, least, most = (getattr(one, phase) for one in (cost, cost.lowest, cost.highest))
    if value > 0:
        _dot(axis, y, max(value, low), low, _OWN)
    if 0 < least < most:
        axis.plot([max(least, low), most], [y, y], color=_OWN, linewidth=4, alpha=0.45, zorder=2.5)
    missing = "failed" if cost.failed else words.NOTHING
    text = missing if math.isnan(value) else words.ranged(words.seconds, value, least, most)
    right = max(value, most, low) if value > 0 else low
    _write(axis, y, right, text, beside_dot=value > 0, faint=math.isnan(value))


def _draw_shared(axis: Axes, y: float, seconds: float, low: float) -> None:
    """What features took: once, whichever cells used them."""
    if seconds > 0:
        _dot(axis, y, max(seconds, low), low, _SHARED, marker="s")
    _write(axis, y, max(seconds, low), words.seconds(seconds), beside_dot=seconds > 0)


def _dot(axis: Axes, y: float, place: float, low: float, colour: Any, marker: str = "o") -> None:
    axis.plot([low, place], [y, y], color=colour, linewidth=1.4, alpha=0.45, zorder=2)
    axis.plot([place], [y], marker, color=colour, markersize=6, zorder=3)


def _write(
    axis: Axes, y: float, place: float, text: str, *, beside_dot: bool, faint: bool = False
) -> None:
    style: dict[str, Any] = {"color": FAINT, "style": "italic"} if faint else {}
    axis.annotate(
        text,
        (place, y),
        xytext=(7 if beside_dot else 4, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=8.5,
        **style,
    )


def _dress(
    axis: Axes,
    title: str,
    labels: Sequence[str],
    heights: Sequence[float],
) -> None:
    axis.set_title(title, loc="left", fontsize=10, weight="bold")
    axis.set_ylim(sum(heights), 0)
    axis.set_yticks(_centres(heights) if labels else [], labels, linespacing=1.1)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    for edge in _edges(heights):
        axis.axhline(edge, color=GRID, linewidth=0.7, zorder=0)


def _scale(axis: Axes, limits: tuple[float, float], ticks: Sequence[float]) -> None:
    axis.set_xscale("log")
    axis.set_xlim(*limits)
    axis.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda s, _: _tick(s)))
    axis.set_xlabel("seconds, log scale")


def _edges(heights: Sequence[float]) -> list[float]:
    """The lines between the rows."""
    return [sum(heights[:i]) for i in range(1, len(heights))]


def _tick(value: float) -> str:
    """A power of ten in full: 0.01, 1, 1,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:.6f}".rstrip("0")
