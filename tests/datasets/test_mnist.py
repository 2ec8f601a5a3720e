import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision

from harness.datasets import idx, mnist
from harness.datasets.downloads import default_data_root
from harness.datasets.mnist import Mnist
from harness.errors import DataError

NAMES = [name for name, _ in idx.FILES.values()]
REAL = os.environ.get("HARNESS_TEST_MNIST")


def encode(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, idx.UBYTE, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny(monkeypatch) -> dict[str, bytes]:
    """Four small files by their names, which pass for the canonical ones."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (30, 28, 28)),
        "y_train": np.arange(30) % 10,
        "x_test": rng.integers(0, 256, (20, 28, 28)),
        "y_test": np.arange(20) % 10,
    }
    contents = {idx.FILES[key][0]: encode(array) for key, array in arrays.items()}
    files = {
        key: (name, hashlib.md5(contents[name]).hexdigest()) for key, (name, _) in idx.FILES.items()
    }
    for module in (idx, mnist):
        monkeypatch.setattr(module, "FILES", files)
    return contents


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing here may reach a network; a test that downloads says what it gets."""

    def refuse(self, *_):
        raise RuntimeError("Error downloading train-images:\nTried it, got:\nno route to host\n")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)


def put(folder: Path, contents: dict[str, bytes], zipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def message(root: Path) -> str:
    with pytest.raises(DataError) as error:
        Mnist().load(None, root)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(root), "ROOT")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("folder", ["MNIST/raw", "."])
def test_reads_the_files_of_a_data_root(tmp_path, tiny, folder, zipped):
    put(tmp_path / folder, tiny, zipped)
    dataset = Mnist().load(None, tmp_path)
    assert dataset.name == "mnist"
    assert dataset.label_names == tuple("0123456789")
    assert dataset.x_train.dtype == np.uint8
    assert encode(dataset.x_train) == tiny["train-images-idx3-ubyte"]
    assert encode(dataset.y_test) == tiny["t10k-labels-idx1-ubyte"]


def test_downloads_what_is_missing_and_only_then(tmp_path, tiny, monkeypatch):
    calls = []

    def download(self):
        calls.append(self.raw_folder)
        put(Path(self.raw_folder), tiny, zipped=False)

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    first = Mnist().load(None, tmp_path / "new" / "root")
    second = Mnist().load(None, tmp_path / "new" / "root")
    assert first.digest == second.digest
    assert len(calls) == 1
    assert sorted(p.name for p in (tmp_path / "new" / "root").iterdir()) == ["MNIST"]
    assert sorted(p.name for p in (tmp_path / "new/root/MNIST/raw").iterdir()) == sorted(NAMES)


def test_without_a_network_it_says_which_files_to_put_where(tmp_path):
    files = ", ".join(f"{name}.gz" for name in NAMES)
    assert message(tmp_path) == (
        "mnist is not in ROOT and could not be downloaded (no route to host); "
        f"put {files} into ROOT/MNIST/raw or name their folder with --data-root"
    )


def test_a_part_of_the_files_is_not_enough(tmp_path, tiny):
    del tiny["t10k-labels-idx1-ubyte"]
    put(tmp_path, tiny, zipped=True)
    assert message(tmp_path).startswith("mnist is not in ROOT and could not be downloaded")


def test_a_data_root_that_is_a_file(tmp_path):
    (tmp_path / "root").write_text("")
    assert message(tmp_path / "root").startswith("mnist is not in ROOT and could not be downloaded")


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    def download(self):
        put(Path(self.raw_folder), {NAMES[0]: b"half"}, zipped=False)
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    assert "(reset by peer)" in message(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("folder", ["MNIST/processed", "processed"])
def test_old_pickles_are_not_loaded(tmp_path, tiny, monkeypatch, folder):
    def trap(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr("torch.load", trap)
    (tmp_path / folder).mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        (tmp_path / folder / name).write_bytes(b"pickle")
    assert "no route to host" in message(tmp_path)
    put(tmp_path / "MNIST/raw", tiny, zipped=True)
    assert Mnist().load(None, tmp_path).n_train == 30


def test_a_file_that_is_not_mnists(tmp_path, tiny):
    tiny["train-labels-idx1-ubyte"] = encode(np.ones(30))
    put(tmp_path, tiny, zipped=True)
    expected = "ROOT/train-labels-idx1-ubyte.gz is not MNIST's file: the MD5 of its uncompressed"
    assert message(tmp_path).startswith(expected)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"\0" + b, lambda _: b""])
def test_a_damaged_gzip_file(tmp_path, tiny, damage):
    put(tmp_path, tiny, zipped=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert "ROOT/t10k-images-idx3-ubyte.gz " in message(tmp_path)


@pytest.mark.parametrize("array", [np.arange(7), np.arange(12).reshape(3, 4), np.zeros((0, 2, 2))])
def test_idx_keeps_shape_and_values(array):
    read = idx.decode(encode(array), Path("x"))
    assert read.shape == array.shape
    assert np.array_equal(read, array)
    assert read.flags.writeable


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x is not an IDX file of bytes"),
        (b"\0\0\x08", "x is not an IDX file of bytes"),
        (b"\0\0\x08\0", "x is not an IDX file of bytes"),
        (b"\0\0\x0d\x01\0\0\0\0", "x is not an IDX file of bytes"),
        (b"\0\0\x08\x01\0\0\0", "x is not an IDX file of bytes"),
        (b"\0\0\x08\x01\0\0\0\x03ab", "x promises shape (3,) and holds 2 values"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"ab", "x promises shape (4294967295, 4294967295, 429"),
    ],
)
def test_idx_refuses_other_bytes(content, expected):
    with pytest.raises(DataError) as error:
        idx.decode(content, Path("x"))
    assert str(error.value).startswith(expected)


def test_default_data_root_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_data_root() == tmp_path / "poisoning-harness"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert default_data_root() == tmp_path / "home" / ".cache" / "poisoning-harness"


def test_the_default_is_used_without_a_data_root(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    put(tmp_path / "poisoning-harness/MNIST/raw", tiny, zipped=True)
    assert Mnist().load(None, None).n_train == 30


@pytest.mark.skipif(not REAL, reason="HARNESS_TEST_MNIST names no folder of MNIST")
def test_the_real_one():
    dataset = Mnist().load(None, Path(REAL))
    assert dataset.x_train.shape == (60_000, 28, 28)
    assert dataset.x_test.shape == (10_000, 28, 28)
    assert np.bincount(dataset.y_train)[:3].tolist() == [5_923, 6_742, 5_958]
    assert np.bincount(dataset.y_test)[:3].tolist() == [980, 1_135, 1_032]
