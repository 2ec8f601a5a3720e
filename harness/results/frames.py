"""A run as pandas tables, with the parameters of its cells as columns: to filter, group, plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.certificates import Kind
from harness.errors import UsageError, unknown
from harness.results.attacks import ATTACK_COLUMNS, Attacked
from harness.results.pointwise import load_pointwise
from harness.results.reader import RunResult
from harness.results.schema import CURVE_COLUMNS, NOT_COVERED, SUMMARY_COLUMNS

OF_A_CELL = ("seed", "alpha")
"""Columns that tell cells apart and are no parameters of a defense."""

COSTS = ("train_s", "predict_s", "certify_s", "n_models", "peak_rss_mb")
CLASH = "param_"
"""What the column of a parameter begins with whose name a column of the run's own has."""

_WHOLE = ("median_radius", "max_radius", "n_models")


def summary_frame(result: RunResult) -> pd.DataFrame:
    """A row for each cell, certificate and threat: ``summary.csv`` and what the cells are.

    First the columns of ``summary.csv``: accuracies in [0, 1], radii in units of the threat,
    seconds, megabytes; numbers are NaN where a threat is not covered. Then ``seed`` and ``alpha``
    where the run tells them, then a column for each parameter of any cell, defaults filled in: NaN
    where a defense has no such parameter, or it is none. A parameter that is called as another
    column is, begins with ``param_``: ``n_models`` is how many base models were trained,
    ``param_n_models`` how many were asked for. Columns of numbers are numeric, of integers integer
    where none is missing. Each seed has rows of its own.
    """
    table = result.by_seed.summary.copy()
    for name in _WHOLE:
        if name in table.columns and table[name].notna().all():
            table[name] = table[name].astype("int64")
    return _described(table, result)


def curves_frame(result: RunResult) -> pd.DataFrame:
    """A row for each r at which a certified accuracy in [0, 1] changes or is listed.

    The columns of ``curves.csv``, ``r`` as int64, then those that :func:`summary_frame` adds. Each
    curve is a step function: a value holds up to the next r of its cell, certificate and threat,
    and it is 0 beyond the last. A threat that is not covered has no row.
    """
    table = result.by_seed.curves.copy()
    return _described(table.assign(r=table["r"].astype("int64")), result)


def certificates_frame(result: RunResult, defense: str, threat: str) -> pd.DataFrame:
    """What the cell with that label proves of each test example under that threat.

    Columns, all int64: ``example``, its index in the test set from 0 on; ``label``, the true one,
    and ``prediction``, as codes; ``radius``, the certified poisoning size, -1 where nothing is
    proved, not even on the clean training set. A radius is of the prediction, right or wrong:
    ``((f.label == f.prediction) & (f.radius >= r)).mean()`` is the certified accuracy at r.
    ``names = f.attrs["label_names"]``, and ``f.label.map(dict(enumerate(names)))`` puts them in.

    Raises UsageError, in a line, for a cell or a threat that the run does not have, for one that
    failed or does not cover the threat, for a certificate that is not about single examples, and
    for a run that keeps nothing by example: a combined report, or an older run.
    """
    result = result.by_seed
    cells = {str(cell["label"]): cell for cell in result.cells}
    if defense not in cells:
        raise unknown("defense", defense, cells)
    if threat not in result.threats:
        raise unknown("threat", threat, result.threats)
    if cells[defense].get("status") == "failed":
        raise UsageError(f"{defense} failed: {cells[defense].get('error')}")
    found = load_pointwise(result).get((defense, threat))
    if found is None:
        raise UsageError(_why_not(result, defense, threat))
    columns = {"label": found.labels, "prediction": found.predictions, "radius": found.radii}
    frame = pd.DataFrame({"example": range(len(found.labels)), **columns}, dtype="int64")
    frame.attrs["label_names"] = list(result.manifest["dataset"].get("label_names", []))
    return frame


def attacks_frame(rows: Sequence[Attacked]) -> pd.DataFrame:
    """What attacks on single test examples reached: the columns of ``attacks.csv``.

    ``reached`` and ``proof_gap`` are Int64, missing where no attack changed the prediction up to
    ``largest``; other sizes and counts are int64. Medians are over ``chosen == "sampled"`` alone.
    """
    table = pd.DataFrame(
        [[getattr(row, name) for name in ATTACK_COLUMNS] for row in rows],
        columns=list(ATTACK_COLUMNS),
    )
    return table.astype({"reached": "Int64", "proof_gap": "Int64"})


def _why_not(result: RunResult, defense: str, threat: str) -> str:
    summary = result.summary
    rows = summary[(summary["defense"] == defense) & (summary["threat"] == threat)]
    if rows.empty:
        return f"{defense} was not asked about {threat}"
    if (rows["guarantee"] == NOT_COVERED).all():
        return f"{defense} does not cover {threat}: nothing is proved of any example"
    if not (rows["kind"] == Kind.POINTWISE).any():
        about = " and the ".join(kind.replace("-", " ") for kind in rows["kind"].unique() if kind)
        return f"{defense} certifies the {about}, and nothing of single examples"
    return f"{result.folder} keeps nothing by example: load the run's own folder"


def _described(table: pd.DataFrame, result: RunResult) -> pd.DataFrame:
    """The table with what is known of each row's cell in further columns."""
    about = {str(cell["label"]): _about(cell, result.manifest) for cell in result.by_seed.cells}
    names = dict.fromkeys(name for one in about.values() for name in one)
    of_rows: list[Mapping[str, Any]] = [about.get(str(label), {}) for label in table["defense"]]
    added = {
        name: pd.Series([math.nan if (v := row.get(name)) is None else v for row in of_rows])
        for name in sorted(names, key=lambda name: name not in OF_A_CELL)
    }
    return pd.concat([table.reset_index(drop=True), pd.DataFrame(added)], axis=1)


def _about(cell: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Seed, alpha and parameters by the names of their columns; those not known are left out."""
    known = {name: cell.get(name, manifest.get(name)) for name in OF_A_CELL}
    params = {_named(str(name)): value for name, value in (cell.get("params") or {}).items()}
    return {name: value for name, value in known.items() if value is not None} | params


def _named(parameter: str) -> str:
    taken = {*SUMMARY_COLUMNS, *CURVE_COLUMNS, *COSTS, *OF_A_CELL}
    clash = parameter in taken or parameter.startswith("certified_accuracy@")
    return CLASH + parameter if clash else parameter
