"""The run's folder: what was finished stays finished, and nothing is ever half-written.

Every file is written under a temporary name, flushed to the disk and renamed. Evidence is stored as
``evidence/NAME-KEY.npz``; where there is no evidence store, its blocks lie in the folder of that
name while it is being gathered.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.errors import RunFolderError
from harness.results.files import Stored, explained, npz_bytes, read_npz, write_atomically

_LEAVES = (
    "evidence",
    "failures",
    "figures",
    "attacks",
    "logs",
    "attacks.csv",
    "attacks-joint.csv",
    "certificates.csv",
    "certificates.npz",
    "curves.csv",
    "summary.csv",
    "summary.md",
    "report.html",
    "manifest.json",
)
_LOCK = ".lock"
_NAMED_BY_KEY = re.compile(r"(.+-)([0-9a-f]{16})?(-\d+)?")
"""Names in ``evidence/``, ``logs/`` and ``failures/``; no key: its plugin could not be loaded."""


def _whole(stored: Stored | None) -> Stored | None:
    """What was stored with its measurements; a file without them is damaged."""
    return stored if stored is not None and stored.meta else None


class RunFolder:
    """A run's folder, held by one process at a time (see :func:`open_run`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def evidence_path(self, name: str, key: str) -> Path:
        return self.path / "evidence" / f"{name}-{key}.npz"

    def evidence(
        self, name: str, key: str, damaged: Callable[[Path], None] | None = None
    ) -> Stored | None:
        """The finished evidence of that key, or None; ``damaged`` is told of a file that is."""
        path = self.evidence_path(name, key)
        found = _whole(read_npz(path))
        if found is None and damaged is not None and path.exists():
            damaged(path)
        return found

    def save_evidence(self, name: str, key: str, stored: Stored) -> None:
        """Keeps the merged evidence."""
        write_atomically(self.evidence_path(name, key), npz_bytes(stored.arrays, stored.meta))

    def write(self, name: str, content: bytes | str) -> None:
        """Writes one of the run's files, atomically."""
        data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        write_atomically(self.path / name, data)

    def remove(self, name: str) -> None:
        """Removes one of the run's files, if it is there. Raises RunFolderError."""
        _remove(self.path / name)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None where there is none. Raises RunFolderError if it is damaged."""
        path = self.path / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunFolderError(f"cannot read {path}: {error}") from error
        # Other programs, too, leave files of that name.
        ours = isinstance(manifest, dict) and {"schema", "plan"} <= manifest.keys()
        return manifest if ours else None

    def drop_stale(self, wanted: Mapping[str, str], blocks: Collection[str] = ()) -> list[str]:
        """Removes what other code left; ``wanted`` is each cell's label and NAME-KEY, ``blocks``
        what their blocks are kept under.

        Returns the labels of cells whose evidence or blocks are gone, so that they must be trained
        again. NAME- without a key is a cell that cannot be loaded; its evidence stays until it can.
        Call it before the manifest is written anew: it tells which evidence was whose.
        """
        gone: set[str] = set()
        known = {*wanted.values(), *blocks}
        for folder in ("evidence", "failures", "logs"):
            for path in sorted((self.path / folder).glob("*")):
                named = _NAMED_BY_KEY.fullmatch(path.name.removesuffix(path.suffix))
                if named is None or path.name.startswith("."):
                    continue
                name, key, _ = named.groups()
                stem = name + (key or "")
                evidence = folder == "evidence"
                if stem in wanted.values() or (evidence and {stem, name} & known):
                    continue
                _remove(path)
                if evidence:
                    gone |= {stem, name}
        cells = (self.manifest() or {}).get("cells", ())
        for cell in cells:  # its blocks may lie in a store
            old, new = cell.get("evidence"), wanted.get(cell.get("label"))
            trained = cell.get("status") in ("finished", "failed") and not old.endswith("-")
            if trained and new not in (None, old) and not new.endswith("-"):
                gone.add(old)
        before = {cell.get("label"): cell.get("evidence") for cell in cells}
        return [label for label in wanted if before.get(label) in gone]

    def clear(self) -> None:
        """Removes what a run leaves, and nothing else that may lie in the folder."""
        for name in _LEAVES:
            _remove(self.path / name)


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise explained(path, error) from error


@contextmanager
def open_run(
    path: Path, identity: Mapping[str, Any], *, fresh: bool, widen: bool = False
) -> Iterator[RunFolder]:
    """The folder for a run with that identity, locked against other processes.

    A folder that holds the same run is resumed, also with other code (see
    :meth:`RunFolder.drop_stale`), and with ``widen`` one that holds other cells on the same data;
    ``fresh`` empties it first. Raises RunFolderError for one that holds another run or other files,
    that is in use, or that cannot be written.
    """
    locked_before = (path / _LOCK).exists()  # only runs leave one
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(f"{path} is in use by another run") from None
    except OSError as error:
        raise explained(path, error) from error
    with lock:
        folder = RunFolder(path)
        try:
            found = folder.manifest()
        except RunFolderError:
            if not (fresh and locked_before):
                raise
            found = {}
        ours = (_LOCK,) if found is None and not locked_before else (*_LEAVES, _LOCK)
        strangers = [p.name for p in path.iterdir() if p.name not in ours]
        if found is None and any(not name.startswith(".") for name in strangers):
            if not locked_before:
                (path / _LOCK).unlink(missing_ok=True)
            raise RunFolderError(
                f"{path} is not empty and holds no run (found {sorted(strangers)[0]}); "
                "name another --output"
            )
        if found is not None and "published" in found:
            raise RunFolderError(f"{path} is a published report; name another --output")
        if fresh:
            folder.clear()
        elif found is not None and (
            differs := _difference(found.get("plan"), identity, widen=widen)
        ):
            raise RunFolderError(
                f"{path} holds another run ({differs}); "
                "name another --output or give --fresh to start over"
            )
        for left in path.rglob(".*.tmp"):  # of a run that was killed while it wrote
            left.unlink(missing_ok=True)
        yield folder


def _difference(found: object, wanted: Mapping[str, Any], widen: bool) -> str | None:
    if not isinstance(found, Mapping):
        return "of another version"
    if found.get("digest") != wanted["digest"]:
        if found.get("dataset") != wanted["dataset"]:
            return f"its dataset is {found.get('dataset')}, not {wanted['dataset']}"
        return "its data have changed"
    theirs = sorted(found.get("cells", ()))
    same = widen or theirs == wanted["cells"]
    return None if same else f"its defenses are {', '.join(theirs)}"
