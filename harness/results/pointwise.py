"""What a run proved of each test example: read from ``certificates.npz`` or a published table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunFolderError
from harness.results.files import read_npz
from harness.results.published import KEY, is_published
from harness.results.schema import UNFINISHED

if TYPE_CHECKING:
    from harness.results.reader import RunResult

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Pointwise:
    """Predictions, radii and the true labels, (e,) each."""

    predictions: IntArray
    radii: IntArray
    labels: IntArray
    labelled: bool = True
    """Whether the labels are known; else they are the predictions themselves."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which examples are predicted rightly."""
        return np.equal(self.predictions, self.labels)

    @property
    def abstained(self) -> NDArray[np.bool_]:
        """For which examples nothing is proved."""
        return self.radii < 0

    @property
    def certified(self) -> IntArray:
        """The radius up to which an example is right and stays so; -1 where it is wrong."""
        return np.where(self.right, self.radii, -1)


def load_pointwise(run: RunResult) -> dict[tuple[str, str], Pointwise]:
    """By cell label and threat, what the run proved of each test example.

    Empty where nothing is kept by example: combined reports, older runs, and certificates of
    expected accuracy. Raises RunFolderError for a file that is damaged.
    """
    table, archive = run.folder / "certificates.csv", run.folder / "certificates.npz"
    if is_published(run.manifest):
        # Only what the seal covers: an archive that somebody put beside it is not.
        covered = table.name in run.manifest[KEY]["files"]
        arrays: Mapping[str, IntArray] = _read_table(table) if covered else {}
    elif archive.exists():
        stored = read_npz(archive)
        if stored is None:
            raise RunFolderError(f"{archive} is damaged: run the run's command again")
        arrays = stored.arrays
    else:
        return {}
    found = {}
    for key in arrays:
        label, _, rest = key.rpartition("|")
        label, _, threat = label.rpartition("|")
        if rest != "radii" or label in run.manifest.get(UNFINISHED, ()):
            continue
        predictions = arrays[f"{label}|{threat}|predictions"].astype(np.int64)
        labels = arrays.get("labels", predictions)
        radii = arrays[key].astype(np.int64)
        found[label, threat] = Pointwise(predictions, radii, labels, "labels" in arrays)
    return found


def pointwise_csv(found: Mapping[tuple[str, str], Pointwise]) -> str:
    """``certificates.csv`` of a published report: a line for each test example, so it can be
    compared with git; columns as the arrays of ``certificates.npz`` are called.
    """
    columns: dict[str, IntArray] = {}
    for (label, threat), one in found.items():
        if one.labelled:
            columns["labels"] = one.labels
        columns[f"{label}|{threat}|predictions"] = one.predictions
        columns[f"{label}|{threat}|radii"] = one.radii
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["example", *columns])
    if columns:
        rows = np.column_stack(list(columns.values())).tolist()
        writer.writerows([i, *row] for i, row in enumerate(rows))
    return buffer.getvalue()


def _read_table(path: Path) -> dict[str, IntArray]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            head = next(rows)
            values = np.array([[int(value) for value in row] for row in rows], dtype=np.int64)
    except (OSError, ValueError, StopIteration) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from None
    values = values.reshape(-1, len(head))
    return {name: values[:, i] for i, name in enumerate(head)}
