"""A finished run, made ready to be trained again: the same data, the same cells, the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.datasets.base import Dataset
from harness.errors import DataError, HarnessError, RunFolderError, UsageError
from harness.plugins.registry import load_dataset
from harness.plugins.selection import Selection, label
from harness.results.cells import Plan
from harness.results.published import is_published
from harness.results.reader import load_run
from harness.running.containment import describe
from harness.running.plan import Base, Wanted, make_plan
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.defense import Defense
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell
    from harness.results.reader import RunResult


@dataclass(frozen=True)
class Again:
    """A run's cells as this process has them, and why others cannot be attacked."""

    result: RunResult
    data: Dataset
    cells: tuple[Cell, ...]
    refused: Mapping[str, str]
    """By the label of a cell, why it cannot be trained as it was."""

    @cached_property
    def plan(self) -> Plan:
        """The cells and their data, as a run's plan has them."""
        told = self.result.manifest
        return Plan(self.data, int(told["seed"]), (), float(told["alpha"]), self.cells)

    @property
    def threats(self) -> list[Threat]:
        """The threats of the run."""
        return [Threat(name) for name in self.result.threats]


def load_again(
    folder: Path,
    registry: Registry,
    *,
    dataset: Dataset | None = None,
    data_root: Path | None = None,
    only: Sequence[str] = (),
    device: str = "cpu",
    classes: Sequence[type[Defense[Any]]] = (),
) -> Again:
    """The run in that folder, ready to be trained again.

    ``dataset``: its data, where they are in no file; ``only``: the labels of the cells that are
    wanted; ``classes``: defenses of the run that are not installed. Raises RunFolderError,
    SchemaError for a folder that holds no run of this version; DataError where its data are not
    what they were; UsageError for labels that it does not have.
    """
    result = load_run(folder)
    if is_published(result.manifest):
        raise RunFolderError(f"{folder} is a published report; attack the run that it was made of")
    labels = [cell["label"] for cell in result.cells]
    only = [_cell_named(one, labels, registry) for one in only]
    data = _data(result, registry, dataset, data_root)
    cells, refused = [], {}
    for entry in result.cells:
        if only and entry["label"] not in only:
            continue
        try:
            cells.append(_cell(entry, result.manifest, data, registry, device, classes))
        except HarnessError as error:
            refused[entry["label"]] = str(error)
        except (Exception, SystemExit) as error:  # of a plugin
            refused[entry["label"]] = describe(error)
    return Again(result, data, tuple(cells), refused)


def _cell_named(wanted: str, labels: Sequence[str], registry: Registry) -> str:
    """The cell's label, however its parameters were ordered and written."""
    if wanted in labels:
        return wanted
    with suppress(UsageError):
        selection = Selection.parse(wanted)
        kind = registry.defenses[selection.name].value
        found = label(selection.name, selection.build(kind).params)
        if found in labels:
            return found
    raise UsageError(f"the run has no cell {wanted!r}; allowed: {', '.join(labels)}")


def _data(
    result: RunResult, registry: Registry, dataset: Dataset | None, data_root: Path | None
) -> Dataset:
    told = result.manifest["dataset"]
    dataset = dataset_of(str(told["name"]), registry, dataset, data_root)
    if dataset.digest != told["digest"]:
        raise DataError(
            f"the data of {result.folder} have changed: {told['name']} is not what it was"
        )
    return dataset


def dataset_of(
    name: str, registry: Registry, dataset: Dataset | None, data_root: Path | None
) -> Dataset:
    """The data set that was given, else the one of that name. Raises DataError."""
    if dataset is not None:
        return dataset
    try:
        return load_dataset(registry, name, data_root)
    except UsageError as error:
        raise DataError(
            f"the data cannot be loaded by their name, {name!r}: {error}; from Python, "
            "give dataset="
        ) from None


def _cell(
    entry: Mapping[str, Any],
    manifest: Mapping[str, Any],
    data: Dataset,
    registry: Registry,
    device: str,
    classes: Sequence[type[Defense[Any]]],
) -> Cell:
    """The cell of that entry of the manifest. Raises HarnessError where it would be another one."""
    if entry.get("status") == "failed":
        raise UsageError(f"it failed in the run: {entry.get('error')}")
    base = Base(int(manifest["seed"]), float(manifest["alpha"]))
    wanted: Wanted = str(entry["label"])
    for kind in classes:
        if kind.name == entry["defense"]:
            wanted = kind(kind.Params.model_validate(entry["params"]))
    (cell,) = make_plan(
        registry,
        [wanted],
        data,
        threats=[],
        alpha=float(entry["alpha"]),
        seed=int(entry["seed"]),
        base=base,
        device=device,
    ).cells
    if cell.defense is None:
        raise UsageError(str(cell.error))
    if cell.stem != entry["evidence"]:
        raise UsageError(
            "its code, a library or the device changed since the run: run its command again first"
        )
    # Of an object, the manifest tells the parameters as they were settled: features, say.
    return replace(cell, label=str(entry["label"]), group=str(entry.get("group") or entry["label"]))
