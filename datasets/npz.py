"""``npz:PATH``: a user's own arrays, from a .npz file, never unpickled."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.errors import DataError, UsageError

KEYS = ("x_train", "y_train", "x_test", "y_test")
DECLARED = ("label_set", "range", "n_public")
"""Arrays that may be there: what a :class:`Declaration` says."""
SUFFIX = ".npy"

UNREADABLE = (
    zipfile.BadZipFile,  # truncated, or a checksum that does not fit: changed after it was written
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # encrypted
    OSError,
    ValueError,  # a broken .npy header
    struct.error,
    tokenize.TokenError,
    MemoryError,  # a header that promises more values than there is room for
    OverflowError,  # or than NumPy can count
)
"""What broken bytes can raise on their way through zipfile and NumPy's reader."""


class Npz:
    """Arrays ``x_train, y_train, x_test, y_test`` in one .npz file, and what it declares.

    Examples are uint8 or real numbers, the first axis counts them. Labels are whole numbers. The
    file may declare its domain: ``label_set``, all labels that an example can have; ``range``, the
    lowest and the highest value; ``n_public``, the size of the clean training set. What else is in
    it is ignored.
    """

    name = "npz"
    summary = (
        f"your own arrays: npz:PATH, a .npz file with {', '.join(KEYS)}; it may declare "
        f"{', '.join(DECLARED)}"
    )
    takes_argument = True
    domain = (
        "label_set, range (lowest, highest) and n_public, as the file declares them; else the "
        "labels of training and test set together, all that the type holds, and the size at hand"
    )

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """The data set in the file ``argument``. Raises DataError that names the file."""
        if not argument:
            raise UsageError("dataset npz needs a path: npz:PATH")
        path = Path(os.path.expanduser(argument))  # leaves ~nobody as it is
        if path.is_dir():
            raise DataError(f"{path} is a folder; wanted a .npz file")
        try:
            with path.open("rb") as file:
                return load_npz(f"npz:{path}", file)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist; wanted a .npz file") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def load_npz(name: str, file: IO[bytes], declared: Declaration | None = None) -> Dataset:
    """The data set in an open .npz file, called ``name`` also in errors.

    Its domain is ``declared`` or, without that, what the file itself declares.

    Raises DataError for a file that is truncated, tampered with or not a .npz, that misses an
    array or holds pickled objects, and for arrays that :func:`harness.datasets.base.checked`
    refuses.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise DataError(f"{name} is not a .npz file, or is truncated") from None
    with archive:
        present = [n.removesuffix(SUFFIX) for n in archive.namelist() if n.endswith(SUFFIX)]
        missing = [key for key in KEYS if key not in present]
        if missing:
            raise DataError(
                f"{name} has no {', '.join(missing)}; it holds "
                f"{', '.join(present) or 'no arrays'} and wanted are {', '.join(KEYS)}"
            )
        if declared is None:
            said = {key: _array(name, archive, key) for key in DECLARED if key in present}
            declared = Declaration(said.get("label_set"), said.get("range"), said.get("n_public"))
        arrays = {key: _array(name, archive, key) for key in KEYS}
        return checked(name, **arrays, declared=declared)


def _array(name: str, archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    try:
        with archive.open(key + SUFFIX) as member:
            return read_whole(name, key, member)
    except UNREADABLE as error:
        raise _damaged(name, key, error) from None


def read_whole(name: str, key: str, file: IO[bytes]) -> NDArray[Any]:
    """The array ``key`` in an open .npy file, read to the very end of it, because the checksum of
    an archive is compared only there. Raises DataError.
    """
    try:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        trailing = bool(file.read())
    except UNREADABLE as error:
        raise _damaged(name, key, error) from None
    if trailing:
        raise DataError(f"{name}: {key} is damaged (bytes follow the array)")
    return array


def _damaged(name: str, key: str, error: BaseException) -> DataError:
    if str(error).startswith("Object arrays"):
        return DataError(f"{name}: {key} holds pickled objects; wanted plain numbers")
    reason = " ".join(str(error).split())  # some of these run over several lines
    return DataError(f"{name}: {key} is damaged ({reason})")
