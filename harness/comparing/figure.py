"""Both curves of every pair of cells, the difference between them shaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from harness.comparing.comparison import CellChange, Comparison
from harness.report import words
from harness.report.figures import FAINT, INK, new_figure, style
from harness.report.panels import LINEAR_TO, r_ticks, say_what
from harness.results.reader import RunResult

_BLUE, _ORANGE = (seaborn.color_palette("colorblind")[i] for i in (0, 3))
_BASE: dict[str, Any] = {"color": FAINT, "linestyle": (0, (4, 1.6)), "linewidth": 1.4}
_NEW: dict[str, Any] = {"color": INK, "linewidth": 1.7}
_GAIN: dict[str, Any] = {"facecolor": _BLUE, "alpha": 0.45, "linewidth": 0}
_LOSS: dict[str, Any] = {
    "facecolor": (*_ORANGE, 0.35),
    "edgecolor": _ORANGE,
    "hatch": "////",
    "linewidth": 0,
}
_WIDTH, _HEIGHT = 3.2, 2.3
_LEFT, _TOP, _FOOT, _GAP_X, _GAP_Y = 0.75, 0.2, 1.05, 0.36, 0.6
_LINE = 0.15
"""Inches of a line of a title."""


@dataclass(frozen=True)
class _Steps:
    """A step curve: ``y`` holds from ``r`` up to the next."""

    r: np.ndarray[Any, np.dtype[np.float64]]
    y: np.ndarray[Any, np.dtype[np.float64]]

    def at(self, r: Any) -> Any:
        below = np.searchsorted(self.r, r, side="right") - 1
        return np.where(below < 0, 0.0, self.y[np.maximum(below, 0)])


def figure(found: Comparison, base: RunResult, new: RunResult) -> Figure:
    """A row for each pair of cells, a column for each threat that any of them was compared under.

    Raises ValueError where nothing was compared: there is nothing to draw.
    """
    cells = [cell for cell in found.cells if any(threat.changes for threat in cell.threats)]
    threats = list(dict.fromkeys(t.threat for cell in cells for t in cell.threats if t.changes))
    if not cells:
        raise ValueError("no two curves to draw")
    width = _LEFT + len(threats) * (_WIDTH + _GAP_X) - _GAP_X + 0.2
    titles = [[_title(cell, threat) for threat in threats] for cell in cells]
    rows = [_HEIGHT + _LINE * max(text.count("\n") + 1 for text in row) for row in titles]
    height = _TOP + sum(rows) + (len(cells) - 1) * _GAP_Y + _FOOT
    with style():
        drawn = new_figure(width, height)
        for i, cell in enumerate(cells):
            compared = [t.threat for t in cell.threats if t.changes]
            below = {t.threat for other in cells[i + 1 :] for t in other.threats if t.changes}
            for j, threat in enumerate(threats):
                left = _LEFT + j * (_WIDTH + _GAP_X)
                bottom = height - _TOP - sum(rows[: i + 1]) - i * _GAP_Y
                box = (left / width, bottom / height, _WIDTH / width, _HEIGHT / height)
                axis = drawn.add_axes(box)
                axis.set_title(titles[i][j], loc="left", fontsize=8.5)
                first = threat == next(t for t in threats if t in compared)
                axis.tick_params(labelleft=first)
                if threat not in compared:
                    _empty(axis, cell, threat)
                    continue
                curves = _curves(base, cell.pair.base, threat), _curves(new, cell.pair.new, threat)
                _panel(axis, *curves)
                if threat not in below:
                    axis.set_xlabel("poisoned training examples, r")
                if first:
                    axis.set_ylabel("certified accuracy")
        say_what(drawn, base)
        _legend(drawn)
    return drawn


def _title(cell: CellChange, threat: str) -> str:
    label = str(cell.pair.new["label"]) if cell.pair.replaced and cell.pair.new else ""
    text = f"{cell.label} -> {label}" if label else cell.label
    return words.wrap_label(f"{text}, {threat}", 46)


def _curves(run: RunResult, cell: Any, threat: str) -> _Steps:
    rows = run.curves[(run.curves["defense"] == cell["label"]) & (run.curves["threat"] == threat)]
    rows = rows.sort_values("r")
    return _Steps(rows["r"].to_numpy(float), rows["certified_accuracy"].to_numpy(float))


def _panel(axis: Axes, base: _Steps, new: _Steps) -> None:
    furthest = max(float(base.r[-1]), float(new.r[-1]), 1.0)
    r = np.unique(np.concatenate([base.r, new.r, [furthest * 1.05]]))
    before, after = base.at(r), new.at(r)
    options: dict[str, Any] = {"step": "post", "zorder": 2}
    axis.fill_between(r, before, after, where=list(after < before), **_LOSS, **options)
    axis.fill_between(r, before, after, where=list(after > before), **_GAIN, **options)
    axis.plot(r, before, drawstyle="steps-post", zorder=4, **_BASE)
    axis.plot(r, after, drawstyle="steps-post", zorder=3, **_NEW)
    _dress(axis, furthest)


def _dress(axis: Axes, furthest: float) -> None:
    axis.set_ylim(0, 1.02)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xscale("symlog", linthresh=LINEAR_TO, linscale=0.9)
    axis.set_xlim(0, furthest * 1.05)
    axis.xaxis.set_major_locator(FixedLocator(r_ticks(furthest, _WIDTH)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda r, _: f"{r:,.0f}"))


def _empty(axis: Axes, cell: CellChange, threat: str) -> None:
    reasons = [t.reason or "not covered" for t in cell.threats if t.threat == threat]
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    text = words.wrap_label((reasons or ["not run"])[0], 34)
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=FAINT)


def _legend(drawn: Figure) -> None:
    handles: Sequence[Any] = (
        Line2D([], [], **_BASE),
        Line2D([], [], **_NEW),
        Patch(**_LOSS),
        Patch(**_GAIN),
    )
    texts = ["base", "new", "no longer certified", "newly certified"]
    columns = 4 if drawn.get_figwidth() > 6 else 2
    drawn.legend(handles, texts, loc="lower center", ncols=columns, frameon=False)
