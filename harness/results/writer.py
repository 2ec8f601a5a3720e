"""What a run leaves: curves, summary, certificates and manifest, from the cells' results."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.certificates import PointwiseCertificate
from harness.proofs.curves import SUMMARY_R
from harness.results import provenance
from harness.results.earlier import Earlier
from harness.results.files import npz_bytes
from harness.results.schema import (
    ACCURACY,
    CURVE_COLUMNS,
    NOT_COVERED,
    PREDICTIONS,
    SCHEMA,
    SUMMARY_COLUMNS,
)

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from harness.results.cells import CellResult, Plan, Proved
    from harness.results.folder import RunFolder

SUMMARY = (
    *SUMMARY_COLUMNS,
    *(f"{ACCURACY}@{r}" for r in SUMMARY_R),
    "train_s",
    "predict_s",
    "certify_s",
    "n_models",
    "peak_rss_mb",
)


def write_results(
    folder: RunFolder,
    plan: Plan,
    results: Sequence[CellResult],
    device: torch.device,
    command: Sequence[str],
    earlier: Earlier = Earlier(),  # noqa: B008 - it is frozen
) -> None:
    """Writes ``curves.csv``, ``summary.csv``, ``certificates.npz`` and ``manifest.json``.

    Cells of an ``earlier`` run in the folder that this one left out stay as they were, and say in
    the manifest where they are from.
    """
    kept = earlier.without({cell.label for cell in plan.cells})
    # Whatever happens between one file and the next, no cell has results in some of them only.
    folder.write("manifest.json", _json(manifest(plan, device, command, None, earlier)))
    write_tables(folder, results, plan.dataset.y_test, kept, _order(plan, earlier))
    folder.write("manifest.json", _json(manifest(plan, device, command, results, earlier)))


def _order(plan: Plan, earlier: Earlier) -> dict[str, int]:
    """The place of every cell: those that were there first stay first."""
    labels = [*earlier.labels, *(cell.label for cell in plan.cells)]
    return {label: place for place, label in enumerate(dict.fromkeys(labels))}


def write_tables(
    folder: RunFolder,
    results: Sequence[CellResult],
    labels: NDArray[np.int64] | None,
    kept: Earlier = Earlier(),  # noqa: B008 - it is frozen
    order: Mapping[str, int] | None = None,
) -> None:
    """Writes ``curves.csv``, ``summary.csv`` and ``certificates.npz``.

    ``kept``: cells that are there already; ``order``: the place of each cell, by its label.

    A threat that is not covered has one row in ``curves.csv``, which says so. ``labels`` (e,), the
    true ones; without them what the curves count are predictions, and the columns are called so.
    """
    known = labels is not None
    places = order or {}

    def ordered(*rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return sorted(chain(*rows), key=lambda row: places.get(row["defense"], 0))

    curves = ordered(kept.curves, _curve_rows(results))
    summary = ordered(kept.summary, _summary_rows(results, labelled=known))
    folder.write("curves.csv", _csv(CURVE_COLUMNS, curves, labelled=known))
    folder.write("summary.csv", _csv(SUMMARY, summary, labelled=known))
    arrays = {**_certificates(results, labels), **kept.certificates}
    folder.write("certificates.npz", npz_bytes(arrays))


def write_manifest(
    folder: RunFolder,
    plan: Plan,
    device: torch.device,
    command: Sequence[str],
    earlier: Earlier = Earlier(),  # noqa: B008 - it is frozen
) -> None:
    """Writes the manifest of a run that begins, so that the folder can be resumed.

    A cell that an earlier run finished there, from the same evidence, is finished still.
    """
    begun = manifest(plan, device, command, None, earlier)
    done = {c["label"]: c for c in earlier.cells if c.get("status") == "finished"}
    same = [done.get(cell["label"], {}) for cell in begun["cells"]]
    begun["cells"] = [
        earlier.told(old) if old.get("evidence") == cell["evidence"] else cell
        for old, cell in zip(same, begun["cells"], strict=True)
    ]
    folder.write("manifest.json", _json(begun))


def manifest(
    plan: Plan,
    device: torch.device,
    command: Sequence[str],
    results: Sequence[CellResult] | None = None,
    earlier: Earlier = Earlier(),  # noqa: B008 - it is frozen
) -> dict[str, Any]:
    """Where a result comes from; without results, the manifest of a run that begins."""
    import torch

    data = plan.dataset
    found = {result.cell.label: result for result in results or ()}
    cells = {cell["label"]: cell for cell in earlier.without([c.label for c in plan.cells]).cells}
    cells |= {cell.label: _cell(cell, found.get(cell.label)) for cell in plan.cells}
    order = _order(plan, earlier)
    return {
        "schema": SCHEMA,
        "command": list(command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": plan.identity(),
        "dataset": {
            "name": data.name,
            "digest": data.digest,
            "n_train": data.n_train,
            "n_test": data.n_test,
            "label_names": list(data.label_names),
            "domain": {**asdict(data.domain), "text": str(data.domain)},
        },
        "seed": plan.seed,
        "alpha": plan.alpha,
        "suite": plan.suite,
        "threats": list(dict.fromkeys([*earlier.threats, *(t.value for t in plan.threats)])),
        "cells": sorted(cells.values(), key=lambda cell: order[cell["label"]]),
        "left_out": list(plan.left_out),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "fingerprint": provenance.fingerprint(device),
        "device": provenance.device_name(device),
        "threads": torch.get_num_threads(),
        "git": provenance.git(),
        "sources": {**earlier.sources, **provenance.sources(plan.cells)},
    }


def _cell(cell: Any, result: CellResult | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "label": cell.label,
        "defense": cell.name,
        "distribution": cell.distribution,
        "title": cell.defense.title if cell.defense else None,
        "paper": cell.defense.paper if cell.defense else None,
        "group": cell.group,
        "seed": cell.seed,
        "alpha": cell.alpha,
        "params": cell.defense.params.model_dump(mode="json") if cell.defense else {},
        "evidence": cell.stem,
        "blocks": cell.blocks_stem,
        "status": "started",
        "error": None,
    }
    if result is not None:
        row |= {
            "status": "failed" if result.error else "finished",
            "error": result.error,
            "n_models": result.n_models,
            "seconds": {
                "train": result.train_s,
                "predict": result.predict_s,
                "certify": result.certify_s,
            },
            "peak_rss_mb": result.peak_rss_mb,
            "calibration_s": result.calibration_s,
            "machine": result.machine,
            "unfitted": dict(result.unfitted),
            "features": dict(result.features),
            "trusted": dict(result.trusted),
        }
    return row


def _head(result: CellResult, one: Proved) -> dict[str, Any]:
    certificate = one.certificate
    return {
        "defense": result.cell.label,
        "certificate": certificate.method if certificate else "",
        "threat": one.threat.value,
        "guarantee": str(certificate.guarantee) if certificate else NOT_COVERED,
    }


def _curve_rows(results: Sequence[CellResult]) -> Iterable[Mapping[str, Any]]:
    for result in results:
        for one in result.proved:
            head = _head(result, one)
            if one.curve is None:
                yield head
                continue
            for r, accuracy in zip(one.curve.r, one.curve.certified_accuracy, strict=True):
                yield head | {"r": int(r), ACCURACY: _number(accuracy)}


def _summary_rows(results: Sequence[CellResult], *, labelled: bool) -> Iterable[Mapping[str, Any]]:
    for result in results:
        for one in result.proved:
            row = _head(result, one) | {
                "kind": one.certificate.kind if one.certificate else "",
                "train_s": _measured(result.train_s, 4),
                "predict_s": _measured(result.predict_s, 4),
                "n_models": result.n_models,
                "peak_rss_mb": _measured(result.peak_rss_mb, 0),
            }
            if one.curve is not None:
                row |= {
                    "clean_accuracy": _number(one.curve.clean_accuracy) if labelled else "",
                    "abstained": _number(one.curve.abstained),
                    "median_radius": one.curve.median_radius,
                    "max_radius": one.curve.max_radius,
                    "certify_s": _measured(one.seconds, 4),
                }
                row |= {f"{ACCURACY}@{r}": _number(one.curve.at(r)) for r in SUMMARY_R}
            yield row


def _number(value: float) -> str:
    """Ten decimals: enough for any count of test examples, the same on every system."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


def _measured(value: float, digits: int) -> str:
    """Empty for what was not measured, NaN: it was somebody else who trained."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, labelled: bool) -> str:
    if not labelled:
        columns = [_of_predictions(name) for name in columns]
        rows = ({_of_predictions(name): value for name, value in row.items()} for row in rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _of_predictions(column: str) -> str:
    return column.replace(ACCURACY, PREDICTIONS)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _certificates(
    results: Sequence[CellResult], labels: NDArray[np.int64] | None
) -> dict[str, Any]:
    """``LABEL|THREAT|predictions`` (e,) and ``LABEL|THREAT|radii`` (e,), for pointwise ones.

    Beside them ``labels`` (e,), the true ones, if they are known: another run is compared example
    by example.
    """
    arrays: dict[str, Any] = {} if labels is None else {"labels": labels.astype(np.int32)}
    for result in results:
        for one in result.proved:
            if isinstance(one.certificate, PointwiseCertificate):
                prefix = f"{result.cell.label}|{one.threat.value}"
                arrays[f"{prefix}|predictions"] = one.certificate.predictions.astype(np.int32)
                arrays[f"{prefix}|radii"] = one.certificate.radii
    return arrays
