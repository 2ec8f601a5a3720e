import hashlib
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest

from harness.datasets.base import Dataset, checked, load
from harness.errors import DataError, UsageError

GOOD = {
    "x_train": np.arange(12, dtype=np.uint8).reshape(4, 3),
    "y_train": np.array([5, 2, 5, 2]),
    "x_test": np.zeros((2, 3), np.uint8),
    "y_test": np.array([2, 5]),
}


class Named:
    """A source that remembers what it was asked for."""

    summary = ""

    def __init__(self, name, takes_argument):
        self.name = name
        self.takes_argument = takes_argument
        self.asked = None

    def load(self, argument, data_root):
        self.asked = (argument, data_root)
        return checked(self.name, **GOOD)


@pytest.fixture
def sources():
    return {"plain": Named("plain", False), "file": Named("file", True)}


def test_labels_become_positions_and_keep_their_names():
    dataset = checked("toy", **GOOD)
    assert dataset.y_train.tolist() == [1, 0, 1, 0]
    assert dataset.y_test.tolist() == [0, 1]
    assert dataset.label_names == ("2", "5")
    assert (dataset.n_train, dataset.n_test, dataset.n_labels) == (4, 2, 2)
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.uint8, np.uint8),
        (np.int16, np.float32),
        (np.float64, np.float32),
        (np.float32, np.float32),
        (bool, np.float32),
    ],
)
def test_types_of_examples(given, kept):
    arrays = GOOD | {key: GOOD[key].astype(given) for key in ("x_train", "x_test")}
    dataset = checked("toy", **arrays)
    assert dataset.x_train.dtype == dataset.x_test.dtype == kept
    assert np.array_equal(dataset.x_train, arrays["x_train"])


@pytest.mark.parametrize("labels", [np.float64, np.uint8, np.int32])
def test_whole_numbers_of_any_type_are_labels(labels):
    arrays = GOOD | {key: GOOD[key].astype(labels) for key in ("y_train", "y_test")}
    assert checked("toy", **arrays).digest == checked("toy", **GOOD).digest


def test_two_truth_values_are_labels():
    arrays = GOOD | {"y_train": GOOD["y_train"] == 5, "y_test": np.array([True, False])}
    assert checked("toy", **arrays).y_test.tolist() == [1, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"x_train": GOOD["x_train"][::-1]},
        {"y_train": np.array([2, 5, 5, 2])},
        {"y_test": np.array([5, 5])},
        {"y_train": np.array([6, 2, 6, 2]), "y_test": np.array([2, 6])},
        {key: GOOD[key].astype(np.float32) for key in ("x_train", "x_test")},
        {key: GOOD[key][..., None] for key in ("x_train", "x_test")},
    ],
    ids=["order", "training label", "test label", "name of a label", "type", "shape"],
)
def test_digest_changes_with_the_content(change):
    assert checked("toy", **(GOOD | change)).digest != checked("toy", **GOOD).digest


def test_digest_depends_on_the_content_alone():
    toy = checked("toy", **GOOD)
    strided = np.asfortranarray(toy.x_train)
    assert replace(toy, name="another name", x_train=strided).digest == toy.digest


