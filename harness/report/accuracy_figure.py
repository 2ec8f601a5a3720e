"""Certified accuracy against r, a panel for each threat (Figure 3b of Jia et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import seaborn
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from harness.report import answers, words
from harness.report.figures import new_figure, style
from harness.report.panels import (
    BAND,
    StepCurve,
    add_legend,
    band_key,
    draw_band,
    dress,
    figure_width,
    panel_columns,
    place,
    say_what,
    step_curves,
)
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

# Seaborn's colour-blind palette, ordered so that neighbours differ in lightness as well.
_COLOURS = [seaborn.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 3, 9, 5, 7)]
_DASHES: Sequence[Any] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.6, 1.2, 1.6)), (0, (9, 2)))
_MARKERS = {"o": 5.9, "s": 5.5, "D": 5.3, "^": 7.5, "v": 7.5, "P": 7.6, "X": 7.1, "*": 11.0}
"""Each marker with the size at which it looks as large as the others."""


def accuracy_figure(result: RunResult) -> Figure:
    """Step curves of certified accuracy in percent against r; certificates share their style.

    Cells that differ only in their seed are one curve, the mean, with a band from the lowest to the
    highest.
    """
    result = over_seeds(result)
    panels = [(answers.threat_answer(result, t), step_curves(result, t)) for t in result.threats]
    looks = looks_of(result, [curve for _, curves in panels for curve in curves])
    ends = [curve.x[-1] for _, curves in panels for curve in curves]
    furthest = max(1.0, *ends) if ends else 1.0
    with style():
        figure = new_figure(figure_width(len(panels)), 4)
        legend = _legend(figure, looks, _marked(panels), banded=_banded(panels))
        axes = place(figure, legend, [answer for answer, _ in panels])
        for i, (axis, (answer, curves)) in enumerate(zip(axes, panels, strict=True)):
            for curve in curves:
                draw_band(axis, curve, looks[curve.name]["color"])
                axis.plot(curve.x, curve.y, label=curve.name, **looks[curve.name])
            dress(axis, answer, furthest, first=i % panel_columns(len(panels)) == 0)
        say_what(figure, result)
    return figure


def _marked(
    panels: Sequence[tuple[answers.ThreatAnswer, Sequence[StepCurve]]],
) -> dict[str, str]:
    """By name what the legend calls those that are not ranked, or are means over seeds."""
    return {row.name: row.marked for answer, _ in panels for row in answer.covered}


def _banded(panels: Sequence[tuple[answers.ThreatAnswer, Sequence[StepCurve]]]) -> bool:
    return any(curve.banded for _, curves in panels for curve in curves)


def looks_of(result: RunResult, curves: Iterable[StepCurve]) -> dict[str, dict[str, Any]]:
    """By name the look of each certificate that has a curve, in the order of the run."""
    drawn = {curve.name for curve in curves}
    order = [name for name in dict.fromkeys(answers.names(result).values()) if name in drawn]
    return {name: look(i) for i, name in enumerate(order)}


def look(i: int) -> dict[str, Any]:
    """Colour, dashes and marker of the i-th certificate: each tells it apart without the others.

    From the ninth on colours come again, with other markers.
    """
    marker, size = list(_MARKERS.items())[(i + i // len(_COLOURS)) % len(_MARKERS)]
    return {
        "color": _COLOURS[i % len(_COLOURS)],
        "linestyle": _DASHES[i % len(_DASHES)],
        "marker": marker,
        "markevery": (0.03 + 0.045 * (i % len(_MARKERS)), 0.36),
        "markersize": size,
        "markeredgecolor": "white",
        "markeredgewidth": 0.7,
        "linewidth": 1.9,
        "drawstyle": "steps-post",
        "dash_capstyle": "butt",
        "clip_on": False,
        "zorder": 3 + 0.01 * i,
    }


def _legend(
    figure: Figure, looks: Mapping[str, Any], marked: Mapping[str, str], *, banded: bool
) -> Legend | None:
    texts = [words.wrap_label(marked.get(name, name), 38) for name in looks]
    handles: list[Artist] = [
        Line2D([], [], **{**look, "markevery": None}) for look in looks.values()
    ]
    if banded:
        handles.append(band_key())
        texts.append(BAND)
    return add_legend(figure, handles, texts)
