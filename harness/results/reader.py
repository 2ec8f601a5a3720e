"""Reading finished run folders, and putting several of them side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import RunFolderError, SchemaError, UsageError
from harness.results.published import is_published, verify
from harness.results.schema import (
    ACCURACY,
    CURVE_COLUMNS,
    CURVE_NUMBERS,
    HEAD,
    NOT_COVERED,
    PREDICTIONS,
    SCHEMA,
    SUMMARY_COLUMNS,
    SUMMARY_TEXTS,
    UNFINISHED,
)

_AT_R = re.compile(r"certified_accuracy@(\d+)")


@dataclass(frozen=True, eq=False)
class RunResult:
    """What one run found, or several runs side by side.

    ``curves``: one row for each r at which a certified accuracy in [0, 1] changes; none for a
    threat that is not covered, which only the summary tells. ``summary``: one row a defense,
    certificate and threat; its ``kind`` is a :class:`~harness.certificates.Kind`, empty where the
    threat is not covered. ``manifest``: how it came about; where several runs were combined,
    ``manifest["runs"]`` holds the manifest of each, and ``parts`` each with its labels here.
    ``folder``: where it was read. ``spread``: what stands beside the means that
    :func:`~harness.results.seeds.over_seeds` makes, else None.
    """

    curves: pd.DataFrame
    summary: pd.DataFrame
    manifest: Mapping[str, Any]
    folder: Path
    spread: Spread | None = None
    parts: tuple[RunResult, ...] = ()

    @property
    def lowest(self) -> RunResult:
        """The lowest numbers over seeds, row by row; itself where each cell has one seed."""
        return self.spread.lowest if self.spread else self

    @property
    def highest(self) -> RunResult:
        """The highest numbers over seeds, row by row; itself where each cell has one seed."""
        return self.spread.highest if self.spread else self

    @property
    def by_seed(self) -> RunResult:
        """What the run found, each seed for itself."""
        return self.spread.by_seed if self.spread else self

    @property
    def labelled(self) -> bool:
        """Whether the true labels are known. Where they are not, what is called certified accuracy
        counts the test examples whose prediction is certified, right or wrong.
        """
        return bool(self.manifest["dataset"].get("labelled", True))

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The manifest's cells, finished and failed, in the order of the plan."""
        return list(self.manifest["cells"])

    @property
    def threats(self) -> list[str]:
        """The threats that were asked for, in the order of the plan."""
        named = [str(threat) for threat in self.manifest.get("threats", [])]
        return named + [t for t in self.summary["threat"].unique() if t not in named]

    @property
    def runs(self) -> list[Mapping[str, Any]]:
        """The manifests of the runs that this consists of: one, unless they were combined."""
        return list(self.manifest.get("runs", [self.manifest]))

    @property
    def r_columns(self) -> list[int]:
        """The r for which the summary has a certified accuracy, rising."""
        found = (_AT_R.fullmatch(str(column)) for column in self.summary.columns)
        return sorted(int(match[1]) for match in found if match)


@dataclass(frozen=True, eq=False)
class Spread:
    """What stands beside means over seeds: the extremes, row by row, and what they are made of."""

    lowest: RunResult
    highest: RunResult
    by_seed: RunResult


