"""Certified accuracy against r: a panel for each parameter (Figure 2 of Jia et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from harness.report import answers, words
from harness.report.accuracy_figure import look
from harness.report.figures import FAINT, new_figure, style
from harness.report.impact import Impact, Varied, impacts
from harness.report.panels import (
    BAND,
    StepCurve,
    add_legend,
    band_key,
    draw_band,
    say_what,
    step_curves,
)
from harness.report.sweep import Value
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

_COLUMNS = 3
_LEFT, _GAP, _RIGHT = 0.72, 0.42, 0.22
_WIDTH, _HEIGHT, _HEAD, _FOOT = 3.2, 2.5, 1.02, 0.62


@dataclass(frozen=True)
class _Panel:
    """A panel: ``threat`` and ``certificate`` of its row, the curves by the parameter's value."""

    impact: Impact
    varied: Varied
    threat: str
    certificate: str
    curves: dict[Value, StepCurve]


def impact_figure(result: RunResult) -> Figure:
    """A panel for each parameter that was varied by itself, in it a curve for each value.

    Rows: the threats, and the certificates where a cell has several. Colours go from light to dark
    as the values rise; r is linear. Raises ValueError where :func:`worth_drawing` says that nothing
    was varied so.
    """
    result = over_seeds(result)
    rows = _rows(result)
    if not rows:
        raise ValueError("no parameters were varied one at a time")
    columns = max(map(len, rows))
    width = _LEFT + columns * _WIDTH + (columns - 1) * _GAP + _RIGHT
    with style():
        figure = new_figure(width, 4)
        banded = any(curve.banded for row in rows for one in row for curve in one.curves.values())
        legend = add_legend(figure, [band_key()], [BAND]) if banded else None
        below = legend.get_window_extent().height / figure.dpi + 0.1 if legend else 0.0
        height = below + len(rows) * (_HEAD + _HEIGHT + _FOOT)
        figure.set_size_inches(width, height)
        for i, row in enumerate(rows):
            bottom = height - (i + 1) * (_HEAD + _HEIGHT) - i * _FOOT
            for j, panel in enumerate(row):
                left = _LEFT + j * (_WIDTH + _GAP)
                box = left / width, bottom / height, _WIDTH / width, _HEIGHT / height
                _draw(figure.add_axes(box), panel, first=j == 0)
        say_what(figure, result)
    return figure


def worth_drawing(result: RunResult) -> bool:
    """Whether two or more parameters of a defense were varied one at a time."""
    return bool(_rows(result))


def _rows(result: RunResult) -> list[list[_Panel]]:
    """The panels of each row, at most three, without those in which nothing is certified."""
    rows = []
    for impact in impacts(result):
        for threat in over_seeds(result).threats:
            panels = _panels(result, impact, threat)
            for certificate in dict.fromkeys(one.certificate for one in panels):
                row = [one for one in panels if one.certificate == certificate]
                rows += [row[i : i + _COLUMNS] for i in range(0, len(row), _COLUMNS)]
    return rows


def _panels(result: RunResult, impact: Impact, threat: str) -> list[_Panel]:
    drawn = {curve.name: curve for curve in step_curves(result, threat)}
    called = answers.names(over_seeds(result))
    found = []
    for certificate in dict.fromkeys(certificate for _, certificate in called):
        for varied in impact.varied:
            names = {x: called.get((label, certificate)) for x, label in varied.cells.items()}
            curves = {x: drawn[name] for x, name in names.items() if name in drawn}
            if curves:
                found.append(_Panel(impact, varied, threat, certificate, curves))
    return found


def _draw(axis: Axes, panel: _Panel, *, first: bool) -> None:
    looks = _looks(list(panel.varied.cells))
    for value, curve in panel.curves.items():
        draw_band(axis, curve, looks[value]["color"])
        axis.plot(curve.x, curve.y, label=_said(value), **looks[value])
    furthest = max(1.0, *(curve.x[-1] for curve in panel.curves.values()))
    axis.set_xlim(0, furthest * 1.04)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.tick_params(labelleft=first)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda r, _: f"{r:,.0f}"))
    flips = panel.threat == "label-flip"
    axis.set_xlabel(f"{'flipped labels' if flips else 'poisoned training examples'}, r")
    if first:
        axis.set_ylabel("certified accuracy")
    axis.legend(loc="best", frameon=False, handlelength=2.6, labelspacing=0.3)
    _entitle(axis, panel, first=first)


def _looks(values: Sequence[Value]) -> dict[Value, dict[str, Any]]:
    """How the curves look, lighter to darker in the order of the values; dashes differ as well."""
    colours = seaborn.color_palette("flare", len(values))
    plain = {"marker": None, "markevery": None, "linewidth": 1.7}
    return {value: {**look(i), **plain, "color": colours[i]} for i, value in enumerate(values)}


def _entitle(axis: Axes, panel: _Panel, *, first: bool) -> None:
    """The parameter, and below it what stays; over the first panel, whose row it is."""
    kept = [
        f"{name} = {_said(value)}"
        for name, value in panel.impact.kept.items()
        if name != panel.varied.parameter
    ]
    texts = [
        (0.22, panel.varied.parameter, {"fontsize": 10.5, "weight": "bold"}),
        (0.06, ", ".join(kept), {"fontsize": 8.5, "color": FAINT}),
    ]
    if first:
        meaning = words.threat_meaning(panel.threat)
        row = f"{words.one_line(panel.impact.base)}, {panel.threat}: {meaning}, r times"
        texts.append((0.56, row, {"fontsize": 9.5}))
    for above, text, options in texts:
        axis.annotate(
            text, (0, 1), xytext=(0, above * 72), xycoords="axes fraction",
            textcoords="offset points", va="bottom", **options,  # type: ignore[arg-type]
        )  # fmt: skip


def _said(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:,g}"