def test_digest_stays_what_it_is():
    """What is stored with runs must be found again by later versions."""
    sha = hashlib.sha256(b"|u1(4, 3)" + bytes(range(12)))
    sha.update(b"<i8(4,)" + struct.pack("<4q", 1, 0, 1, 0))
    sha.update(b"|u1(2, 3)" + bytes(6))
    sha.update(b"<i8(2,)" + struct.pack("<2q", 0, 1))
    sha.update(b"2\x005")
    assert checked("toy", **GOOD).digest == sha.hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x_train": np.zeros(4)},
            "toy: x_train has shape (4,); wanted (examples, ...), not empty",
        ),
        (
            {"x_test": np.zeros((0, 3))},
            "toy: x_test has shape (0, 3); wanted (examples, ...), not empty",
        ),
        (
            {"y_train": np.zeros((4, 1))},
            "toy: y_train has shape (4, 1); wanted (examples,), not empty",
        ),
        ({"y_test": np.zeros(())}, "toy: y_test has shape (); wanted (examples,), not empty"),
        ({"y_test": np.zeros(0)}, "toy: y_test has shape (0,); wanted (examples,), not empty"),
        ({"y_train": np.arange(3)}, "toy: x_train has 4 examples and y_train has 3 labels"),
        ({"y_test": np.arange(3)}, "toy: x_test has 2 examples and y_test has 3 labels"),
        (
            {"x_test": np.zeros((2, 4), np.uint8)},
            "toy: an example has shape (3,) in x_train and (4,) in x_test",
        ),
        (
            {"x_test": np.zeros((2, 3))},
            "toy: x_train is uint8 and x_test is float64; wanted one type",
        ),
        (
            {"x_train": np.array([[1, 2, 3], [4, 5, np.nan], [0, 0, 0], [0, 0, 0]])},
            "toy: x_train holds nan in example 1; wanted finite numbers up to 3.4e+38",
        ),
        (
            {"x_test": np.array([[1, -np.inf, 0], [0, 0, 0]])},
            "toy: x_test holds -inf in example 0; wanted finite numbers up to 3.4e+38",
        ),
        (
            {"x_test": np.array([[0, 0, 0], [1e39, 0, 0]])},
            "toy: x_test holds 1e+39 in example 1; wanted finite numbers up to 3.4e+38",
        ),
        (
            {"x_train": np.full((4, 3), "a")},
            "toy: x_train holds <U1; wanted uint8 or real numbers",
        ),
        (
            {"x_train": np.zeros((4, 3), complex)},
            "toy: x_train holds complex128; wanted uint8 or real numbers",
        ),
        (
            {"y_train": np.array([1, 2, np.nan, 1])},
            "toy: y_train holds nan in example 2; wanted whole numbers up to 2^53",
        ),
        (
            {"y_test": np.array([2, 2.5])},
            "toy: y_test holds 2.5 in example 1; wanted whole numbers up to 2^53",
        ),
        (
            {"y_train": np.array([0, 2**63, 0, 1], np.uint64)},
            "toy: y_train holds 9223372036854775808 in example 1; wanted whole numbers up to 2^53",
        ),
        (
            {"y_train": np.array(["one", "two", "one", "two"])},
            "toy: y_train holds <U3; wanted whole numbers",
        ),
        (
            {"y_train": np.full(4, 5), "y_test": np.full(2, 5)},
            "toy: one label only (5); wanted two or more in y_train and y_test, or a label_set",
        ),
    ],
)
def test_bad_arrays_are_refused_in_one_line(change, message):
    with pytest.raises(DataError) as error:
        checked("toy", **(GOOD | change))
    assert str(error.value) == message


def test_load_finds_a_source_by_its_name(sources, tmp_path):
    assert isinstance(load("plain", sources, tmp_path), Dataset)
    assert sources["plain"].asked == (None, tmp_path)


def test_load_passes_everything_after_the_first_colon(sources):
    load("file:C:/a:b.npz", sources, None)
    assert sources["file"].asked == ("C:/a:b.npz", None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("plan", "unknown dataset 'plan'; did you mean plain? Allowed: file, plain"),
        ("", "unknown dataset ''; Allowed: file, plain"),
        (":x", "unknown dataset ''; Allowed: file, plain"),
        ("file", "dataset 'file' lacks its argument; allowed: file:ARGUMENT"),
        ("file:", "dataset 'file:' lacks its argument; allowed: file:ARGUMENT"),
        ("plain:x", "dataset 'plain:x': plain takes no argument; allowed: plain"),
        ("plain:", "dataset 'plain:': plain takes no argument; allowed: plain"),
    ],
)
def test_load_refuses_in_one_line(sources, spec, message):
    with pytest.raises(UsageError) as error:
        load(spec, sources, None)
    assert str(error.value) == message


def test_another_process_cannot_change_it_either(tiny):
    sent = pickle.loads(pickle.dumps(tiny))  # noqa: S301 - our own
    assert sent.digest == tiny.digest
    for key in ("x_train", "y_train", "x_test", "y_test"):
        assert not getattr(sent, key).flags.writeable