def load_run(folder: Path | str) -> RunResult:
    """The run in that folder; of cells that were begun and not finished, only the names.

    Raises RunFolderError, in one line that names the file, where one is missing, cannot be read or,
    in a published report, was edited; SchemaError for one of another version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "it is a file, not a run's folder" if folder.exists() else "no such folder"
        raise RunFolderError(f"{folder} is not a run: {what}")
    manifest = _read_manifest(folder / "manifest.json")
    if manifest["cells"] and all(cell.get("status") == "started" for cell in manifest["cells"]):
        raise RunFolderError(f"{folder} is not a finished run: run its command again to finish it")
    verify(folder, manifest)
    labelled = manifest["dataset"].get("labelled", True)
    columns, numbers = (
        [name if labelled else name.replace(ACCURACY, PREDICTIONS) for name in names]
        for names in (CURVE_COLUMNS, CURVE_NUMBERS)
    )
    curves = _read_table(folder / "curves.csv", columns, numbers).rename(columns=_in_memory)
    summary = _read_table(folder / "summary.csv", SUMMARY_COLUMNS, None)
    summary = summary.rename(columns=_in_memory)
    begun = [str(c["label"]) for c in manifest["cells"] if c.get("status") == "started"]
    if begun:
        curves, summary = (t[~t["defense"].isin(begun)] for t in (curves, summary))
        summary = summary.reset_index(drop=True)
        finished = [cell for cell in manifest["cells"] if cell["label"] not in begun]
        manifest = {**manifest, "cells": finished, UNFINISHED: begun}
    known = curves[curves["guarantee"] != NOT_COVERED].reset_index(drop=True)
    return RunResult(known, summary, manifest, folder)


def _in_memory(column: str) -> str:
    return column.replace(PREDICTIONS, ACCURACY)


def stored(table: pd.DataFrame, result: RunResult) -> pd.DataFrame:
    """Curves or a summary of that result, their columns called as in its files."""
    if result.labelled:
        return table
    return table.rename(columns=lambda name: str(name).replace(ACCURACY, PREDICTIONS))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFolderError(
            f"{path.parent} is not a finished run: {path.name} is missing"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read: {_first_line(error)}") from None


def _read_table(path: Path, required: Sequence[str], numbers: Sequence[str] | None) -> pd.DataFrame:
    """The table in a .csv; ``numbers`` are its numeric columns, without it all but the texts."""
    _read_text(path)  # the one place that explains a file that is missing or is not text
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{path} is not a table: {_first_line(error)}") from None
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise RunFolderError(f"{path} lacks the columns {', '.join(missing)}")
    if numbers is None:
        numbers = [name for name in table.columns if name not in SUMMARY_TEXTS]
    for name in numbers:
        try:
            table[name] = pd.to_numeric(table[name].mask(table[name] == "")).astype(float)
        except ValueError as error:
            raise RunFolderError(f"{path}, column {name}: {_first_line(error)}") from None
    return table


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{path} is not JSON: {_first_line(error)}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("cells"), list):
        raise RunFolderError(f"{path} is not the manifest of a run: it lists no cells")
    if manifest.get("schema") != SCHEMA:
        again = "run its command again" + " and publish that" * is_published(manifest)
        found = f"{path} has schema {manifest.get('schema')!r}"
        raise SchemaError(f"{found}; this version reads schema {SCHEMA}: {again}")
    if not isinstance(manifest.get("dataset"), dict):
        raise RunFolderError(f"{path} is not the manifest of a run: it names no data set")
    return manifest


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def combine(results: Sequence[RunResult]) -> RunResult:
    """Several runs on the same data, side by side.

    A label that more than one run uses gets its run's folder name as a prefix. Raises UsageError
    for no run, for one run given twice, and for runs on different data: their certified
    accuracies could not be compared.
    """
    if not results:
        raise UsageError("no run to report: name at least one run folder")
    if len(results) == 1:
        return results[0]
    _check_same_data(results)
    renamed = [
        _rename(result, prefix, _clashing(results))
        for result, prefix in zip(results, _folder_names(results), strict=True)
    ]
    runs = [run for result in results for run in result.runs]
    manifest = {
        "schema": SCHEMA,
        "dataset": results[0].manifest["dataset"],
        "seed": _common([run.get("seed") for run in runs]),
        "alpha": _common([run.get("alpha") for run in runs]),
        "threats": list(dict.fromkeys(t for result in results for t in result.threats)),
        "cells": [cell for result in renamed for cell in result.cells],
        "runs": runs,
    }
    curves = pd.concat([result.curves for result in renamed], ignore_index=True)
    summary = pd.concat([result.summary for result in renamed], ignore_index=True)
    return _fill(RunResult(curves, summary, manifest, results[0].folder, parts=tuple(renamed)))


def curves_csv(result: RunResult, curves: pd.DataFrame | None = None) -> str:
    """``curves.csv`` of that result: its curves, or those given, and what is not covered."""
    missing = result.summary[result.summary["guarantee"] == NOT_COVERED][list(HEAD)]
    known = (result.curves if curves is None else curves)[list(CURVE_COLUMNS)].copy()
    known["r"] = known["r"].astype(int).astype(str)
    # As curves.csv of a run has it: ten decimals at most.
    known["certified_accuracy"] = [
        f"{value:.10f}".rstrip("0").rstrip(".") for value in known["certified_accuracy"]
    ]
    both = stored(pd.concat([known, missing], ignore_index=True), result)
    return both.to_csv(index=False, lineterminator="\n")


def accuracy_at(curve: pd.DataFrame, r: int) -> float:
    """The certified accuracy at r of one curve: a step function, 0 beyond its last row."""
    below = curve[curve["r"] <= r].sort_values("r")
    return 0.0 if below.empty else float(below["certified_accuracy"].to_numpy()[-1])


def _check_same_data(results: Sequence[RunResult]) -> None:
    first = results[0]
    seen: set[Path] = set()
    for result in results:
        if result.folder.resolve() in seen:
            raise UsageError(f"the run {result.folder} is given twice")
        seen.add(result.folder.resolve())
        for key, what in (("digest", "data sets"), ("n_test", "numbers of test examples")):
            one, other = first.manifest["dataset"].get(key), result.manifest["dataset"].get(key)
            if one != other:
                raise UsageError(
                    f"{first.folder} and {result.folder} have different {what} ({one} and "
                    f"{other}); only runs on the same data can be put into one report"
                )


def _clashing(results: Sequence[RunResult]) -> set[str]:
    """The groups that more than one of the runs uses: the labels of cells, whatever the seed."""
    groups = [group for result in results for group in {group_of(cell) for cell in result.cells}]
    return {group for group in groups if groups.count(group) > 1}


def group_of(cell: Mapping[str, Any]) -> str:
    """What the cells that differ in nothing but their seed share: a label without the seed."""
    return str(cell.get("group") or cell["label"])


def _folder_names(results: Sequence[RunResult]) -> list[str]:
    """The folders' names, with as many of their parents as it takes to tell them apart."""
    folders = [result.folder.resolve() for result in results]
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _rename(result: RunResult, prefix: str, clashing: set[str]) -> RunResult:
    groups = {cell["label"]: group_of(cell) for cell in result.cells}

    def new(label: str) -> str:
        return f"{prefix}/{label}" if groups.get(label, label) in clashing else label

    curves = result.curves.assign(defense=result.curves["defense"].map(new))
    summary = result.summary.assign(defense=result.summary["defense"].map(new))
    cells = [_renamed(cell, prefix, clashing) for cell in result.cells]
    return RunResult(curves, summary, {**result.manifest, "cells": cells}, result.folder)


def _renamed(cell: dict[str, Any], prefix: str, clashing: set[str]) -> dict[str, Any]:
    """The cell with its ``run``; its label, and its group if it has one, with the prefix."""
    if group_of(cell) not in clashing:
        return cell
    called = {key: f"{prefix}/{cell[key]}" for key in ("label", "group") if cell.get(key)}
    return {**cell, **called, "run": prefix}


def _common(values: Sequence[Any]) -> Any:
    """The value that all share, else None."""
    return values[0] if all(value == values[0] for value in values) else None


def _fill(result: RunResult) -> RunResult:
    """The same, with the certified accuracies that only some of the runs' summaries had."""
    summary = result.summary.copy()
    columns = ["defense", "certificate", "threat"]
    curves = dict(iter(result.curves.groupby(columns)))
    for i, row in summary.iterrows():
        curve = curves.get(tuple(row[columns]))
        if curve is None or row["guarantee"] == NOT_COVERED:
            continue
        for r in result.r_columns:
            if pd.isna(row[f"certified_accuracy@{r}"]):
                summary.loc[i, f"certified_accuracy@{r}"] = accuracy_at(curve, r)
    return replace(result, summary=summary)
