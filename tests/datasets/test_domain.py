"""What is declared of a data set, and what of it no example can change."""

from dataclasses import replace

import numpy as np
import pytest

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.mnist17 import Mnist17
from harness.datasets.npz import Npz
from harness.errors import DataError
from harness.results.cells import shape_of

GOOD = {
    "x_train": np.arange(12, dtype=np.uint8).reshape(4, 3),
    "y_train": np.array([5, 2, 5, 2]),
    "x_test": np.zeros((2, 3), np.uint8),
    "y_test": np.array([2, 5]),
}
FLOATS = GOOD | {key: GOOD[key].astype(np.float64) for key in ("x_train", "x_test")}


def test_without_a_declaration_it_is_what_is_there_and_all_that_the_type_holds():
    domain = checked("toy", **(GOOD | {"y_test": np.array([2, 9])})).domain
    assert domain.label_names == ("2", "5", "9")
    assert (domain.example, domain.dtype) == ((3,), "uint8")
    assert (domain.lowest, domain.highest, domain.n_public) == (0, 255, 4)
    assert domain.assumed == ("label_set", "range", "n_public")
    assert str(domain) == "3 values of uint8 from 0 to 255, 3 labels (2, 5, 9)"


@pytest.mark.parametrize(
    ("dtype", "limits"),
    [
        (np.float64, (-np.finfo(np.float32).max, np.finfo(np.float32).max)),
        (np.float16, (-np.finfo(np.float32).max, np.finfo(np.float32).max)),
        (np.int16, (-32768, 32767)),
        (bool, (0, 1)),
    ],
)
def test_the_range_of_a_type(dtype, limits):
    arrays = GOOD | {key: (GOOD[key] > 0).astype(dtype) for key in ("x_train", "x_test")}
    domain = checked("toy", **arrays).domain
    assert (domain.lowest, domain.highest) == limits
    assert domain.dtype == "float32"


def test_labels_are_coded_by_the_declared_set():
    declared = Declaration(label_set=[9, 5, 2, 1])
    dataset = checked("toy", **GOOD, declared=declared)
    assert dataset.label_names == ("1", "2", "5", "9")
    assert dataset.y_train.tolist() == [2, 1, 2, 1]
    alone = checked("toy", **(GOOD | {"y_train": np.full(4, 5)}), declared=declared)
    assert (alone.n_labels, alone.y_train.tolist()) == (4, [2, 2, 2, 2])


def test_everything_declared_is_kept_and_nothing_is_assumed():
    declared = Declaration(label_set=[2, 5], value_range=[0, 20], n_public=7)
    domain = checked("toy", **GOOD, declared=declared).domain
    assert (domain.lowest, domain.highest, domain.n_public, domain.assumed) == (0, 20, 7, ())
    assert Mnist17().load(None, None).domain.assumed == ()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"label_set": [2, 7]}, "toy: y_train holds 5, a label not in label_set"),
        ({"label_set": [2.5, 5]}, "toy: label_set holds 2.5 in example 0; wanted whole numbers up"),
        ({"label_set": [5, 5]}, "toy: one label only (5); wanted two or more in y_train"),
        ({"value_range": [0, 10]}, "toy: x_train holds 11.0 in example 3; the range is 0 to 10"),
        ({"value_range": [1, 0]}, "toy: range is 1 to 0; wanted finite, rising"),
        ({"value_range": [0, np.inf]}, "toy: range is 0.0 to inf; wanted finite, rising"),
        ({"value_range": [0]}, "toy: range must be two numbers, the lowest and the highest value"),
        ({"value_range": ["a", "b"]}, "toy: range must be two numbers, the lowest and the"),
        ({"n_public": 0}, "toy: n_public is 0; wanted a whole number of at least 1"),
        ({"n_public": 2.5}, "toy: n_public is 2.5; wanted a whole number of at least 1"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_in_one_line(declared, message):
    with pytest.raises(DataError) as error:
        checked("toy", **FLOATS, declared=Declaration(**declared))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_range_that_the_type_does_not_have():
    with pytest.raises(DataError, match="range is -1 to 5, and uint8 holds 0 to 255"):
        checked("toy", **GOOD, declared=Declaration(value_range=[-1, 5]))


def test_an_npz_declares_its_domain(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **GOOD, label_set=np.arange(10), range=np.array([0, 100]), n_public=np.array(5))
    dataset = Npz().load(str(path), None)
    assert dataset.n_labels == 10
    assert (dataset.domain.highest, dataset.domain.n_public) == (100, 5)
    assert dataset.domain.assumed == ()


def test_the_digest_tells_domains_apart_and_not_who_declared_them():
    plain = checked("toy", **GOOD)
    same = Declaration(label_set=[2, 5], value_range=[0, 255], n_public=4)
    assert checked("toy", **GOOD, declared=same).digest == plain.digest
    others = [
        Declaration(label_set=[2, 5, 6]),
        Declaration(value_range=[0, 254]),
        Declaration(n_public=5),
    ]
    digests = {checked("toy", **GOOD, declared=other).digest for other in others}
    assert len(digests | {plain.digest}) == 4


def test_a_poisoned_version_keeps_the_domain():
    clean = checked("toy", **GOOD)
    poisoned = replace(clean, x_train=clean.x_train[:1], y_train=clean.y_train[:1])
    assert poisoned.domain == clean.domain
    assert (shape_of(poisoned).n_train, shape_of(poisoned).n_public) == (1, 4)
    assert poisoned.n_labels == 2


def test_label_names_are_those_of_the_domain():
    clean = checked("toy", **GOOD)
    with pytest.raises(ValueError, match="label_names must be those of the domain"):
        Dataset(
            "toy",
            clean.x_train,
            clean.y_train,
            clean.x_test,
            clean.y_test,
            label_names=("a", "b"),
            domain=clean.domain,
        )
