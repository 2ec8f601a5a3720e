"""Seconds of training, predicting and certifying, on a log axis (Figure 3c of Jia et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.report import words
from harness.report.answers import Cost, costs
from harness.report.figures import FAINT, GRID, new_figure, style
from harness.results.reader import RunResult

PHASES = {"train": "training", "predict": "predicting", "certify": "certifying"}

_PANEL, _GAP, _RIGHT = 2.55, 0.32, 0.15
_TOP, _BOTTOM, _ROW, _LINE = 0.4, 0.55, 0.36, 0.16
_CHARACTER = 0.072
_ROOM_FOR_VALUE = 0.74
"""The longest bar ends at this fraction of the panel; its value is written beside it."""


def cost_figure(result: RunResult) -> Figure:
    """A panel for each phase, a row for each cell; every value is written beside its dot."""
    rows = costs(result)
    labels = [words.wrap_label(cost.name, 34) for cost in rows]
    longest = max((len(line) for label in labels for line in label.split("\n")), default=1)
    left = 0.3 + _CHARACTER * longest
    heights = [max(_ROW, _LINE * (label.count("\n") + 1) + 0.14) for label in labels] or [_ROW]
    height = _TOP + sum(heights) + _BOTTOM
    width = left + 3 * _PANEL + 2 * _GAP + _RIGHT
    low, high = _limits(rows)
    with style():
        figure = new_figure(width, height)
        for i, (phase, title) in enumerate(PHASES.items()):
            box = (
                (left + i * (_PANEL + _GAP)) / width,
                _BOTTOM / height,
                _PANEL / width,
                sum(heights) / height,
            )
            axis = figure.add_axes(box)
            _dress(axis, title, labels if i == 0 else [""] * len(labels), heights, (low, high))
            for y, cost in zip(_centres(heights), rows, strict=False):
                _draw(axis, y, getattr(cost, phase), cost.failed, low)
    return figure


def _limits(rows: Sequence[Cost]) -> tuple[float, float]:
    """The seconds at both ends of the log axis, which leaves room for a value at the right."""
    found = [s for cost in rows for s in (cost.train, cost.predict, cost.certify) if s > 0]
    low = math.floor(math.log10(max(min(found, default=0.1), 1e-4)) - 0.15)
    high = math.log10(max(found, default=1.0))
    low = min(low, math.floor(high) - 1)  # so that at least two powers of ten have a tick
    return 10.0**low, 10 ** (low + (high - low) / _ROOM_FOR_VALUE)


def _ticks(low: float, high: float) -> list[float]:
    """At most five powers of ten, the last of them no larger than the largest value."""
    start, end = math.log10(low), math.log10(high)
    largest = start + (end - start) * _ROOM_FOR_VALUE
    step = max(1, math.ceil((end - start) / 4))
    return [10.0**e for e in range(round(start), math.floor(largest + 1e-9) + 1, step)]


def _centres(heights: Sequence[float]) -> list[float]:
    """Where each row's middle lies, in inches from the upper edge."""
    return [sum(heights[:i]) + height / 2 for i, height in enumerate(heights)]


def _draw(axis: Axes, y: float, value: float, failed: bool, low: float) -> None:
    """One cell's seconds; a word where there are none, for 0 has no place on a log axis."""
    place = max(value, low) if value > 0 else low
    if value > 0:
        colour = seaborn.color_palette("colorblind")[0]
        axis.plot([low, place], [y, y], color=colour, linewidth=1.4, alpha=0.45, zorder=2)
        axis.plot([place], [y], "o", color=colour, markersize=6, zorder=3)
    missing = "failed" if failed else words.NOTHING
    text = missing if math.isnan(value) else words.seconds(value)
    faint = {"color": FAINT, "style": "italic"} if math.isnan(value) else {}
    axis.annotate(
        text,
        (place, y),
        xytext=(7 if value > 0 else 4, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=8.5,
        **faint,  # type: ignore[arg-type]
    )


def _dress(
    axis: Axes,
    title: str,
    labels: Sequence[str],
    heights: Sequence[float],
    limits: tuple[float, float],
) -> None:
    axis.set_title(title, loc="left", fontsize=10, weight="bold")
    axis.set_xscale("log")
    axis.set_xlim(*limits)
    axis.xaxis.set_major_locator(FixedLocator(_ticks(*limits)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda s, _: _tick(s)))
    axis.set_xlabel("seconds, log scale")
    axis.set_ylim(sum(heights), 0)
    axis.set_yticks(_centres(heights) if labels else [], labels, linespacing=1.1)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    for edge in _edges(heights):
        axis.axhline(edge, color=GRID, linewidth=0.7, zorder=0)


def _edges(heights: Sequence[float]) -> list[float]:
    """The lines between the rows."""
    return [sum(heights[:i]) for i in range(1, len(heights))]


def _tick(value: float) -> str:
    """A power of ten in full: 0.01, 1, 1,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:.6f}".rstrip("0")
