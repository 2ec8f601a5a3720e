"""What was swept: the parameters in which the cells of a defense differ, and what they do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.certificates import Kind
from harness.report import answers, words
from harness.report.answers import Row
from harness.report.costs import Cost, costs
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

Value = float | str
"""Of a parameter: a number, or what stands for anything else."""

ALPHA = "alpha"
_ENOUGH, _ENOUGH_NAMED = 3, 2
"""So many values of a number, or of anything else, make a line that is worth drawing."""


@dataclass(frozen=True)
class Point:
    """One cell. ``x``: its value of the parameter; ``rows``: by threat what it proves, if it is
    covered; ``cost``: what it cost.
    """

    x: Value
    rows: Mapping[str, Row]
    cost: Cost


@dataclass(frozen=True)
class Line:
    """Cells that differ in nothing but the parameter, and what they are called together."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Sweep:
    """The lines for one ``parameter``, all with certificates of one ``kind``.

    ``values``: every value that it takes, numbers rising, others in the order of the plan.
    """

    parameter: str
    kind: str
    values: Sequence[Value]
    lines: Sequence[Line]

    @property
    def pointwise(self) -> bool:
        """Whether it is about single examples, which alone have radii."""
        return self.kind == Kind.POINTWISE

    @property
    def numeric(self) -> bool:
        return not any(isinstance(value, str) for value in self.values)


def sweeps(result: RunResult) -> list[Sweep]:
    """What was swept, a parameter and a kind of certificate each; empty where nothing was.

    Of the parameters in which the cells of a defense differ, alpha among them, the one with the
    most values is swept; the others tell its lines apart. What would be too few points is left out.
    """
    result = over_seeds(result)
    spent = {cost.name: cost for cost in costs(result)}
    rows = _rows(result)
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in result.cells:
        if cell.get("status") != "failed" and cell["label"] in rows:
            family = str(cell.get("run", "")), str(cell.get("defense"))
            families.setdefault(family, []).append(cell)
    found: dict[tuple[str, str], list[Line]] = {}
    for (run, defense), cells in families.items():
        differing = differing_of(cells)
        if not differing:
            continue
        parameter = _most(differing)
        rest = [name for name in differing if name != parameter]
        for line, kind in _lines(cells, parameter, rest, rows, spent):
            prefix = f"{run}/{defense}" if run else defense
            named = Line(prefix + line.name, line.points)
            found.setdefault((parameter, kind), []).append(named)
    made = [
        Sweep(parameter, kind, in_order(p.x for line in lines for p in line.points), lines)
        for (parameter, kind), lines in found.items()
    ]
    return [sweep for sweep in made if _worth(sweep)]


def _worth(sweep: Sweep) -> bool:
    return any(enough([point.x for point in line.points]) for line in sweep.lines)


def enough(values: Iterable[Value]) -> bool:
    """Whether they are worth drawing: three values of a number, two of anything else."""
    found = set(values)
    named = any(isinstance(value, str) for value in found)
    return len(found) >= (_ENOUGH_NAMED if named else _ENOUGH)


def _rows(result: RunResult) -> dict[str, dict[str, dict[str, Row]]]:
    """What is covered, by the cell's label, the certificate and the threat."""
    found: dict[str, dict[str, dict[str, Row]]] = {}
    for answer in answers.threat_answers(result):
        for row in answer.covered:
            found.setdefault(row.label, {}).setdefault(row.certificate, {})[answer.threat] = row
    return found


def settings_of(cell: Mapping[str, Any]) -> dict[str, Value]:
    """The cell's parameters, and its alpha if it is known."""
    named = dict(cell.get("params") or {})
    if cell.get(ALPHA) is not None:
        named[ALPHA] = cell[ALPHA]
    return {str(name): _value(value) for name, value in named.items()}


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return "none" if value is None else json.dumps(value)


def differing_of(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[Value]]:
    """The parameters in which the cells differ, each with its values."""
    settings = [settings_of(cell) for cell in cells]
    names = dict.fromkeys(name for one in settings for name in one)
    values = {
        name: list(dict.fromkeys(one.get(name, "none") for one in settings)) for name in names
    }
    return {name: found for name, found in values.items() if len(found) > 1}


def _most(differing: Mapping[str, Sequence[Value]]) -> str:
    """The parameter with the most values; of several, the first that is a number."""

    def order(name: str) -> tuple[int, bool]:
        return -len(differing[name]), any(isinstance(value, str) for value in differing[name])

    return min(differing, key=order)


def _lines(
    cells: Sequence[Mapping[str, Any]],
    parameter: str,
    rest: Sequence[str],
    rows: Mapping[str, Mapping[str, Mapping[str, Row]]],
    spent: Mapping[str, Cost],
) -> list[tuple[Line, str]]:
    """The lines of one defense, named by what tells them apart, and each one's kind."""
    points: dict[tuple[str, str, str], list[Point]] = {}
    for cell in cells:
        settings, label = settings_of(cell), str(cell["label"])
        shared = _called({name: settings.get(name, "none") for name in rest})
        for certificate, by_threat in rows[label].items():
            one = next(iter(by_threat.values()))
            several = certificate if one.name != one.label else ""
            name = words.bracketed(shared + f": {several}" * bool(several), one.remark, one.seeds)
            key = name, several, one.kind
            point = Point(settings.get(parameter, "none"), by_threat, spent[label])
            points.setdefault(key, []).append(point)
    return [(Line(name, found), kind) for (name, _, kind), found in points.items()]


def _called(settings: Mapping[str, Value]) -> str:
    """As labels of cells are written: [learner=ridge]@alpha=0.01."""
    inner = [f"{name}={_text(value)}" for name, value in settings.items() if name != ALPHA]
    text = f"[{','.join(inner)}]" if inner else ""
    return text + (f"@alpha={_text(settings[ALPHA])}" if ALPHA in settings else "")


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def in_order(given: Iterable[Value]) -> list[Value]:
    """The values, each once: numbers rising; as texts, in their order, where not all are."""
    values = list(dict.fromkeys(given))
    numbers = [value for value in values if not isinstance(value, str)]
    return sorted(numbers) if len(numbers) == len(values) else list(values)


def r_that_matter(found: Sequence[Sweep], most: int) -> list[int]:
    """The r at which the certified accuracies of the cells differ most, rising."""
    rows = [
        row
        for sweep in found
        for line in sweep.lines
        for point in line.points
        for row in point.rows.values()
    ]
    between = {r: max(x.at[r] for x in rows) - min(x.at[r] for x in rows) for r in rows[0].at}
    ranked = sorted((r for r in between if between[r] > 0), key=lambda r: -between[r])
    return sorted(ranked[:most])


def same_threats(sweep: Sweep, threats: Sequence[str]) -> list[list[str]]:
    """The threats under which anything is covered; those with the same numbers put together."""

    def numbers(threat: str) -> tuple[Any, ...]:
        return tuple(
            (row.median_radius, row.clean_accuracy, *row.at.values())
            if (row := point.rows.get(threat))
            else None
            for line in sweep.lines
            for point in line.points
        )

    groups: dict[tuple[Any, ...], list[str]] = {}
    for threat in threats:
        found = numbers(threat)
        if any(found):
            groups.setdefault(found, []).append(threat)
    return list(groups.values())
