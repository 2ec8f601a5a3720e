import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torchvision

from harness.datasets import fashion_mnist
from harness.datasets.fashion_mnist import FILES, FashionMnist
from harness.errors import DataError

REAL = os.environ.get("HARNESS_TEST_FASHION_MNIST")


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture(autouse=True)
def contents(monkeypatch):
    """Small files that pass for the published ones; and no network."""
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (20, 28, 28)), "y_train": np.arange(20) % 10}
    arrays |= {"x_test": arrays["x_train"][:10], "y_test": arrays["y_train"][:10]}
    made = {FILES[key][0]: idx(array) for key, array in arrays.items()}
    files = {key: (name, hashlib.md5(made[name]).hexdigest()) for key, (name, _) in FILES.items()}

    def refuse(self):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", refuse)
    if not REAL:
        monkeypatch.setattr(fashion_mnist, "FILES", files)
    return made


@pytest.mark.parametrize("folder", ["FashionMNIST/raw", ".", "fashion-mnist"])
@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.skipif(bool(REAL), reason="HARNESS_TEST_FASHION_MNIST names the real ones")
def test_compressed_in_whatever_way(tmp_path, contents, folder, level):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (tmp_path / folder / f"{name}.gz").write_bytes(gzip.compress(content, level))
    data = FashionMnist().load(None, tmp_path)
    assert data.name == "fashion-mnist"
    assert data.label_names[0] == "T-shirt/top"
    assert idx(data.x_train) == contents["train-images-idx3-ubyte"]
    assert data.domain.n_public == 60_000


@pytest.mark.skipif(bool(REAL), reason="HARNESS_TEST_FASHION_MNIST names the real ones")
def test_the_files_of_mnist_are_not_taken_for_it(tmp_path, contents):
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content + b"\0")
    with pytest.raises(DataError, match="train-images-idx3-ubyte is not Fashion-MNIST's file"):
        FashionMnist().load(None, tmp_path)


def test_without_a_network_it_says_which_files_to_put_where(tmp_path):
    with pytest.raises(DataError) as error:
        FashionMnist().load(None, tmp_path)
    assert str(error.value).startswith(
        f"fashion-mnist is not in {tmp_path} and could not be downloaded (no route to host); put "
    )


@pytest.mark.skipif(not REAL, reason="HARNESS_TEST_FASHION_MNIST names no folder of it")
def test_the_real_one():
    data = FashionMnist().load(None, Path(str(REAL)))
    assert data.x_train.shape == (60_000, 28, 28)
    assert np.bincount(data.y_train).tolist() == [6_000] * 10
    assert np.bincount(data.y_test).tolist() == [1_000] * 10
