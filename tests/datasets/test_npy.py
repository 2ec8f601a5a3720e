"""``npy:FOLDER``: the same data set as ``npz:`` makes of the same arrays, mapped."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.datasets import mapped
from harness.datasets.base import Dataset
from harness.datasets.npy import Npy
from harness.datasets.npz import Npz
from harness.errors import DataError, UsageError

RNG = np.random.default_rng(0)
BYTES: dict[str, Any] = {
    "x_train": RNG.integers(0, 256, (40, 5, 5), np.uint8),
    "y_train": np.arange(40) % 3 + 5,
    "x_test": RNG.integers(0, 256, (8, 5, 5), np.uint8),
    "y_test": np.arange(8, dtype=np.uint8) % 3 + 5,
}
FLOATS = BYTES | {
    key: RNG.normal(size=(n, 6)).clip(-3, 3).astype(np.float32)
    for key, n in (("x_train", 40), ("x_test", 8))
}
DECLARED = {"label_set": np.arange(9), "range": np.array([-3.0, 3.0]), "n_public": np.array(50)}


def save(folder: Path, **arrays: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    return folder


def load(folder: Path) -> Dataset:
    return Npy().load(str(folder), None)


def message(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        load(folder)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(folder), "FOLDER")


@pytest.mark.parametrize("arrays", [BYTES, FLOATS, FLOATS | DECLARED])
@pytest.mark.parametrize("chunk", [1, 300, 2**22])
def test_is_what_npz_makes_of_the_same_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, Any], chunk: int
) -> None:
    """Whether an example, twelve of forty, or all are read at once."""
    monkeypatch.setattr(mapped, "_CHUNK", chunk)
    data = load(save(tmp_path / "mine", **arrays))
    np.savez(tmp_path / "mine.npz", **arrays)
    other = Npz().load(str(tmp_path / "mine.npz"), None)
    assert data.name == f"npy:{tmp_path / 'mine'}"
    assert (data.digest, data.domain, data.label_names) == (
        other.digest,
        other.domain,
        other.label_names,
    )
    for key in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(data, key), getattr(other, key))


def test_examples_are_mapped_plain_and_read_only(tmp_path: Path) -> None:
    data = load(save(tmp_path, **FLOATS))
    for array in (data.x_train, data.x_test):
        assert type(array) is np.ndarray
        assert isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_rows_are_read_by_themselves(tmp_path: Path) -> None:
    files = load(save(tmp_path, **FLOATS)).files
    assert files is not None
    for which in ([0], [39, 3, 3], list(range(40)), []):
        found = files.x_train.rows(np.array(which, np.int64))
        assert found.dtype == np.float32
        assert np.array_equal(found, FLOATS["x_train"][which])
    with (tmp_path / "x_train.npy").open("r+b") as file:  # what was not asked for is not read
        file.truncate(files.x_train.offset + 30 * 24)
    assert np.array_equal(files.x_train.rows(np.array([2, 29])), FLOATS["x_train"][[2, 29]])
    with pytest.raises(DataError, match="x_train was changed after it was opened"):
        files.x_train.rows(np.array([30]))


def test_other_examples_are_not_mapped(tmp_path: Path) -> None:
    """A poisoned version in memory is none of the files; poisoned labels leave them be."""
    data = load(save(tmp_path, **FLOATS))
    assert replace(data, name="other").digest == data.digest
    flipped = replace(data, y_train=2 - data.y_train)
    assert flipped.files is data.files
    x = data.x_train.copy()
    x[0] += 1
    poisoned = replace(data, x_train=x)
    assert poisoned.files is None
    assert len({data.digest, flipped.digest, poisoned.digest}) == 3


def test_another_process_maps_the_same_files(tmp_path: Path) -> None:
    rows = np.zeros((10_000, 6), np.float32)
    data = load(save(tmp_path, **FLOATS | {"x_train": rows, "y_train": np.arange(10_000) % 3}))
    sent = pickle.dumps(data)
    assert len(sent) < rows.nbytes / 2  # labels
    again = pickle.loads(sent)  # noqa: S301 - our own
    assert isinstance(again.x_train.base, np.memmap)
    assert again.files.hold(again.x_train, again.x_test)
    assert (again.digest, replace(again).digest) == (data.digest, data.digest)
    path = tmp_path / "x_train.npy"
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match=r"x_train is not what it is in the run \(.*x_train.npy"):
        pickle.loads(sent)  # noqa: S301
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"x_train is not to be had here .*must be shared"):
        pickle.loads(sent)  # noqa: S301
    path.unlink()
    with pytest.raises(DataError, match=r"No such file or directory.*must be shared"):
        pickle.loads(sent)  # noqa: S301


def cut(folder: Path) -> None:
    path = folder / "x_train.npy"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(folder: Path) -> None:
    with (folder / "x_test.npy").open("ab") as file:
        file.write(b"more")


def value(key: str, where: Any, new: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        array = np.load(folder / f"{key}.npy")
        array[where] = new
        np.save(folder / f"{key}.npy", array)

    return change


def array(key: str, content: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / f"{key}.npy", content, allow_pickle=True)


def content(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "y_test.npy").unlink(), "FOLDER has no y_test.npy; wanted are"),
        (array("x_train", np.ones((40, 6))), "x_train holds float64; wanted uint8 or float32"),
        (array("x_test", np.ones((8, 6), ">f4")), "x_test holds >f4; wanted uint8 or float32"),
        (array("x_test", np.array([None, 1])), "x_test holds pickled objects; wanted plain"),
        (array("y_test", np.array([None, 1])), "y_test holds pickled objects; wanted plain"),
        (
            array("x_train", np.asfortranarray(FLOATS["x_train"])),
            "x_train is in Fortran's order; wanted one example after another",
        ),
        (cut, "x_train is damaged (it has 1,087 bytes; wanted 1,088)"),
        (lengthen, "x_test is damaged (it has 324 bytes; wanted 320)"),
        (content("x_train.npy", b""), "x_train cannot be read ("),
        (content("x_train.npy", b"\x93NUMPY\x03\x00" + bytes(90)), "x_train is of .npy version"),
        (content("y_train.npy", b"\x93NUMPY\x01\x00"), "y_train is damaged ("),
        (array("x_train", FLOATS["x_train"][:39]), "x_train has 39 examples and y_train has 40"),
        (array("x_test", FLOATS["x_test"][:, :5]), "has shape (6,) in x_train and (5,) in x_test"),
        (array("x_test", np.ones((8, 6), np.uint8)), "x_train is float32 and x_test is uint8"),
        (array("x_train", np.ones((0, 6), np.float32)), "wanted (examples, ...), not empty"),
        (array("y_train", np.full(40, 0.5)), "y_train holds 0.5 in example 0; wanted whole"),
        (value("x_train", (37, 2), np.nan), "x_train holds nan in example 37; wanted finite"),
        (value("x_train", (0, 0), -np.inf), "x_train holds -inf in example 0; wanted finite"),
        (value("x_test", (7, 5), np.inf), "x_test holds inf in example 7; wanted finite"),
        (array("range", [-1, 1]), "the range is -1 to 1"),
        (array("label_set", [5, 6]), "y_train holds 7, a label not in label_set"),
        (array("n_public", 0), "n_public is 0; wanted a whole number"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    expected: str,
) -> None:
    monkeypatch.setattr(mapped, "_CHUNK", 100)  # values are found in whichever part they are
    folder = save(tmp_path / "mine", **FLOATS)
    load(folder)
    change(folder)
    assert expected in message(folder)


def test_a_header_that_promises_another_array_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, **FLOATS)
    path = folder / "x_train.npy"
    said = b"(40, 6), }" + b" " * 12
    for shape in ("(-40, -6)", "(40, 6e9)", "(10**30, 6)"):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(said, f"{shape}, }}".encode().ljust(22)))
        assert "x_train" in message(folder)
        path.write_bytes(whole)


def test_what_is_no_folder(tmp_path: Path) -> None:
    assert "FOLDER does not exist; wanted a folder with x_train.npy" in message(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "FOLDER is no folder; wanted" in message(tmp_path / "file")
    with pytest.raises(UsageError, match="npy:FOLDER"):
        Npy().load(None, None)


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, **FLOATS)
    files = load(folder).files
    assert files is not None
    chunks = files.x_train.chunks(-3, 3)
    next(chunks)
    os.utime(folder / "x_train.npy", (1, 1))
    with pytest.raises(DataError, match="x_train was changed after it was opened"):
        list(chunks)
    with pytest.raises(DataError, match="x_train was changed"):
        files.check_unchanged()
    (folder / "x_train.npy").unlink()
    with pytest.raises(DataError, match=r"x_train cannot be read any more .*No such file"):
        files.check_unchanged()
