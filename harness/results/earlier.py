"""What an earlier run left in a folder that is used again: kept, unless it is made anew."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.errors import RunFolderError, SchemaError
from harness.results.files import read_npz
from harness.results.folder import RunFolder
from harness.results.schema import SCHEMA

Row = Mapping[str, str]

FROM = "from"
"""Where the row of a cell that was kept says how it came about: the run that made it."""
MADE = (
    "command",
    "created",
    "suite",
    "left_out",
    "versions",
    "machine",
    "device",
    "threads",
    "git",
)
"""What it says of that run: keys of its manifest, those that have a value."""


@dataclass(frozen=True)
class Earlier:
    """The cells of an earlier run, as its files have them.

    ``cells`` are rows of the manifest, ``curves`` and ``summary`` of the tables, ``certificates``
    arrays by their names; ``threats`` what was asked about. ``seed`` and ``alpha``: of the first
    run, which labels do not mention.
    """

    seed: int | None = None
    alpha: float | None = None
    threats: tuple[str, ...] = ()
    cells: tuple[Mapping[str, Any], ...] = ()
    curves: tuple[Row, ...] = ()
    summary: tuple[Row, ...] = ()
    certificates: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)
    """The commits of the code that its cells rest on, by distribution."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """How that run came about, as far as its manifest says so once for all cells."""

    @property
    def labels(self) -> list[str]:
        """The labels of its cells, in their order."""
        return [cell["label"] for cell in self.cells]

    @property
    def unfinished(self) -> list[str]:
        """The labels of cells that were begun and not finished."""
        return [cell["label"] for cell in self.cells if cell.get("status") == "started"]

    def without(self, labels: Collection[str]) -> Earlier:
        """Its other cells. Of one that was begun and not finished there are no results."""

        def kept(label: str) -> bool:
            return label not in labels and label not in begun

        begun = {cell["label"] for cell in self.cells if cell.get("status") == "started"}
        return replace(
            self,
            cells=tuple(self.told(cell) for cell in self.cells if cell["label"] not in labels),
            curves=tuple(row for row in self.curves if kept(row["defense"])),
            summary=tuple(row for row in self.summary if kept(row["defense"])),
            certificates={k: a for k, a in self.certificates.items() if kept(_label(k))},
        )

    def told(self, cell: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row of a cell with how it came about, which is said once, when it is first kept."""
        return cell if FROM in cell or not self.made else {**cell, FROM: dict(self.made)}


def made_before(cells: Iterable[Mapping[str, Any]]) -> list[tuple[list[str], Mapping[str, Any]]]:
    """Of the rows of a manifest, those that were kept from earlier runs: the labels that each of
    these runs left, and how it came about; the latest first, which of those of one second is the
    one whose cells stand last.
    """
    found: list[tuple[list[str], Mapping[str, Any]]] = []
    for cell in cells:
        made = cell.get(FROM)
        if not isinstance(made, Mapping):
            continue
        labels = next((labels for labels, one in found if one == made), None)
        if labels is None:
            found.append((labels := [], made))
        labels.append(str(cell["label"]))
    found.reverse()
    return sorted(found, key=lambda one: str(one[1].get("created")), reverse=True)


def read_earlier(folder: RunFolder) -> Earlier:
    """What the folder holds; an empty one where it holds no run.

    Raises RunFolderError for a file that cannot be read, SchemaError for a run of another version.
    """
    manifest = folder.manifest()
    if manifest is None:
        return Earlier()
    if manifest.get("schema") != SCHEMA:
        raise SchemaError(
            f"{folder.path} holds a run of schema {manifest.get('schema')!r}, and this version "
            f"writes schema {SCHEMA}; name another --output or give --fresh to start over"
        )
    cells = manifest.get("cells")
    if not isinstance(cells, list) or not all(isinstance(c, dict) and "label" in c for c in cells):
        raise _damaged(folder.path / "manifest.json")
    archive = folder.path / "certificates.npz"
    stored = read_npz(archive)
    if stored is None and archive.exists():
        raise _damaged(archive)
    arrays = {k: a for k, a in stored.arrays.items() if "|" in k} if stored else {}
    return Earlier(
        manifest.get("seed"),
        manifest.get("alpha"),
        tuple(str(threat) for threat in manifest.get("threats", ())),
        tuple(cells),
        _rows(folder.path / "curves.csv"),
        _rows(folder.path / "summary.csv"),
        arrays,
        manifest.get("sources") or {},
        {key: manifest[key] for key in MADE if manifest.get(key)},
    )


def _rows(path: Path) -> tuple[Row, ...]:
    """The rows of a table; none where there is no file, as in a run that was interrupted."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError):
        raise _damaged(path) from None
    rows = tuple(csv.DictReader(io.StringIO(text)))
    if any("defense" not in row or None in row or None in row.values() for row in rows):
        raise _damaged(path)
    return rows


def _label(key: str) -> str:
    """The cell of ``LABEL|THREAT|radii``; a label may hold a |."""
    return key.rsplit("|", 2)[0]


def _damaged(path: Path) -> RunFolderError:
    return RunFolderError(
        f"{path} is damaged, and what an earlier run left there cannot be kept; name another "
        "--output or give --fresh to start over"
    )
