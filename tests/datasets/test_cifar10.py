import hashlib
import io
import tarfile

import numpy as np
import pytest

from harness.datasets import cifar10
from harness.datasets.cifar10 import FOLDER, LABELS, TEST, TRAIN, Cifar10
from harness.errors import DataError

N = 3


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Three records a file, and no network."""

    def refuse(url, *_):
        raise OSError("no route to host")

    monkeypatch.setattr(cifar10, "RECORDS", N)
    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, N, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def files(images):
    """The six files of the official layout: a label, then red, green and blue row by row."""
    found = {}
    for i, name in enumerate(TRAIN + TEST):
        content = b""
        for j in range(N):
            content += bytes([(3 * i + j) % 10])
            for colour in range(3):
                content += images[i, j, :, :, colour].tobytes()
        found[name] = content
    return found


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def archive(path, files, monkeypatch):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (*files.items(), ("batches.meta.txt", b"airplane\n")):
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(path.read_bytes()).hexdigest())


def message(root):
    with pytest.raises(DataError) as error:
        Cifar10().load(None, root)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(root), "ROOT")


@pytest.mark.parametrize("place", [FOLDER, ".", "archive"])
def test_reads_images_with_colours_last(tmp_path, files, images, place, monkeypatch):
    if place == "archive":
        archive(tmp_path / cifar10.ARCHIVE, files, monkeypatch)
    else:
        put(tmp_path / place, files)
    data = Cifar10().load(None, tmp_path)
    assert data.x_train.dtype == np.uint8
    assert np.array_equal(data.x_train, images[:5].reshape(15, 32, 32, 3))
    assert np.array_equal(data.x_test, images[5])
    assert data.y_train.tolist() == [i % 10 for i in range(15)]
    assert data.y_test.tolist() == [5, 6, 7]
    assert data.label_names == LABELS
    assert data.domain.n_public == 50_000


def test_an_archive_that_was_changed(tmp_path, files, monkeypatch):
    path = tmp_path / cifar10.ARCHIVE
    archive(path, files, monkeypatch)
    path.write_bytes(path.read_bytes() + b"\0")
    assert message(tmp_path).startswith(f"ROOT/{cifar10.ARCHIVE} is not CIFAR-10's archive: its MD")


def test_the_published_archive_is_downloaded_once(tmp_path, files, monkeypatch):
    made, asked = tmp_path / "made.tar.gz", []
    archive(made, files, monkeypatch)

    def download(url, root, filename, md5):
        asked.append((url, md5))
        (tmp_path / "root" / filename).write_bytes(made.read_bytes())

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    first, second = (Cifar10().load(None, tmp_path / "root") for _ in range(2))
    assert first.digest == second.digest
    assert asked == [(cifar10.URL, cifar10.MD5)]
    assert [path.name for path in (tmp_path / "root").iterdir()] == [cifar10.ARCHIVE]


def test_without_a_network_it_says_what_to_put_where(tmp_path):
    assert message(tmp_path) == (
        "cifar10 is not in ROOT and could not be downloaded (no route to host); put "
        "cifar-10-binary.tar.gz or the folder cifar-10-batches-bin there, or name their place with "
        "--data-root"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_off(tmp_path, files):
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-1]
    put(tmp_path, files)
    assert message(tmp_path) == "ROOT: data_batch_2.bin holds 9,218 bytes; wanted 9,219 bytes"


def test_an_archive_that_lacks_a_file(tmp_path, files, monkeypatch):
    del files["test_batch.bin"]
    archive(tmp_path / cifar10.ARCHIVE, files, monkeypatch)
    assert message(tmp_path).endswith("test_batch.bin holds nothing; wanted 9,219 bytes")


def test_a_label_that_there_is_not(tmp_path, files):
    files["test_batch.bin"] = b"\x0a" + files["test_batch.bin"][1:]
    put(tmp_path, files)
    assert message(tmp_path) == "ROOT: test_batch.bin holds the label 10; wanted 0 to 9"
