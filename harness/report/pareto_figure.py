"""The Pareto front of a sweep: the most that any cell proves, and which cell that is at which r."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.certificates import Kind
from harness.report import answers, words
from harness.report.accuracy_figure import look
from harness.report.figures import FAINT, INK, new_figure, style
from harness.report.front import Front, front, ranked_curves
from harness.report.panels import (
    BAND,
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

_BAND: dict[str, Any] = {"color": "#cdd3d8", "linewidth": 7, "solid_capstyle": "butt", "zorder": 2}
_BEATEN: dict[str, Any] = {"color": "#a6a6a6", "linewidth": 0.8, "zorder": 2.5}
_ESTIMATE: dict[str, Any] = {**_BEATEN, "color": FAINT, "linestyle": (0, (1, 2))}
_ACCURACIES: dict[Kind, dict[str, Any]] = {
    Kind.EXPECTED_ACCURACY: {**_BEATEN, "color": FAINT, "linestyle": (0, (6, 2, 1, 2))},
    Kind.COLLECTIVE: {**_BEATEN, "color": FAINT, "linestyle": (0, (6, 2, 1, 2, 1, 2))},
}
"""Certificates that are about an accuracy and not about single examples."""
_LETTER = 0.11
"""Room in inches for one letter above the front."""


def worth_drawing(result: RunResult) -> bool:
    """Whether cells were compared that differ in their parameters, and prove something."""
    result = over_seeds(result)
    cells = [cell for cell in result.cells if cell.get("status") != "failed"]
    swept = any("[" in str(cell["label"]) for cell in cells)
    swept = swept or len({cell.get("defense") for cell in cells}) < len(cells)
    return swept and any(len(ranked_curves(result, threat)) > 1 for threat in result.threats)


def pareto_figure(result: RunResult) -> Figure:
    """A panel for each threat: the front as a band, a letter on it for who proves most there.

    The cells that are nowhere best are thin and grey, expected and collective accuracy are
    dash-dotted, estimates are dotted; none of these has a letter. Those that lead anywhere have a
    band over seeds.
    """
    result = over_seeds(result)
    answered = answers.threat_answers(result)
    fronts = [front(result, answer.threat) for answer in answered]
    names = list(dict.fromkeys(name for found in fronts for name in found.leaders))
    letters = {name: _letter(i) for i, name in enumerate(names)}
    looks = {name: {**look(i), "linewidth": 1.6} for i, name in enumerate(names)}
    furthest = max([1, *(found.leads[-1].last + 1 for found in fronts if found.leads)])
    with style():
        figure = new_figure(figure_width(len(answered)), 4)
        legend = add_legend(figure, *_key(letters, looks, answered, _banded(result, looks)))
        axes = place(figure, legend, answered)
        for i, (axis, answer, found) in enumerate(zip(axes, answered, fronts, strict=True)):
            dress(axis, answer, furthest, first=i % panel_columns(len(answered)) == 0)
            axis.set_ylim(0, 1.1)  # room for letters above a front at 100 %
            _draw(axis, result, answer, looks)
            _mark(axis, found, letters)
        say_what(figure, result)
    return figure


def _key(
    letters: Mapping[str, str],
    looks: Mapping[str, Any],
    answered: Sequence[answers.ThreatAnswer],
    banded: bool,
) -> tuple[list[Artist], list[str]]:
    """Handles and texts of the legend: who has which letter, and what the other lines are."""
    handles: list[Artist] = [Line2D([], [], **{**looks[n], "markevery": None}) for n in letters]
    rows = [row for answer in answered for row in answer.covered]
    seeds = {row.name: row.seeds for row in rows}
    texts = [
        f"{letter}  {words.wrap_label(words.bracketed(name, seeds[name]), 38)}"
        for name, letter in letters.items()
    ]
    rest = [
        ("the most that any proves", _BAND, True),
        ("nowhere best", _BEATEN, any(row.ranked and row.name not in letters for row in rows)),
        *(
            (f"{words.not_pointwise(kind)[0]}, not ranked", how, any(map(_is(kind), rows)))
            for kind, how in _ACCURACIES.items()
        ),
        ("estimate, not ranked", _ESTIMATE, any(not row.proven for row in rows)),
    ]
    for text, how, present in rest:
        if present:
            handles.append(Line2D([], [], **how))
            texts.append(text)
    if banded:
        handles.append(band_key())
        texts.append(BAND)
    return handles, texts


def _is(kind: Kind) -> Callable[[answers.Row], bool]:
    """Whether a row is a proof of that kind."""
    return lambda row: row.proven and row.kind == kind


def _banded(result: RunResult, looks: Mapping[str, Any]) -> bool:
    return any(
        curve.banded and curve.name in looks
        for threat in result.threats
        for curve in step_curves(result, threat)
    )


def _letter(i: int) -> str:
    """A to Z, then A1 to Z1 and so on."""
    return chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")


def _draw(
    axis: Axes, result: RunResult, answer: answers.ThreatAnswer, looks: Mapping[str, Any]
) -> None:
    unranked = {
        row.name: _ACCURACIES[Kind(row.kind)] if row.proven else _ESTIMATE
        for row in answer.covered
        if not row.ranked
    }
    for curve in step_curves(result, answer.threat):
        how = unranked.get(curve.name) or looks.get(curve.name, _BEATEN)
        if curve.name in looks:
            draw_band(axis, curve, how["color"])
        axis.plot(curve.x, curve.y, **{"drawstyle": "steps-post", "label": curve.name, **how})


def _mark(axis: Axes, found: Front, letters: Mapping[str, str]) -> None:
    """The front as a band, a stroke where the lead changes, and letters where there is room."""
    axis.plot(found.r, found.accuracy, drawstyle="steps-post", label="_front", **_BAND)
    stroke: dict[str, Any] = {
        "marker": "|",
        "color": INK,
        "markersize": 8,
        "markeredgewidth": 0.8,
        "zorder": 5,
        "label": "_change",
    }
    for before, lead in pairwise(found.leads):
        axis.plot([lead.first], [(before.lowest + lead.highest) / 2], **stroke)
    free = -math.inf
    for lead in found.leads:
        tied = sorted((letters[name] for name in lead.names), key=lambda t: (len(t), t))
        text = "=".join(tied[:3]) + "…" * (len(tied) > 3)
        left, right = (_inches(axis, r) for r in (lead.first, lead.last + 1))
        need, middle = _LETTER * len(text), (left + right) / 2
        if right - left < need or middle - need / 2 < free:
            continue
        free = middle + need / 2
        r = _r_at(axis, middle)
        height = float(found.accuracy[np.searchsorted(found.r, r, side="right") - 1])
        steep = height < 0.9  # the front falls: its letter stands to the right of it
        axis.annotate(
            text,
            (r, height),
            xytext=(6, 2) if steep else (0, 5),
            textcoords="offset points",
            ha="left" if steep else "center",
            va="bottom",
            weight="bold",
            zorder=6,
        )


def _inches(axis: Axes, r: float) -> float:
    """Where r lies, from the left edge of the figure."""
    return float(axis.transData.transform((r, 0))[0]) / _dpi(axis)


def _r_at(axis: Axes, inches: float) -> float:
    return float(axis.transData.inverted().transform((inches * _dpi(axis), 0))[0])


def _dpi(axis: Axes) -> float:
    figure = axis.get_figure(root=True)
    assert figure is not None
    return figure.dpi
