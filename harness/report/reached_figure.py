"""Proved and reached in one picture: what is certified, what survives attacks, and what nobody
knows in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from harness.report import answers, problem, words
from harness.report.accuracy_figure import looks_of
from harness.report.figures import FAINT, INK, new_figure, style
from harness.report.panels import (
    StepCurve,
    add_legend,
    dress,
    figure_width,
    panel_columns,
    place,
    step_curves,
)
from harness.report.reached import Attacks, JointReached, Reached, Survival, attacks, survival
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

_DASHED = (0, (3.2, 1.7))
_ALARM = "#c0392b"
_ROUNDING = 1e-9
_UNKNOWN = 0.13
"""How opaque the unknown between proved and reached is."""


def reached_figure(result: RunResult) -> Figure:
    """A panel for each threat under which the run was attacked.

    Of each certificate that was attacked its certified accuracy is solid, and dashed in the same
    colour the accuracy that survives the strongest attack tried; the unknown between them is
    shaded. An attack on all test examples at once is a marker. What was proved and is refuted is
    red. Colours and markers are those of the figure of certified accuracy.
    """
    found = attacks(result)
    assert found is not None
    over = over_seeds(result)
    curves = {threat: step_curves(over, threat) for threat in over.threats}
    looks = looks_of(over, (curve for every in curves.values() for curve in every))
    panels = _panels(over, found)
    drawn = [name for name in looks if any(name in _names(found, p.threat) for p in panels)]
    survivals = {id(one): survival(over, one) for one in found.reached if one.examples}
    furthest = _furthest(curves, found)
    with style():
        figure = new_figure(figure_width(len(panels)), 4)
        legend = add_legend(figure, *_key({name: looks[name] for name in drawn}, found))
        for i, (axis, answer) in enumerate(zip(place(figure, legend, panels), panels, strict=True)):
            dress(axis, answer, furthest, first=i % panel_columns(len(panels)) == 0)
            _relabel(axis, over)
            for curve in curves[answer.threat]:
                if curve.name in _names(found, answer.threat):
                    _proved(axis, curve, looks[curve.name])
            for one in found.reached:
                if one.threat == answer.threat and id(one) in survivals:
                    proved = _curve(curves[one.threat], one.name)
                    _survived(axis, one, survivals[id(one)], proved, looks[one.name])
            for joint in found.joint:
                if joint.threat == answer.threat:
                    _joint(axis, joint, looks[joint.name])
            _refuted(axis, [one for one in found.reached if one.threat == answer.threat], curves)
    return figure


def _panels(result: RunResult, found: Attacks) -> list[answers.ThreatAnswer]:
    """The threats with attacks, each with the rows of what was attacked."""
    panels = []
    for threat in result.threats:
        names = _names(found, threat)
        if names:
            answer = answers.threat_answer(result, threat)
            rows = [row for row in answer.rows if row.name in names]
            panels.append(replace(answer, rows=rows, not_run=()))
    return panels


def _names(found: Attacks, threat: str) -> set[str]:
    every: list[Reached | JointReached] = [*found.reached, *found.joint]
    return {one.name for one in every if one.threat == threat}


def _furthest(curves: Mapping[str, Sequence[StepCurve]], found: Attacks) -> float:
    ends = [
        curve.x[-1]
        for threat, every in curves.items()
        for curve in every
        if curve.name in _names(found, threat)
    ]
    ends += [e.reached for one in found.reached for e in one.examples if e.reached is not None]
    ends += [joint.r for joint in found.joint]
    return max(1.0, *ends) if ends else 1.0


def _relabel(axis: Axes, result: RunResult) -> None:
    if axis.get_ylabel():
        axis.set_ylabel("accuracy" if result.labelled else problem.UNLABELLED)


def _curve(curves: Iterable[StepCurve], name: str) -> StepCurve:
    return next(curve for curve in curves if curve.name == name)


def _proved(axis: Axes, curve: StepCurve, look: Mapping[str, Any]) -> None:
    axis.plot(curve.x, curve.y, **{**look, "label": curve.name, "linestyle": "-"})


def _survived(
    axis: Axes, one: Reached, survived: Survival, proved: StepCurve, look: Mapping[str, Any]
) -> None:
    """The dashed curve as far as attacks went, and the unknown below it."""
    end = min(
        max(max(e.largest, e.at if e.reached else 0) for e in one.examples), axis.get_xlim()[1]
    )
    r = np.unique(np.concatenate([survived.x, np.asarray(proved.x), [end]]))
    r = r[r <= end]
    upper, lower = _on(survived.x, survived.y, r), _on(proved.x, proved.y, r)
    last = lower.copy()
    last[r > proved.x[-1]] = 0
    colour = look["color"]
    axis.fill_between(
        r, last, np.maximum(upper, last),
        step="post", facecolor=(*colour[:3], _UNKNOWN), linewidth=0, zorder=2.1, label="_unknown",
    )  # fmt: skip
    if (upper < last - _ROUNDING).any():
        axis.fill_between(
            r, upper, np.maximum(upper, last),
            step="post", facecolor=_ALARM, linewidth=0, zorder=2.4, label="_refuted",
        )  # fmt: skip
    axis.plot(
        r, upper,
        **{**look, "label": "_reached", "linestyle": _DASHED, "linewidth": 1.6,
           "markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.1,
           "markersize": look["markersize"] * 0.8},
    )  # fmt: skip


def _on(
    x: Sequence[float] | NDArray[Any], y: Sequence[float] | NDArray[Any], r: NDArray[Any]
) -> NDArray[np.float64]:
    """A step function at each r, from its first x on."""
    place = np.searchsorted(np.asarray(x), r, side="right") - 1
    found: NDArray[np.float64] = np.asarray(y, dtype=np.float64)[np.maximum(place, 0)]
    return found


def _joint(axis: Axes, joint: JointReached, look: Mapping[str, Any]) -> None:
    """What is left at one r, and a thin line down to what is proved there."""
    colour = _ALARM if joint.refuted else look["color"]
    axis.plot(
        [joint.r, joint.r], [joint.proved, joint.reached],
        color=colour, linewidth=0.9, zorder=2.6, label="_unknown",
    )  # fmt: skip
    axis.plot(
        [joint.r], [joint.reached], linestyle="none", marker=look["marker"],
        markersize=look["markersize"] * 1.15, markerfacecolor="white", markeredgecolor=colour,
        markeredgewidth=1.5, clip_on=False, zorder=6, label="_joint",
    )  # fmt: skip


def _refuted(
    axis: Axes, reached: Sequence[Reached], curves: Mapping[str, Sequence[StepCurve]]
) -> None:
    """A red cross on a certified accuracy, at the smallest size that refutes it."""
    for one in reached:
        sizes = [row.reached for row in one.refuted if row.reached is not None]
        if sizes:
            proved = _curve(curves[one.threat], one.name)
            height = _on(proved.x, proved.y, np.array([min(sizes)]))
            axis.plot(
                [min(sizes)], height, linestyle="none", marker="X", markersize=11, color=_ALARM,
                markeredgecolor="white", markeredgewidth=1, clip_on=False, zorder=7,
                label="_refuted",
            )  # fmt: skip


def _key(looks: Mapping[str, Any], found: Attacks) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = [
        Line2D([], [], **{**look, "linestyle": "-", "markevery": None}) for look in looks.values()
    ]
    texts = [words.wrap_label(name, 38) for name in looks]
    grey: dict[str, Any] = {"color": FAINT, "linewidth": 1.6}
    alone = any(one.examples for one in found.reached)
    rest: list[tuple[bool, Artist, str]] = [
        (True, Line2D([], [], **grey), "proved"),
        (alone, Line2D([], [], **grey, linestyle=_DASHED), "survives the strongest attack tried"),
        (alone, Patch(facecolor="#b5b5b566", linewidth=0), "unknown: neither proved nor reached"),
        (bool(found.joint), _marker("o", INK), "left by one attack on all test examples"),
        (bool(found.refuted), _marker("X", _ALARM, markerfacecolor=_ALARM), "REFUTED"),
    ]
    for present, handle, text in rest:
        if present:
            handles.append(handle)
            texts.append(text)
    return handles, texts


def _marker(marker: str, colour: str, **more: Any) -> Artist:
    look: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.5, "markersize": 7}
    return Line2D(
        [], [], linestyle="none", marker=marker, markeredgecolor=colour, **{**look, **more}
    )
