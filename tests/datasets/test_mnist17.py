import hashlib
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from harness.datasets import build_mnist17, mnist17
from harness.datasets.idx import FILES, read_canonical
from harness.errors import DataError

REAL = os.environ.get("HARNESS_TEST_MNIST")
needs_mnist = pytest.mark.skipif(not REAL, reason="HARNESS_TEST_MNIST names no folder of MNIST")


@pytest.fixture(scope="module")
def embedded():
    return mnist17.Mnist17().load(None, None)


def test_sizes_are_those_of_the_paper(embedded):
    assert embedded.x_train.shape == (13_007, 28, 28)
    assert embedded.x_test.shape == (2_163, 28, 28)
    assert embedded.x_train.dtype == embedded.x_test.dtype == np.uint8
    assert embedded.label_names == ("1", "7")


def test_counts_of_both_digits_are_mnists(embedded):
    assert np.bincount(embedded.y_train).tolist() == [6_742, 6_265]
    assert np.bincount(embedded.y_test).tolist() == [1_135, 1_028]


def test_images_have_their_labels(embedded):
    """A seven has a bar on top: its upper rows are inked more widely than a one's."""
    top = (embedded.x_train[:, 6:11] > 127).any(axis=1).sum(axis=1)
    ones, sevens = (np.median(top[embedded.y_train == label]) for label in (0, 1))
    assert ones < 6 < 10 < sevens


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    package = resources.files("harness.datasets.data")
    with (package / mnist17.FILE).open("rb") as file, np.load(file) as arrays:
        changed = {key: arrays[key].copy() for key in arrays}
    changed["x_test"][5, 14, 14] ^= 1
    np.savez(tmp_path / mnist17.FILE, **changed)
    monkeypatch.setattr(mnist17.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"mnist17\.npz was changed: SHA-256 \w{64}, not 9c85dd72"):
        mnist17.Mnist17().load(None, None)


def test_a_lost_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist17.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"mnist17\.npz is missing; install the harness again"):
        mnist17.Mnist17().load(None, None)


def test_only_keeps_the_order():
    arrays = {
        "x_train": np.arange(5)[:, None],
        "y_train": np.array([7, 0, 1, 7, 9]),
        "x_test": np.arange(2)[:, None],
        "y_test": np.array([3, 1]),
    }
    kept = build_mnist17.only((1, 7), arrays)
    assert kept["x_train"][:, 0].tolist() == [0, 2, 3]
    assert kept["y_train"].tolist() == [7, 1, 7]
    assert kept["x_test"][:, 0].tolist() == [1]


def test_written_bytes_depend_on_the_arrays_alone(tmp_path, monkeypatch):
    arrays = {"a": np.arange(1000), "b": np.zeros((3, 2), np.uint8)}
    build_mnist17.write_npz(tmp_path / "first.npz", arrays)
    monkeypatch.setenv("TZ", "Pacific/Apia")
    monkeypatch.setattr("time.time", lambda: 1e9)
    build_mnist17.write_npz(tmp_path / "second.npz", arrays)
    first, second = ((tmp_path / f"{name}.npz").read_bytes() for name in ("first", "second"))
    assert first == second
    assert len(first) < arrays["a"].nbytes
    with np.load(tmp_path / "first.npz") as read:
        assert np.array_equal(read["a"], arrays["a"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first.npz", "second.npz"]


def test_a_folder_without_the_files_is_one_line(tmp_path, capsys):
    code = build_mnist17.main(["--source", str(tmp_path), "--output", str(tmp_path / "out.npz")])
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"build_mnist17: {tmp_path} does not hold all of train-images-idx3")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()


def test_another_file_is_refused(tmp_path, capsys):
    for name, _ in FILES.values():
        (tmp_path / name).write_bytes(b"\0\0\x08\x01\0\0\0\x01\x07")
    code = build_mnist17.main(["--source", str(tmp_path), "--output", str(tmp_path / "out.npz")])
    assert code == 2
    assert "train-images-idx3-ubyte is not MNIST's file: the MD5" in capsys.readouterr().err


@needs_mnist
def test_the_embedded_file_is_what_the_script_builds(tmp_path, embedded, capsys):
    code = build_mnist17.main(["--source", REAL, "--output", str(tmp_path / mnist17.FILE)])
    assert code == 0
    assert "13007 training, 2163 test" in capsys.readouterr().out
    shipped = Path(str(resources.files("harness.datasets.data") / mnist17.FILE))
    built = tmp_path / mnist17.FILE
    with np.load(built) as new, np.load(shipped) as old:
        assert new.files == old.files
        assert all(np.array_equal(new[key], old[key]) for key in new)


@needs_mnist
def test_the_embedded_images_are_mnists(embedded):
    arrays = read_canonical({key: Path(REAL) / f"{name}.gz" for key, (name, _) in FILES.items()})
    ones_and_sevens = [i for i, digit in enumerate(arrays["y_train"]) if digit in (1, 7)]
    assert hashlib.sha256(arrays["x_train"][ones_and_sevens].tobytes()).digest() == (
        hashlib.sha256(embedded.x_train.tobytes()).digest()
    )
