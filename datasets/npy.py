"""``npy:FOLDER``: a user's own arrays, of any size: mapped from .npy files, never unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.datasets.base import Dataset, checked_in_files
from harness.datasets.domain import Declaration
from harness.datasets.mapped import Mapped, MappedArray
from harness.datasets.npz import DECLARED, KEYS, SUFFIX, UNREADABLE, read_whole
from harness.errors import DataError, UsageError

_FILES = ", ".join(key + SUFFIX for key in KEYS)


class Npy:
    """Arrays ``x_train, y_train, x_test, y_test``, each in a .npy file of one folder.

    Examples are uint8 or float32, as they lie there, one after another. Everything else is as in an
    .npz file, whose digest the same arrays have.
    """

    name = "npy"
    summary = (
        f"your own arrays, also larger than memory: npy:FOLDER, a folder with {_FILES}; it may "
        f"declare {', '.join(DECLARED)} likewise"
    )
    takes_argument = True
    domain = (
        "label_set, range (lowest, highest) and n_public, as files of these names declare them; "
        "else the labels of training and test set together, all that the type holds, and the size "
        "at hand"
    )

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """The data set in the folder ``argument``. Raises DataError that names the file."""
        if not argument:
            raise UsageError("dataset npy needs a folder: npy:FOLDER")
        folder = Path(os.path.expanduser(argument))  # leaves ~nobody as it is
        name = f"npy:{folder}"
        if not folder.is_dir():
            found = "is no folder" if folder.exists() else "does not exist"
            raise DataError(f"{folder} {found}; wanted a folder with {_FILES}")
        paths = {key: folder / (key + SUFFIX) for key in (*KEYS, *DECLARED)}
        missing = [key + SUFFIX for key in KEYS if not paths[key].is_file()]
        if missing:
            raise DataError(f"{name} has no {', '.join(missing)}; wanted are {_FILES}")
        x_train, x_test = (_mapped(name, key, paths[key]) for key in ("x_train", "x_test"))
        y = {key: _whole(name, key, paths[key]) for key in ("y_train", "y_test")}
        said = {key: _whole(name, key, paths[key]) for key in DECLARED if paths[key].is_file()}
        declared = Declaration(said.get("label_set"), said.get("range"), said.get("n_public"))
        return checked_in_files(name, Mapped(x_train, x_test), **y, declared=declared)


def _mapped(name: str, key: str, path: Path) -> MappedArray:
    try:
        return MappedArray.open(name, key, path)
    except UNREADABLE as error:
        raise DataError(f"{name}: {key} cannot be read ({_line(error)})") from None


def _whole(name: str, key: str, path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            return read_whole(name, key, file)
    except OSError as error:
        raise DataError(f"{name}: {key} cannot be read ({_line(error)})") from None


def _line(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or " ".join(str(error).split()))
