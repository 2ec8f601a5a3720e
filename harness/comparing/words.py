"""Numbers of a comparison in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.comparing.metrics import METRICS
from harness.report import words

if TYPE_CHECKING:
    from harness.comparing.change import Change


def value(metric: str, number: float) -> str:
    """A metric's value with its unit.

    >>> value("clean_accuracy", 0.985), value("train_s", 0.0421), value("median_radius", 171.0)
    ('98.50%', '42 ms', '171')
    """
    kind = METRICS[metric].kind
    if kind == "fraction":
        return words.percent(number)
    if kind == "seconds":
        return words.seconds(number)
    return words.megabytes(number) if kind == "memory" else words.radius(number)


def difference(change: Change) -> str:
    """The difference with its sign: percentage points, a factor, or plain; ``=`` for none."""
    kind = METRICS[change.metric].kind
    if math.isnan(change.base) or math.isnan(change.new):
        return words.NOTHING
    difference = change.new - change.base
    if kind == "fraction":
        return _signed(difference * 100, 2, " pp")
    if kind == "radius":
        return _signed(difference, 0, "")
    if math.isnan(change.expected):
        return words.NOTHING
    difference = change.new - change.expected
    if change.expected > 0:
        return _signed(100 * difference / change.expected, 0, "%")
    return _signed(difference, 1, " s" if kind == "seconds" else " MB")


def told(change: Change) -> str:
    """A change in a sentence: both values, the difference, what is tolerated, the test."""
    parts = [f"tolerated: {change.rule}"]
    if change.paired is not None:
        parts.append(str(change.paired))
    if change.note:
        parts.append(change.note)
    both = f"{value(change.metric, change.base)} -> {value(change.metric, change.new)}"
    return f"{change.name} {both}, {difference(change)} ({'; '.join(parts)})"


def _signed(number: float, digits: int, unit: str) -> str:
    return "=" if number == 0 else f"{number:+,.{digits}f}{unit}"
