"""What each parameter does by itself: cells that differ from a common one in that parameter alone.

So are the comparisons made of Figure 2 of Jia et al. (2021): k, alpha and N, each varied while the
others stay at their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.sweep import Value, differing_of, enough, in_order, settings_of
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

_FEWEST = 2
"""So many parameters are varied; one alone is a sweep."""


@dataclass(frozen=True)
class Varied:
    """One parameter: by its value, in their order, the label of the cell that has it."""

    parameter: str
    cells: Mapping[Value, str]


@dataclass(frozen=True)
class Impact:
    """Cells of one defense around ``base``, the label of the one that all parameters share.

    ``kept``: the base's values of the parameters that are varied.
    """

    base: str
    kept: Mapping[str, Value]
    varied: Sequence[Varied]


def impacts(result: RunResult) -> list[Impact]:
    """The defenses of which two or more parameters, alpha among them, were varied one at a time.

    All finished cells of such a defense differ from one of them in at most one parameter, and
    two or more parameters have values enough to draw. Empty for any other run.
    """
    return [one for one in map(_around, _families(result)) if one is not None]


def nothing_else(result: RunResult) -> bool:
    """Whether no other defense has cells that differ, which only the figure of a sweep shows."""
    return not any(differing_of(cells) and _around(cells) is None for cells in _families(result))


def _families(result: RunResult) -> list[list[Mapping[str, Any]]]:
    """The finished cells of each defense; of each run, where several are combined."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in over_seeds(result).cells:
        if cell.get("status") != "failed":
            family = str(cell.get("run", "")), str(cell.get("defense"))
            found.setdefault(family, []).append(cell)
    return list(found.values())


def _around(cells: Sequence[Mapping[str, Any]]) -> Impact | None:
    """The impact of what the cells of one defense vary; None where they are arranged otherwise."""
    names = list(differing_of(cells))
    settings = [settings_of(cell) for cell in cells]
    for base, kept in zip(cells, settings, strict=True):
        others = [[name for name in names if one.get(name) != kept.get(name)] for one in settings]
        if any(len(other) > 1 for other in others):
            continue
        varied = [
            _varied(name, cells, settings, others)
            for name in names
            if all(name in one for one in settings)
        ]
        drawn = [one for one in varied if enough(one.cells)]
        if len(drawn) >= _FEWEST:
            return Impact(
                str(base["label"]), {one.parameter: kept[one.parameter] for one in drawn}, drawn
            )
    return None


def _varied(
    name: str,
    cells: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Value]],
    others: Sequence[Sequence[str]],
) -> Varied:
    """The cells that differ from the base in this parameter, and the base itself."""
    labels = {
        one[name]: str(cell["label"])
        for cell, one, other in zip(cells, settings, others, strict=True)
        if other in ([], [name])
    }
    return Varied(name, {value: labels[value] for value in in_order(labels)})
