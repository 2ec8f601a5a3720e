"""What a run will do: its cells, each with a key that names what it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.datasets.base import Dataset
from harness.errors import HarnessError, UnsuitableError, UsageError
from harness.plugins.selection import Selection, label
from harness.results.cells import Cell, Plan, shape_of
from harness.running.keys import code_of, evidence_key
from harness.running.named import distributions, resolved, spelt_once

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.threats import Threat

DEFAULT_DEFENSES = ("bagging", "dp", "label-flip", "feature-flip")


def make_plan(
    registry: Registry,
    selections: Sequence[str],
    dataset: Dataset,
    *,
    threats: Sequence[Threat],
    alpha: float,
    seed: int,
) -> Plan:
    """The plan for what was selected, everything checked that can be without training.

    Without ``selections`` it is the default comparison, less the defenses that the data set does
    not suit. Raises UsageError for unknown names and for parameters that are not allowed, that do
    not fit the data set, or that are selected twice. A defense whose plugin is broken becomes a
    cell that will fail, so that the others can run.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must be above 0 and below 1, found {alpha:g}")
    if seed < 0:
        raise UsageError(f"the seed must be a whole number of at least 0, found {seed}")
    cells: list[Cell] = []
    left_out: list[str] = []
    for text in selections or DEFAULT_DEFENSES:
        try:
            cell = _cell(registry, Selection.parse(text), dataset, seed)
        except UnsuitableError as error:
            if selections:
                raise
            left_out.append(str(error))
            continue
        if any(other.label == cell.label for other in cells):
            raise UsageError(f"{cell.label} is selected twice")
        cells.append(cell)
    if not cells:
        raise UsageError(f"no defense fits this data set: {'; '.join(left_out)}")
    return Plan(dataset, seed, tuple(dict.fromkeys(threats)), alpha, tuple(cells), tuple(left_out))


def _cell(registry: Registry, selection: Selection, dataset: Dataset, seed: int) -> Cell:
    broken = registry.broken(selection.name)
    if broken is not None and selection.name not in registry.defenses.entries:
        return Cell(selection.name, selection.name, broken.distribution, None, "", str(broken))
    entry = registry.defenses[selection.name]
    try:
        defense = spelt_once(selection.build(entry.value), registry)
        name = label(selection.name, defense.params)
        defense = resolved(defense, shape_of(dataset), registry)
        code = code_of(defense, registry)
    except HarnessError:
        raise
    except Exception as error:  # of a plugin: it must not keep the other cells from running
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Cell(selection.name, selection.name, entry.distribution, None, "", text)
    versions = " and ".join([entry.distribution, *distributions(defense, registry)])
    key = evidence_key(selection.name, defense, dataset, seed, versions, code)
    return Cell(name, selection.name, entry.distribution, defense, key)
