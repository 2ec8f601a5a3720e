"""Examples that stay in their files: mapped, read through once for the digest, then by rows.

What is read goes through a small buffer and not through the map: pages of a map that were touched
count as this process's memory, and a file that is cut off meanwhile would end it (SIGBUS).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.datasets import checks
from harness.errors import DataError

_CHUNK = 2**22
"""Bytes that are read at once where a file is read through: they fit in a processor's cache."""
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Stamp(NamedTuple):
    """What tells that a file was changed, without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, eq=False)
class MappedArray:
    """An array (n, ...) of uint8 or float32 in the file ``path``, from byte ``offset`` on.

    ``name`` is what errors call it. ``array``: mapped, read-only.
    """

    name: str
    key: str
    path: Path
    array: NDArray[Any]
    offset: int
    stamp: Stamp

    @classmethod
    def open(cls, name: str, key: str, path: Path) -> MappedArray:
        """The array ``key`` in that .npy file. Raises DataError for one that cannot be mapped as
        it lies there; what :func:`numpy.lib.format.read_magic` does for what is no such file.
        """
        with path.open("rb") as file:
            stamp = Stamp.of(os.fstat(file.fileno()))
            version = np.lib.format.read_magic(file)
            if version not in _READERS:
                raise DataError(f"{name}: {key} is of .npy version {version}; wanted 1.0 or 2.0")
            shape, fortran, dtype = _READERS[version](file)
            offset = file.tell()
            if dtype.hasobject:
                raise DataError(f"{name}: {key} holds pickled objects; wanted plain numbers")
            if dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
                raise DataError(
                    f"{name}: {key} holds {dtype}; wanted uint8 or float32, for a mapped array is "
                    f"used as it lies there (x.astype(np.float32), say)"
                )
            if fortran and len(shape) > 1:
                raise DataError(
                    f"{name}: {key} is in Fortran's order; wanted one example after another: "
                    "np.ascontiguousarray(x)"
                )
            wanted = offset + math.prod(shape) * dtype.itemsize
            if stamp.size != wanted:
                raise DataError(
                    f"{name}: {key} is damaged (it has {stamp.size:,} bytes; wanted {wanted:,})"
                )
            array = np.memmap(file, dtype, "r", offset, tuple(shape)).view(np.ndarray)
        return cls(name, key, path.absolute(), array, offset, stamp)

    def __reduce__(self) -> tuple[Any, ...]:
        sent = (self.name, self.key, self.path, self.array.shape, str(self.array.dtype))
        return _again, (*sent, self.offset, self.stamp)

    def chunks(
        self, lowest: float, highest: float, at_once: int | None = None
    ) -> Iterator[NDArray[Any]]:
        """All examples in turn, some at a time (m, ...), in a buffer that the next ones overwrite.
        ``at_once``: its bytes, unless one is larger; few without it.

        Raises DataError for a value that is not from ``lowest`` to ``highest``, and where the file
        was changed since it was opened.
        """
        n, example = len(self.array), self.array.shape[1:]
        m = max(1, (at_once or _CHUNK) // self._bytes_of_one())
        buffer = np.empty((min(n, m), *example), self.array.dtype)
        with self._opened() as file:
            file.seek(self.offset)
            for start in range(0, n, len(buffer)):
                some = buffer[: n - start]
                self._fill(file, some.reshape(-1).view(np.uint8))
                # Any comparison with NaN, which both have if one value is, is false.
                if not (some.min() >= lowest and some.max() <= highest):
                    checks.features(self.name, self.key, some, (lowest, highest), start)
                yield some
        self.check_unchanged()

    def rows(self, which: NDArray[np.int64]) -> NDArray[Any]:
        """(m, ...) the examples ``which`` (m,), quickest where they increase; no others are read.

        Raises DataError where the file is not there any more, or was cut off.
        """
        found = np.empty((len(which), *self.array.shape[1:]), self.array.dtype)
        flat, size = found.reshape(-1).view(np.uint8), self._bytes_of_one()
        with self._opened() as file:
            for i, row in enumerate(which.tolist()):
                file.seek(self.offset + row * size)
                self._fill(file, flat[i * size : (i + 1) * size])
        return found

    def check_unchanged(self) -> None:
        """Raises DataError where the file is not as it was when it was opened."""
        try:
            found = Stamp.of(self.path.stat())
        except OSError as error:
            raise self._gone(error) from None
        if found != self.stamp:
            raise self._changed()

    def _bytes_of_one(self) -> int:
        return math.prod(self.array.shape[1:]) * self.array.itemsize

    def _opened(self) -> FileIO:
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise self._gone(error) from None

    def _fill(self, file: FileIO, target: NDArray[np.uint8]) -> None:
        """Reads as many bytes as ``target`` has; the system may give fewer at a time."""
        filled = 0
        while filled < len(target):
            try:
                got = file.readinto(target[filled:].data)
            except OSError as error:
                raise self._gone(error) from None
            if not got:
                raise self._changed()
            filled += got

    def _changed(self) -> DataError:
        return DataError(
            f"{self.name}: {self.key} was changed after it was opened ({self.path}); run it again"
        )

    def _gone(self, error: OSError) -> DataError:
        reason = error.strerror or error
        return DataError(f"{self.name}: {self.key} cannot be read any more ({self.path}: {reason})")


def _again(
    name: str, key: str, path: Path, shape: tuple[int, ...], dtype: str, offset: int, stamp: Stamp
) -> MappedArray:
    """The same array in another process, which may be on a machine that shares the file.

    Raises DataError where the file is not there, or is another. Inodes count on one machine alone.
    """
    try:
        found = MappedArray.open(name, key, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"{name}: {key} is not to be had here ({path}: {reason}); mapped arrays are not sent: "
            "their folder must be shared"
        ) from None
    same = (found.array.shape, str(found.array.dtype), found.offset) == (shape, dtype, offset)
    if not same or found.stamp[:2] != stamp[:2]:
        raise DataError(
            f"{name}: {key} is not what it is in the run ({path} has another content or time)"
        )
    return found


@dataclass(frozen=True)
class Mapped:
    """Where the examples of a data set lie."""

    x_train: MappedArray
    x_test: MappedArray

    def __getitem__(self, key: str) -> MappedArray:
        """``x_train`` or ``x_test``."""
        return {"x_train": self.x_train, "x_test": self.x_test}[key]

    def hold(self, x_train: NDArray[Any], x_test: NDArray[Any]) -> bool:
        """Whether these very arrays are mapped from here."""
        return x_train is self.x_train.array and x_test is self.x_test.array

    def check_unchanged(self) -> None:
        """Raises DataError where a file is not as it was when it was opened."""
        self.x_train.check_unchanged()
        self.x_test.check_unchanged()
