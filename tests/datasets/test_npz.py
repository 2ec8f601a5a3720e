import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.datasets.npz import Npz
from harness.errors import DataError, UsageError

GOOD = {
    "x_train": np.random.default_rng(0).integers(0, 256, (40, 5, 5), np.uint8),
    "y_train": np.arange(40) % 3,
    "x_test": np.random.default_rng(1).integers(0, 256, (8, 5, 5), np.uint8),
    "y_test": np.arange(8) % 3,
}
WANTED = "wanted are x_train, y_train, x_test, y_test"


def save(path: Path, **change) -> Path:
    np.savez_compressed(path, **(GOOD | change))
    return path


def message(path: Path) -> str:
    with pytest.raises(DataError) as error:
        Npz().load(str(path), None)
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text.replace(str(path), "FILE")


def raw_member(array) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def rewrite(path: Path, key: str, content: bytes) -> Path:
    """A well-formed archive in which the member of that array has other bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in GOOD.items():
            archive.writestr(f"{name}.npy", content if name == key else raw_member(array))
    return path


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_reads_the_four_arrays(tmp_path, writer):
    path = tmp_path / "mine.npz"
    writer(path, **GOOD, something_else=np.array(["ignored"]))
    dataset = Npz().load(str(path), None)
    assert dataset.name == f"npz:{path}"
    assert np.array_equal(dataset.x_train, GOOD["x_train"])
    assert np.array_equal(dataset.y_test, GOOD["y_test"])
    assert dataset.label_names == ("0", "1", "2")


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(tmp_path / "mine.npz")
    assert Npz().load("~/mine.npz", None).n_train == 40


def test_a_path_is_needed():
    with pytest.raises(UsageError, match=r"^dataset npz needs a path: npz:PATH$"):
        Npz().load(None, None)


def test_missing_file(tmp_path):
    assert message(tmp_path / "none.npz") == "FILE does not exist; wanted a .npz file"


def test_home_of_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message(Path("~no-such-user/x.npz")) == "FILE does not exist; wanted a .npz file"


def test_folder(tmp_path):
    assert message(tmp_path) == "FILE is a folder; wanted a .npz file"


def test_unreadable(tmp_path, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    path = save(tmp_path / "mine.npz")
    monkeypatch.setattr(Path, "open", refuse)
    assert message(path) == "FILE cannot be read: Permission denied"


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"not a zip archive" * 100, raw_member(GOOD["x_train"]), pickle.dumps(GOOD)],
    ids=["empty", "one byte", "text", "npy", "pickle"],
)
def test_not_an_archive(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    assert message(path) == "npz:FILE is not a .npz file, or is truncated"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, share):
    path = save(tmp_path / "mine.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert message(path) == "npz:FILE is not a .npz file, or is truncated"


def test_an_archive_without_arrays(tmp_path):
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert message(path) == (
        f"npz:FILE has no x_train, y_train, x_test, y_test; it holds no arrays and {WANTED}"
    )


def test_foreign_arrays(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=GOOD["x_train"], votes=np.zeros(3), x_test=GOOD["x_test"])
    assert message(path) == (
        f"npz:FILE has no y_train, y_test; it holds x_train, votes, x_test and {WANTED}"
    )


def test_objects_are_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    path = save(tmp_path / "mine.npz", y_train=np.array([Trap()] * 40, dtype=object))
    assert message(path) == "npz:FILE: y_train holds pickled objects; wanted plain numbers"
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", list(GOOD))
def test_a_flipped_bit_is_noticed(tmp_path, writer, key):
    path = tmp_path / "mine.npz"
    writer(path, **GOOD)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{key}.npy")
        following = [i.header_offset for i in archive.infolist()] + [archive.start_dir]
    end = min(offset for offset in following if offset > member.header_offset)
    content = bytearray(path.read_bytes())
    content[end - 12] ^= 1
    path.write_bytes(content)
    assert message(path).startswith(f"npz:FILE: {key} is damaged (")


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    path = save(tmp_path / "mine.npz")
    content, clean = path.read_bytes(), Npz().load(str(path), None).digest
    harmless = 0
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        with contextlib.suppress(DataError):
            assert Npz().load(str(path), None).digest == clean, place
            harmless += 1
    assert harmless < len(content) / 7 / 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EOF"),
        (b"\x93NUMPY\x01", "EOF"),
        (b"no array at all", "magic string"),
        (raw_member(GOOD["y_train"])[:-1], "cannot reshape|EOF|expected"),
        (raw_member(GOOD["y_train"]) + b"more", "bytes follow the array"),
        (raw_member(GOOD["y_train"]).replace(b"(40,)", b"(-4,)"), "negative|invalid|shape"),
        (raw_member(GOOD["y_train"]).replace(b"'<i8'", b"'<q9'"), "descr"),
        (raw_member(GOOD["y_train"]).replace(b"(40,)", b"(40 ("), "EOF in multi-line|header"),
        (b"\x93NUMPY\x01\0\xff\xff" + b" " * 65535, "Header info length"),
    ],
    ids=["empty", "cut", "foreign", "short", "long", "negative", "type", "syntax", "long header"],
)
def test_a_broken_array_in_a_whole_archive(tmp_path, content, reason):
    text = message(rewrite(tmp_path / "mine.npz", "y_train", content))
    assert text.startswith("npz:FILE: y_train is damaged (")
    assert any(word in text for word in reason.split("|")), text


@pytest.mark.parametrize("shape", [(2**50,), (10, 2**60), (2**70,)])
def test_a_header_that_promises_more_than_there_is_room_for(tmp_path, shape):
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    text = message(rewrite(tmp_path / "mine.npz", "x_test", stream.getvalue() + b"few"))
    assert text.startswith("npz:FILE: x_test is damaged (")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"x_train": np.full((40, 5, 5), np.nan)}, "x_train holds nan in example 0; wanted finite"),
        ({"y_train": np.where(np.arange(40) == 7, np.nan, 1)}, "y_train holds nan in example 7"),
        ({"x_train": GOOD["x_train"][0, 0]}, "x_train has shape (5,); wanted (examples, ...)"),
        ({"y_train": GOOD["y_train"][:-1]}, "x_train has 40 examples and y_train has 39 labels"),
        ({"x_test": GOOD["x_test"][:, :4]}, "an example has shape (5, 5) in x_train and (4, 5)"),
        ({"y_train": np.zeros(40), "y_test": np.zeros(8)}, "one label only (0); wanted"),
    ],
    ids=["NaN", "NaN label", "shape", "lengths", "shapes", "one class"],
)
def test_arrays_are_checked(tmp_path, change, expected):
    assert message(save(tmp_path / "mine.npz", **change)).startswith(f"npz:FILE: {expected}")
