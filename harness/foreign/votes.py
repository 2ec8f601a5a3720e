"""Reading what base models that somebody else trained have voted: .npz, .npy and .csv files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

_ARCHIVE = (zipfile.BadZipFile, zlib.error)
_LARGEST = 2**53
"""The largest sum of votes: beyond it float64 no longer counts one by one."""


@dataclass(frozen=True)
class ForeignEvidence:
    """Arrays of a file, checked as far as their names say what they are.

    ``votes`` (e, c) int64, the same sum >= 1 in each row; ``predictions`` (m, e) int64 >= 0, a row
    for each base model; anything else is finite numbers. ``labels`` (e,) int64 >= 0, the true ones,
    where they are known.
    """

    arrays: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    n_test: int
    """e, the number of test examples."""


def read_votes(path: Path) -> ForeignEvidence:
    """What somebody else's base models left in a file.

    - ``.npz``: named arrays, among them ``votes`` or ``predictions``, and ``labels`` if they are
      known; or the one array ``x``.
    - ``.npy`` or the array ``x``: (e, c + 1), the votes and in the last column the true label, as
      the program of Jia et al. (2021) stores them.
    - ``.csv``: the same columns; or, below a header ``votes_0,...`` with or without ``label``,
      what the header says.

    Raises DataError, in one line that names the file.
    """
    kind = path.suffix.lower()
    if kind == ".npz":
        arrays = _read_npz(path)
    elif kind == ".npy":
        arrays = _published(_read_npy(path), path)
    elif kind == ".csv":
        arrays = _read_csv(path)
    else:
        raise DataError(
            f"{path}: votes are read from .npz, .npy or .csv, found {kind or 'neither'}"
        )
    return checked_evidence(arrays, path)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    found = _load(path)
    if isinstance(found, np.ndarray):
        raise DataError(f"{path} is a single array; name it .npy")
    if "x" not in found:
        return found
    clash = next((name for name in ("votes", "labels") if name in found), None)
    if clash:
        raise DataError(f"{path} has both x and {clash}: x holds the votes and the labels")
    return {**found, **_published(found.pop("x"), path)}


def _read_npy(path: Path) -> NDArray[Any]:
    found = _load(path)
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path} holds several arrays; name it .npz")
    return found


def _load(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            with found:
                return {name: found[name] for name in found.files}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, RuntimeError, *_ARCHIVE) as error:
        raise DataError(f"{path} cannot be read as arrays of numbers: {_line(error)}") from None


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    import pandas as pd

    try:
        with open(path, encoding="utf-8-sig") as file:
            names = [name.strip(' \t\r\n"') for name in file.readline().split(",")]
        headed = not all(_is_number(name) for name in names)
        table = pd.read_csv(path, header=None, skiprows=int(headed), encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # of pandas' parser, or bytes that are no text
        raise DataError(f"{path} is not a table of numbers: {_line(error)}") from None
    wrong = next((i for i, kind in enumerate(table.dtypes) if kind.kind not in "iuf"), None)
    if wrong is not None:
        raise DataError(f"{path}, column {wrong + 1}: not all of it is numbers")
    if not headed:
        return _published(table.to_numpy(), path)
    if len(names) != table.shape[1]:
        raise DataError(f"{path} has {len(names)} names for {table.shape[1]} columns")
    return _named_columns(names, table.to_numpy(), path)


def _named_columns(names: list[str], table: NDArray[Any], path: Path) -> dict[str, NDArray[Any]]:
    votes = [name for name in names if name != "label"]
    wanted = [f"votes_{j}" for j in range(len(votes))]
    if sorted(votes) != sorted(wanted) or len(set(names)) != len(names):
        raise DataError(
            f"{path}: the columns must be votes_0 ... votes_{max(len(votes) - 1, 1)} and, if it "
            f"is known, label; found {', '.join(names)}"
        )
    arrays = {"votes": table[:, [names.index(name) for name in wanted]]}
    if "label" in names:
        arrays["labels"] = table[:, names.index("label")]
    return arrays


def _published(x: NDArray[Any], path: Path) -> dict[str, NDArray[Any]]:
    """Votes and labels from one array (e, c + 1)."""
    if x.ndim != 2 or x.shape[1] < 3:
        raise DataError(
            f"{path}: wanted a table of test examples by votes for each of at least two labels "
            f"and the true label, found shape {x.shape}"
        )
    return {"votes": x[:, :-1], "labels": x[:, -1]}


def checked_evidence(arrays: Mapping[str, NDArray[Any]], path: Path) -> ForeignEvidence:
    """The arrays as evidence; ``path`` is what messages call them.

    Raises DataError, in one line, for what is not as :class:`ForeignEvidence` says.
    """
    found = {name: _finite(array, name, path) for name, array in arrays.items()}
    if "votes" in found:
        found["votes"] = _counts(found["votes"], path)
    if "predictions" in found:
        found["predictions"] = _whole(found["predictions"], "predictions", path, dimensions=2)
    labels = found.pop("labels", None)
    if labels is not None:
        labels = _whole(labels, "labels", path, dimensions=1)
    sizes = {len(found["votes"])} if "votes" in found else set()
    sizes |= {found["predictions"].shape[1]} if "predictions" in found else set()
    sizes |= {labels.size} if labels is not None else set()
    if len(sizes) > 1:
        raise DataError(
            f"{path}: votes, predictions and labels are of different numbers of test examples "
            f"({', '.join(map(str, sorted(sizes)))})"
        )
    if not sizes:
        raise DataError(
            f"{path} holds neither votes nor predictions; found {', '.join(found) or 'nothing'}"
        )
    return ForeignEvidence(found, labels, sizes.pop())


def _counts(votes: NDArray[Any], path: Path) -> NDArray[np.int64]:
    votes = _whole(votes, "votes", path, dimensions=2)
    if votes.shape[1] < 2:
        raise DataError(f"{path}: votes must be (examples, labels >= 2), found {votes.shape}")
    if votes.max() > _LARGEST // votes.shape[1]:
        raise DataError(f"{path}: votes must be counts of base models, found {votes.max()}")
    totals = votes.sum(axis=1)
    other = np.flatnonzero(totals != totals[0])
    if other.size:
        raise DataError(
            f"{path}: every test example must have as many votes: example 0 has {totals[0]}, "
            f"example {other[0]} has {totals[other[0]]}"
        )
    if totals[0] < 1:
        raise DataError(f"{path}: there are no votes: all counts are 0")
    return votes


def _whole(array: NDArray[Any], name: str, path: Path, *, dimensions: int) -> NDArray[np.int64]:
    """The array as integers of at least 0, however they are stored."""
    if array.ndim != dimensions or array.size == 0:
        raise DataError(
            f"{path}: {name} must have {dimensions} dimension{'s' * (dimensions > 1)} and not be "
            f"empty, found shape {array.shape}"
        )
    if array.dtype.kind == "f":
        broken = (array != np.floor(array)) | (np.abs(array) > _LARGEST)
        if broken.any():
            raise DataError(f"{path}: {name} must be whole numbers, found {array[broken][0]:g}")
    if array.min() < 0:
        raise DataError(f"{path}: {name} must be at least 0, found {array.min():g}")
    if array.max() > _LARGEST:
        raise DataError(f"{path}: {name} must be at most 2^53, found {array.max()}")
    return array.astype(np.int64)


def _finite(array: NDArray[Any], name: str, path: Path) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: {name} must be numbers, found {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: {name} holds {array[~np.isfinite(array)][0]}")
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
