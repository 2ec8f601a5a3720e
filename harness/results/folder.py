"""The run's folder: what was finished stays finished, and nothing is ever half-written.

Every file is written under a temporary name, flushed to the disk and renamed. Evidence is stored as
``evidence/NAME-KEY.npz``; while it is being gathered, its blocks lie in the folder of that name.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NoSpaceError, RunFolderError

_META = "_meta"
_LEAVES = (
    "evidence",
    "failures",
    "figures",
    "logs",
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


@dataclass(frozen=True)
class Stored:
    """Arrays that were stored, with what was measured while they were made."""

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all. Raises NoSpaceError, RunFolderError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _explained(path, error) from error


def write_output(path: Path, content: bytes) -> None:
    """Writes a file that the user named: whole or not at all, unless it is a pipe or a device."""
    if path.exists() and not path.is_file():
        try:
            path.write_bytes(content)
        except OSError as error:
            raise _explained(path, error) from error
    else:
        write_atomically(path.resolve(), content)  # a link keeps pointing where it points


def _explained(path: Path, error: OSError) -> NoSpaceError | RunFolderError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(
            f"no space left for {path}; finished blocks are kept: "
            "make room and run the same command again"
        )
    return RunFolderError(f"cannot write {path}: {error.strerror}")


def npz_bytes(arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any] | None = None) -> bytes:
    """An .npz file of arrays, never pickled; the same bytes for the same content."""
    stored = dict(arrays)
    if meta is not None:
        text = json.dumps(meta, sort_keys=True).encode()
        stored[_META] = np.frombuffer(text, dtype=np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in stored.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, so that bytes do not change
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_npz(path: Path) -> Stored | None:
    """What :func:`npz_bytes` stored; None where there is no file or it is damaged."""
    try:
        # Opened here, because NumPy leaves a file open that turns out not to be an archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None  # RuntimeError: zipfile's word for what it takes for encrypted or unknown
    meta = arrays.pop(_META, None)
    try:
        return Stored(arrays, json.loads(meta.tobytes()) if meta is not None else {})
    except ValueError:
        return None


def _whole(stored: Stored | None) -> Stored | None:
    """What was stored with its measurements; a file without them is damaged."""
    return stored if stored is not None and stored.meta else None


class RunFolder:
    """A run's folder, held by one process at a time (see :func:`open_run`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def evidence_path(self, name: str, key: str) -> Path:
        return self.path / "evidence" / f"{name}-{key}.npz"

    def _block_path(self, name: str, key: str, index: int) -> Path:
        return self.evidence_path(name, key).with_suffix("") / f"{index:06d}.npz"

    def evidence(self, name: str, key: str) -> Stored | None:
        """The finished evidence of that key, or None."""
        return _whole(read_npz(self.evidence_path(name, key)))

    def block(self, name: str, key: str, index: int) -> Stored | None:
        """One finished block, or None."""
        return _whole(read_npz(self._block_path(name, key, index)))

    def save_block(self, name: str, key: str, index: int, stored: Stored) -> None:
        """Keeps a finished block; from then on it is never trained again."""
        write_atomically(self._block_path(name, key, index), npz_bytes(stored.arrays, stored.meta))

    def save_evidence(self, name: str, key: str, stored: Stored) -> None:
        """Keeps the merged evidence and removes its blocks."""
        path = self.evidence_path(name, key)
        write_atomically(path, npz_bytes(stored.arrays, stored.meta))
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)

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

    def drop_stale(self, wanted: Mapping[str, str]) -> list[str]:
        """Removes what other code left; ``wanted`` is each cell's label and NAME-KEY.

        Returns the labels of cells whose evidence or blocks are gone, so that they must be trained
        again. NAME- without a key is a cell that cannot be loaded; its evidence stays until it can.
        Call it before the manifest is written anew: it tells which evidence was whose.
        """
        gone = set()
        for folder in ("evidence", "failures", "logs"):
            for path in sorted((self.path / folder).glob("*")):
                named = _NAMED_BY_KEY.fullmatch(path.name.removesuffix(path.suffix))
                if named is None or path.name.startswith("."):
                    continue
                name, key, _ = named.groups()
                stem = name + (key or "")
                if stem in wanted.values() or (folder == "evidence" and name in wanted.values()):
                    continue
                _remove(path)
                if folder == "evidence":
                    gone |= {stem, name}
        cells = (self.manifest() or {}).get("cells", ())
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
        raise _explained(path, error) from error


@contextmanager
def open_run(path: Path, identity: Mapping[str, Any], *, fresh: bool) -> Iterator[RunFolder]:
    """The folder for a run with that identity, locked against other processes.

    A folder that holds the same run is resumed, also with other code (see
    :meth:`RunFolder.drop_stale`); ``fresh`` empties it first. Raises RunFolderError for one that
    holds another run or other files, that is in use, or that cannot be written.
    """
    locked_before = (path / _LOCK).exists()  # only runs leave one
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / _LOCK, "a")  # noqa: SIM115 - held as long as the run
    except OSError as error:
        raise _explained(path, error) from error
    with lock:
        _lock(lock, path)
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
        elif found is not None and (differs := _difference(found.get("plan"), identity)):
            raise RunFolderError(
                f"{path} holds another run ({differs}); "
                "name another --output or give --fresh to start over"
            )
        for left in path.rglob(".*.tmp"):  # of a run that was killed while it wrote
            left.unlink(missing_ok=True)
        yield folder


def _lock(file: io.TextIOWrapper, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runs into one folder are then not noticed
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RunFolderError(f"{path} is in use by another run") from None


def _difference(found: object, wanted: Mapping[str, Any]) -> str | None:
    if not isinstance(found, Mapping):
        return "of another version"
    for key, name in (("dataset", "dataset"), ("digest", "the data"), ("seed", "seed")):
        if found.get(key) != wanted[key]:
            if key == "digest":
                return "its data have changed"
            return f"its {name} is {found.get(key)}, not {wanted[key]}"
    theirs = sorted(found.get("cells", ()))
    return None if theirs == wanted["cells"] else f"its defenses are {', '.join(theirs)}"
