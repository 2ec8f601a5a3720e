"""Cells that differ in nothing but their seed, as one: means, with the lowest and the highest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.results.reader import RunResult, Spread, group_of
from harness.results.schema import HEAD, SUMMARY_TEXTS

SEEDS = "seeds"
"""The column of a summary, and the key of a cell, that says how many seeds it is a mean of."""

_DECIMALS = 10
"""As accuracies are stored: equal values have equal means, in whichever order they are added."""

Reduce = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes (s, ...), a value of each seed, to what stands for all of them."""


def over_seeds(result: RunResult) -> RunResult:
    """The run with one cell for each group of cells that differ in nothing but their seed.

    Its numbers are means over the seeds that finished; its ``lowest`` and ``highest`` have the same
    rows. A cell is called as its group, and says in SEEDS how many seeds it is made of: "3 seeds",
    or "2 of 3 seeds" where one failed. Of the median and the largest radius, too, it is the mean of
    the seeds' own. Cells with different alphas stay apart. A run in which every cell has one seed
    is returned as it is, and so is what was made here before.
    """
    groups = [group_of(cell) for cell in result.cells]
    if len(set(groups)) == len(groups):
        return result
    mean, low, high = (_reduced(result, how) for how in (_mean, _lowest, _highest))
    return replace(mean, spread=Spread(low, high, result))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.round(values.mean(axis=0), _DECIMALS)
    return mean


def _lowest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    lowest: NDArray[np.float64] = values.min(axis=0)
    return lowest


def _highest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    highest: NDArray[np.float64] = values.max(axis=0)
    return highest


def _reduced(result: RunResult, how: Reduce) -> RunResult:
    members: dict[str, list[dict[str, Any]]] = {}
    for cell in result.cells:
        members.setdefault(group_of(cell), []).append(cell)
    groups = {cell["label"]: group for group, cells in members.items() for cell in cells}
    cells = [_cell(group, found, how) for group, found in members.items()]
    size = {group: len(found) for group, found in members.items()}
    return RunResult(
        _curves(result.curves, groups, how),
        _summary(result.summary, groups, size, how),
        {**result.manifest, "cells": cells},
        result.folder,
    )


def _grouped(table: pd.DataFrame, groups: Mapping[Any, str]) -> pd.DataFrame:
    return table.assign(defense=[groups.get(label, label) for label in table["defense"]])


def _curves(curves: pd.DataFrame, groups: Mapping[Any, str], how: Reduce) -> pd.DataFrame:
    """A curve for each group: at every r at which the curve of any seed has a row."""
    if curves.empty:
        return curves
    parts = []
    table = _grouped(curves, groups).assign(_label=curves["defense"])
    for head, rows in table.groupby(list(HEAD), sort=False):
        r = np.unique(rows["r"].to_numpy())
        one_by_one = [_at(seed, r) for _, seed in rows.groupby("_label", sort=False)]
        values = dict(zip(HEAD, head, strict=True)) | {"r": r}
        parts.append(pd.DataFrame(values | {"certified_accuracy": how(np.stack(one_by_one))}))
    return pd.concat(parts, ignore_index=True)


def _at(curve: pd.DataFrame, r: NDArray[np.float64]) -> NDArray[np.float64]:
    """One seed's certified accuracy at each r: a step function, 0 beyond its last row."""
    rows = curve.sort_values("r")
    place = np.searchsorted(rows["r"].to_numpy(), r, side="right")
    accuracy = rows["certified_accuracy"].to_numpy(float)
    found: NDArray[np.float64] = np.concatenate([[0.0], accuracy])[place]
    return found


def _summary(
    summary: pd.DataFrame, groups: Mapping[Any, str], size: Mapping[str, int], how: Reduce
) -> pd.DataFrame:
    numbers = [name for name in summary.columns if name not in SUMMARY_TEXTS]
    rows = []
    for head, found in _grouped(summary, groups).groupby(list(SUMMARY_TEXTS), sort=False):
        row: dict[str, Any] = dict(zip(SUMMARY_TEXTS, head, strict=True))
        for name in numbers:
            known = found[name].dropna().to_numpy(float)
            row[name] = float(how(known)) if known.size else np.nan
        rows.append(row | {SEEDS: _said(len(found), size.get(row["defense"], len(found)))})
    return pd.DataFrame(rows, columns=[*summary.columns, SEEDS])


def _cell(group: str, cells: Sequence[dict[str, Any]], how: Reduce) -> dict[str, Any]:
    """The cells of a group as one: failed where all of them did."""
    finished = [cell for cell in cells if cell.get("status") != "failed"]
    if not finished:
        return {**cells[0], "label": group, SEEDS: _said(0, len(cells))}
    seconds = [cell.get("seconds") or {} for cell in finished]
    return {
        **finished[0],
        "label": group,
        SEEDS: _said(len(finished), len(cells)),
        "n_models": _of([cell.get("n_models") for cell in finished], how),
        "peak_rss_mb": _of([cell.get("peak_rss_mb") for cell in finished], how),
        "seconds": {phase: _of([one.get(phase) for one in seconds], how) for phase in seconds[0]},
    }


def _of(values: Sequence[float | None], how: Reduce) -> float | None:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return float(how(known)) if known.size else None


def _said(done: int, asked: int) -> str:
    count = "1 seed" if asked == 1 else f"{asked} seeds"
    return count if done == asked else f"{done} of {count}"
