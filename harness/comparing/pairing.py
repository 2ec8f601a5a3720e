"""Which cell of one run is which of the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import unknown
from harness.results.reader import RunResult, group_of

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """A cell of the base and the cell of the new run that it is compared with, as manifests say.

    ``replaced``: the new run has no cell of that name; this one, with other parameters, is the only
    one of the same defense that is left, and is shown in its place.
    """

    base: Cell | None
    new: Cell | None
    replaced: bool = False

    @property
    def label(self) -> str:
        """The name of the cell: the base's, unless only the new run has it."""
        return str((self.base or self.new or {})["label"])

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Parameters that differ, with their values before and after; None for one not there."""
        if self.base is None or self.new is None:
            return {}
        before, after = self.base["params"], self.new["params"]
        return {
            key: (before.get(key), after.get(key))
            for key in sorted({*before, *after})
            if json.dumps(before.get(key)) != json.dumps(after.get(key))
        }


def pair_cells(base: RunResult, new: RunResult, wanted: Sequence[str] = ()) -> list[Pair]:
    """Pairs of cells, in the base's order, then the new run's cells that are left.

    A cell is paired with that of the same defense and parameters, first if it has the same name
    too; else with that of the same name, whose defaults have changed; else with the only one left
    of its defense. ``wanted``: labels of cells, with the seed or for all seeds, or names of
    defenses; without it, all. Raises UsageError for one that neither run has.
    """
    before, after = _chosen(base.cells, wanted), _chosen(new.cells, wanted)
    for name in wanted:
        if not any(name in _names(cell) for cell in before + after):
            raise unknown("cell", name, {cell["label"] for cell in base.cells + new.cells})
    found: dict[int, tuple[Cell, bool]] = {}
    left = list(after)

    def take(i: int, candidates: list[Cell], *, replaced: bool = False) -> None:
        if i not in found and len(candidates) == 1:
            found[i] = candidates[0], replaced
            left.remove(candidates[0])

    for same in _SAME:
        for i, cell in enumerate(before):
            take(i, [c for c in left if same(c) == same(cell)][:1])
    for i, cell in enumerate(before):
        of_defense = [c for c in left if c["defense"] == cell["defense"]]
        others = [
            j for j, c in enumerate(before) if j not in found and c["defense"] == cell["defense"]
        ]
        if len(others) == 1:
            take(i, of_defense, replaced=True)
    pairs = [Pair(cell, *found.get(i, (None, False))) for i, cell in enumerate(before)]
    return pairs + [Pair(None, cell) for cell in left]


def _params(cell: Cell) -> str:
    return json.dumps(cell["params"], sort_keys=True)  # as text: a NaN is itself


_SAME: Sequence[Callable[[Cell], tuple[Any, ...]]] = (
    lambda cell: (cell["defense"], _params(cell), cell["label"]),
    lambda cell: (cell["defense"], _params(cell)),
    lambda cell: (cell["defense"], cell["label"]),
)
"""What makes two cells the same, from the surest on."""


def _chosen(cells: Sequence[Cell], wanted: Sequence[str]) -> list[Cell]:
    return [c for c in cells if not wanted or not _names(c).isdisjoint(wanted)]


def _names(cell: Cell) -> set[str]:
    """What selects a cell: its label, its group whatever the seed, its defense."""
    return {cell["label"], group_of(cell), cell["defense"]}
