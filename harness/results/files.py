"""Files that are whole or not there, and arrays in them."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from harness.errors import NoSpaceError, RunFolderError

_META = "_meta"


@dataclass(frozen=True)
class Stored:
    """Arrays that were stored, with what was measured while they were made."""

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file whole or not at all. Raises NoSpaceError, RunFolderError.

    ``durable``: also where the machine loses its power in the next seconds. Otherwise such a file
    may be damaged then, and whoever reads it must notice.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:16]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise explained(path, error) from error


def write_output(path: Path, content: bytes) -> None:
    """Writes a file that the user named: whole or not at all, unless it is a pipe or a device."""
    if path.exists() and not path.is_file():
        try:
            path.write_bytes(content)
        except OSError as error:
            raise explained(path, error) from error
    else:
        write_atomically(path.resolve(), content)  # a link keeps pointing where it points


def explained(path: Path, error: OSError) -> NoSpaceError | RunFolderError:
    """What went wrong while ``path`` was written, as the error that says it in one line."""
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
