"""MNIST's four canonical files, and how such a one is read: IDX, gzipped or plain, no pickle."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

Files = Mapping[str, tuple[str, str]]
"""Each array's file (a .gz suffix may follow) and the MD5 of its uncompressed bytes."""

FILES: Files = {
    "x_train": ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    "y_train": ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    "x_test": ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    "y_test": ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
}
"""Those of MNIST."""

UBYTE = 8
"""The code for uint8 in the third byte of an IDX file; the fourth is the number of dimensions."""


def locate(folder: Path, files: Files | None = None) -> dict[str, Path] | None:
    """Where in ``folder`` each of the ``files`` is, plain or gzipped; None unless all four are.

    Without ``files``, those of MNIST: :data:`FILES`.
    """
    files = FILES if files is None else files
    found = {
        key: path
        for key, (name, _) in files.items()
        for path in (folder / f"{name}.gz", folder / name)  # the plain file wins: quicker to read
        if path.is_file()
    }
    return found if len(found) == len(files) else None


def read_canonical(
    paths: Mapping[str, Path], files: Files | None = None, title: str = "MNIST"
) -> dict[str, NDArray[np.uint8]]:
    """The arrays of the four files that :func:`locate` found, each checked against its MD5.

    Images (60,000, 28, 28) and (10,000, 28, 28), labels (60,000,) and (10,000,). Raises DataError
    for a file that cannot be read or is not the canonical one.
    """
    files = FILES if files is None else files
    return {
        key: decode(_verified(paths[key], md5, title), paths[key])
        for key, (_, md5) in files.items()
    }


def decode(content: bytes, path: Path) -> NDArray[np.uint8]:
    """The uint8 array in an IDX file's uncompressed bytes; ``path`` is for the error alone."""
    n_dimensions = content[3] if content[:3] == bytes([0, 0, UBYTE]) and len(content) > 3 else 0
    start = 4 + 4 * n_dimensions
    if n_dimensions == 0 or len(content) < start:
        raise DataError(f"{path} is not an IDX file of bytes")
    shape = struct.unpack(f">{n_dimensions}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != int(np.prod(shape, dtype=object)):
        raise DataError(f"{path} promises shape {shape} and holds {values.size} values")
    return values.reshape(shape).copy()


def _verified(path: Path, md5: str, title: str) -> bytes:
    """The uncompressed bytes of ``path``, whose MD5 is ``md5``."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(
            f"{path} is not {title}'s file: the MD5 of its uncompressed bytes is {found}, not {md5}"
        )
    return content
