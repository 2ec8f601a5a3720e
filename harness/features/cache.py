"""Rows of dear features on disk: each found by its example's content, whichever data set it is in.

They lie in the evidence store, in a folder for each key, in files of some thousand rows that are
written whole and never changed: ``rows-DIGEST.npz`` with ``digests`` (m, 16) and ``rows`` (m, d).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from harness.features.base import Features

FORMAT = 1
"""A part of every key: raise it when rows of the same parameters become others."""
AT_ONCE = 4096
"""Rows that are computed between two that are kept: so much is lost when a process is killed."""
_SIXTEEN = np.dtype("V16")

Rows = NDArray[np.float32]


def digests_of(x: NDArray[Any]) -> NDArray[np.void]:
    """(n,) a digest of 16 bytes of each example of ``x`` (n, ...), by its values alone."""
    found = np.empty(len(x), _SIXTEEN)
    for i, example in enumerate(x):
        digest = hashlib.blake2b(np.ascontiguousarray(example).data, digest_size=16).digest()
        found[i] = np.void(digest)
    return found


@dataclass
class RowCache:
    """Rows that are kept in ``folder``. ``damaged`` is told of a file that cannot be read."""

    folder: Path
    damaged: Callable[[Path], None] = lambda path: None
    _rows: dict[bytes, Rows] = field(default_factory=dict)
    _read: set[Path] = field(default_factory=set)

    def find(self, wanted: NDArray[np.void]) -> dict[bytes, Rows]:
        """Those of the wanted rows that are kept, by their digests."""
        asked = {one.tobytes() for one in wanted}
        found = {key: self._rows[key] for key in asked & self._rows.keys()}
        for path in sorted(self.folder.glob("rows-*.npz")) if self.folder.is_dir() else []:
            if len(found) == len(asked):
                break
            if path in self._read:
                continue
            for key, row in self._content(path):
                self._rows[key] = row
                if key in asked:
                    found[key] = row
            self._read.add(path)
        return found

    def _content(self, path: Path) -> Iterator[tuple[bytes, Rows]]:
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                digests, rows = arrays["digests"], arrays["rows"]
            if digests.shape != (len(rows), 16) or rows.dtype != np.float32 or rows.ndim != 2:
                raise ValueError("other arrays than were written")
        except FileNotFoundError:  # removed meanwhile
            return
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError):
            self.damaged(path)
            return
        for digest, row in zip(digests, rows, strict=True):
            yield digest.tobytes(), row

    def content(self, digests: NDArray[np.void], rows: Rows) -> tuple[Path, bytes]:
        """The file for these rows, and what it holds."""
        plain = np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, 16)
        buffer = io.BytesIO()
        np.savez(buffer, digests=plain, rows=rows)
        name = hashlib.sha256(plain.tobytes()).hexdigest()[:16]
        return self.folder / f"rows-{name}.npz", buffer.getvalue()

    def keep(self, digests: NDArray[np.void], rows: Rows) -> None:
        """These rows are known from now on."""
        for digest, row in zip(digests, rows, strict=True):
            self._rows[digest.tobytes()] = row


def compute(
    features: Features,
    x: NDArray[Any],
    cache: RowCache,
    *,
    write: Callable[[Path, bytes], None],
    working: Callable[[int, int], None],
    chunk: int | None = None,
) -> Tensor:
    """The features (n, d) float32 of raw examples ``x`` (n, ...), as :meth:`Features.compute` has
    them: those that are kept, and the others computed, each content once, and kept.

    ``write`` is given a file and its content; ``working`` how many of how many are computed.
    """
    features.check(x.shape[1:])
    digests = digests_of(x)
    first: dict[bytes, int] = {}
    for i, digest in enumerate(digests):
        first.setdefault(digest.tobytes(), i)
    known = cache.find(digests)
    missing = np.array(sorted(i for key, i in first.items() if key not in known), np.int64)
    for start in range(0, len(missing), AT_ONCE):
        working(start, len(missing))
        some = missing[start : start + AT_ONCE]
        rows = features.compute(np.ascontiguousarray(x[some]), chunk).numpy()
        cache.keep(digests[some], rows)
        known |= {digests[i].tobytes(): row for i, row in zip(some, rows, strict=True)}
        write(*cache.content(digests[some], rows))
    if len(missing):
        working(len(missing), len(missing))
    # The width of rows that are kept is known without a network.
    width = len(next(iter(known.values()))) if known else features.count(x.shape[1:])
    result = np.empty((len(x), width), np.float32)
    for i, digest in enumerate(digests):
        result[i] = known[digest.tobytes()]
    return torch.from_numpy(result)
