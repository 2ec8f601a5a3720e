"""The axes of the figure of a sweep: scales, ticks and their labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from harness.report import words
from harness.report.sweep import Sweep

PANEL = 3.05
"""Inches that a panel is wide."""
NONE = "_none"
"""The label of what stands for no number and counts for no scale."""

_LINE, _CHARACTER = 0.155, 0.075
"""Inches of a line, and of a character, of a tick's label."""
_TURNED = 24
"""Characters of a line of a label that is turned."""
_DECADE = 10


def dress_x(axis: Axes, sweep: Sweep) -> None:
    """The swept parameter: its values as ticks, logarithmic where they span a decade or more."""
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
    axis.xaxis.set_major_locator(FixedLocator(_with_room(numbers, places, 0.9 * PANEL / length)))
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
    turned = max(map(len, names)) > PANEL / len(names) / _CHARACTER
    return [words.wrap_label(name, _TURNED) if turned else name for name in names], turned


def ticks_height(sweep: Sweep) -> float:
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


def dress_accuracy(axis: Axes) -> None:
    """Percent, from 0 on unless everything is above one half."""
    lowest = min(_drawn(axis), default=0.0)
    axis.set_ylim(math.floor(lowest * 10) / 10 if lowest > 0.5 else 0, 1.01)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_ylabel("accuracy")


def dress_number(axis: Axes, label: str) -> None:
    """A logarithmic axis where values span more than a decade, else one from 0 on."""
    values = _drawn(axis)
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


def _drawn(axis: Axes) -> list[float]:
    """Every number that lines show there."""
    shown = [line for line in axis.lines if line.get_label() != NONE]
    return [float(y) for line in shown for y in np.asarray(line.get_ydata(), dtype=float)]
