"""Shared fixtures: a data set small enough to train on in milliseconds, and the registry."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest

from harness.datasets.base import Dataset, checked
from harness.plugins.registry import Registry, load_registry
from harness.proofs.curves import SUMMARY_R
from harness.results.schema import CURVE_COLUMNS, SCHEMA, SUMMARY_COLUMNS

# As the command line does: see harness/cli/main.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Fixtures that many tests share begin before there is a folder for one: nothing is kept for them.
os.environ["HARNESS_STORE"] = "off"

# Tests have no time limits: machines are shared.
hypothesis.settings.register_profile("harness", deadline=None)
hypothesis.settings.load_profile("harness")


def tiny_arrays(n: int = 120, e: int = 30, seed: int = 7) -> dict[str, np.ndarray]:
    """Two kinds of 8 x 8 images, a bright left and a bright right half, with noise."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, size in (("train", n), ("test", e)):
        y = rng.integers(0, 2, size)
        x = rng.integers(0, 120, (size, 8, 8))
        x[y == 0, :, :4] += 100
        x[y == 1, :, 4:] += 100
        arrays[f"x_{part}"] = x.astype(np.uint8)
        arrays[f"y_{part}"] = y.astype(np.uint8)
    return arrays


@pytest.fixture
def tiny() -> Dataset:
    return checked("tiny", **tiny_arrays())


@pytest.fixture
def tiny_npz(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.npz"
    np.savez(path, **tiny_arrays())
    return path


@pytest.fixture
def tiny_npy(tmp_path: Path) -> Path:
    """The same arrays as in ``tiny_npz``, in a folder."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for key, array in tiny_arrays().items():
        np.save(folder / f"{key}.npy", array)
    return folder


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test's own evidence store: what another test trained does not count."""
    path = tmp_path_factory.mktemp("store") / "evidence"
    monkeypatch.setenv("HARNESS_STORE", str(path))
    return path


@pytest.fixture(autouse=True)
def no_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run times no models, which takes seconds: tests/running/test_estimate.py has that."""
    monkeypatch.setattr("harness.cli.estimates.print_estimates", lambda planned: None)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()


@dataclass
class MadeCell:
    """A cell of a made-up run. ``radii``: by threat (e,), None where it is not covered."""

    label: str
    radii: Mapping[str, Sequence[int] | None]
    predictions: Sequence[int] | None = None
    defense: str = "made"
    params: Mapping[str, object] = field(default_factory=dict)
    guarantee: str = "deterministic"
    kind: str = "pointwise"
    seconds: Mapping[str, float] = field(
        default_factory=lambda: {"train": 2.0, "predict": 1.0, "certify": 0.5}
    )
    peak_rss_mb: float = 500.0
    calibration_s: float | None = 0.01
    machine: str | None = "here"
    error: str | None = None
    more: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the manifest's cell: seed, alpha, group, features."""


def write_made_run(
    folder: Path,
    cells: Sequence[MadeCell],
    *,
    digest: str = "0123456789abcdef",
    schema: int = SCHEMA,
    seed: int = 0,
    pointwise: bool = True,
) -> Path:
    """The folder of a finished run with those cells; every true label is 1."""
    curves, summary, listed, arrays = [], [], [], {}
    n_test = 0
    for cell in cells:
        for threat, radii in cell.radii.items():
            head = {"defense": cell.label, "certificate": "made", "threat": threat}
            if radii is None:
                summary.append(head | {"guarantee": "not covered"})
                continue
            n_test = len(radii)
            predicted = np.array(cell.predictions or [1] * n_test)
            certified = np.where(predicted == 1, np.array(radii), -1)
            at = [float(np.mean(certified >= r)) for r in range(max(radii) + 2)]
            head["guarantee"] = cell.guarantee
            curves += [head | {"r": r, "certified_accuracy": a} for r, a in enumerate(at)]
            half = [r for r, a in enumerate(at) if a >= 0.5]
            some = [r for r, a in enumerate(at) if a > 0]
            summary.append(
                head
                | {
                    "kind": cell.kind,
                    "clean_accuracy": np.mean(predicted == 1),
                    "abstained": np.mean(np.array(radii) < 0),
                    "median_radius": max(half, default=-1),
                    "max_radius": max(some, default=-1),
                }
                | {f"certified_accuracy@{r}": at[min(r, len(at) - 1)] for r in SUMMARY_R}
            )
            if cell.kind == "pointwise":
                arrays[f"{cell.label}|{threat}|predictions"] = predicted
                arrays[f"{cell.label}|{threat}|radii"] = np.array(radii)
        listed.append(
            {
                "label": cell.label,
                "defense": cell.defense,
                "params": dict(cell.params),
                "status": "failed" if cell.error else "finished",
                "error": cell.error,
                "n_models": 10,
                "seconds": dict(cell.seconds),
                "peak_rss_mb": cell.peak_rss_mb,
                "calibration_s": cell.calibration_s,
                "machine": cell.machine,
                **cell.more,
            }
        )
    folder.mkdir(parents=True)
    for name, rows, columns in (
        ("curves.csv", curves, CURVE_COLUMNS),
        (
            "summary.csv",
            summary,
            (*SUMMARY_COLUMNS, *(f"certified_accuracy@{r}" for r in SUMMARY_R)),
        ),
    ):
        pd.DataFrame(rows, columns=list(columns)).to_csv(folder / name, index=False)
    if pointwise:
        np.savez(folder / "certificates.npz", labels=np.ones(n_test, dtype=int), **arrays)
    manifest = {
        "schema": schema,
        "command": ["harness", "run", "--output", str(folder)],
        "plan": {},
        "dataset": {
            "name": "made",
            "digest": digest,
            "n_train": 100,
            "n_test": n_test,
            "label_names": ["0", "1"],
        },
        "seed": seed,
        "alpha": 0.001,
        "threats": list(dict.fromkeys(t for cell in cells for t in cell.radii)),
        "cells": listed,
        "versions": {"poisoning-harness": "0.1.0"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def made_cell() -> type[MadeCell]:
    return MadeCell


@pytest.fixture
def made_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a run that never ran: ``made_run("name", cell, ..., seed=1)``."""

    def make(name: str, *cells: MadeCell, **options: object) -> Path:
        return write_made_run(tmp_path / name, cells, **options)  # type: ignore[arg-type]

    return make
