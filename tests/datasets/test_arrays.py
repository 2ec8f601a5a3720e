"""A data set of arrays in memory: what fits, what is refused, and that nothing follows a value."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.npz import Npz
from harness.errors import DataError, HarnessError, UsageError

X = np.random.default_rng(0).integers(0, 256, (6, 5, 7), np.uint8)
Y = np.array([2, 7, 2, 7, 5, 5])
ARRAYS: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}
WORDS = np.array(["dog", "cat", "dog", "cat", "eel", "eel"])


def made(**changes: Any) -> Dataset:
    return Dataset.from_arrays(**(ARRAYS | changes))


def refused(kind: type[HarnessError] = DataError, **changes: Any) -> str:
    with pytest.raises(kind) as error:
        made(**changes)
    text = str(error.value)
    assert "\n" not in text
    return text


def both(convert: Any) -> dict[str, Any]:
    return {key: convert(ARRAYS[key]) for key in ("x_train", "x_test")}


# The same data have the same digest


@pytest.mark.parametrize("declared", [{}, {"label_set": [7, 5, 2], "range": [0, 255]}])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64, np.float32, bool])
def test_the_digest_is_that_of_the_same_data_in_a_file(
    tmp_path: Path, dtype: type, declared: dict[str, Any]
) -> None:
    if dtype is bool:
        declared = {key: value for key, value in declared.items() if key != "range"}
    arrays = ARRAYS | both(lambda x: x.astype(dtype)) | declared
    np.savez(tmp_path / "mine.npz", **arrays)
    from_file = Npz().load(str(tmp_path / "mine.npz"), None)
    found = Dataset.from_arrays(**arrays)
    assert found.digest == from_file.digest
    assert found.domain == from_file.domain


def test_a_declared_size_is_kept() -> None:
    assert made(n_public=9).domain.n_public == 9
    assert made(n_public=9).domain.assumed == ("label_set", "range")
    assert made(n_public=9).digest != made().digest


LIKE_FLOATS = made(**both(lambda x: x.astype(np.float64)))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.tolist(),
        lambda x: tuple(x.tolist()),
        lambda x: torch.tensor(x).double().requires_grad_(),
        lambda x: [torch.tensor(one).double() for one in x],
        lambda x: [one.astype(np.float64) for one in x],
        lambda x: torch.tensor(x).double().flip(0).flip(0),
        lambda x: torch.tensor(x).bfloat16().double(),
    ],
    ids=["list", "tuple", "gradients", "tensors", "arrays", "views", "rounded"],
)
def test_whatever_holds_the_same_numbers(convert: Any) -> None:
    assert made(**both(convert)).digest == LIKE_FLOATS.digest


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_tensors_of_any_precision_become_float32(kind: torch.dtype) -> None:
    found = made(**both(lambda x: torch.tensor(x).to(kind)))
    assert found.x_train.dtype == np.float32
    assert np.array_equal(found.x_train, X)  # a byte has no more digits than bfloat16 holds
    assert found.domain.highest == np.finfo(np.float32).max


def test_bytes_in_tensors_stay_bytes() -> None:
    assert made(**both(torch.tensor)).digest == made().digest


def test_what_is_kept_is_a_copy() -> None:
    x = X.copy()
    tensor = torch.tensor(X).float()
    for given, poison in ((x, x), (tensor, tensor.numpy()), (X.astype(np.float32),) * 2):
        found = made(x_train=given, x_test=given[:2])
        before = found.x_train.copy()
        poison[:] = 0
        assert np.array_equal(found.x_train, before)


@pytest.mark.parametrize("name", ["arrays", "my data", "a:b"])
def test_the_name_is_not_part_of_the_digest(name: str) -> None:
    assert made(name=name).name == name
    assert made(name=name).digest == made().digest


# Tables


def table(x: np.ndarray[Any, Any], **kinds: Any) -> pd.DataFrame:
    return pd.DataFrame(x[:, 0], columns=list("abcdefg")).astype(kinds)


@pytest.mark.parametrize("kinds", [{}, {"a": "float64", "b": "Int64", "c": "Float32"}])
def test_tables_of_numbers(kinds: dict[str, str]) -> None:
    frames = both(lambda x: table(x, **kinds))
    labels = pd.Series(Y, index=list("uvwxyz"))
    found = made(**frames, y_train=labels, y_test=labels[:2])
    wanted = both(lambda x: x[:, 0] if not kinds else x[:, 0].astype(np.float64))
    assert found.digest == made(**wanted).digest


def test_a_value_of_a_table_or_list_decides_no_type() -> None:
    """pandas reads a column of whole numbers as such until one is not."""
    whole = [[1, 2], [3, 4]] * 3
    for x in (whole, pd.DataFrame(whole)):
        domain = made(x_train=x, x_test=x[:2]).domain
        assert (domain.dtype, domain.highest) == ("float32", np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": "str"}, "arrays: x_train, column 'a' holds str; wanted numbers"),
        ({"b": "object"}, "arrays: x_train, column 'b' holds object; wanted numbers"),
        ({"c": "complex128"}, "arrays: x_train, column 'c' holds complex128; wanted numbers"),
        ({"d": "datetime64[ns]"}, "column 'd' holds datetime64[ns]; wanted numbers"),
        ({"e": "category"}, "arrays: x_train, column 'e' holds category; wanted numbers"),
    ],
)
def test_columns_that_are_no_numbers(change: dict[str, str], message: str) -> None:
    assert message in refused(x_train=table(X, **change), x_test=table(X[:2]))


def test_missing_values_and_other_columns() -> None:
    gap = table(X, a="Int64")
    gap.loc[3, "a"] = pd.NA
    assert "x_train holds nan in example 3; wanted finite" in refused(
        x_train=gap, x_test=table(X[:2])
    )
    other = table(X[:2])[list("bacdefg")]
    assert refused(x_train=table(X), x_test=other) == (
        "arrays: column 'a' of x_train is 'b' in x_test"
    )
    assert "y_train is a table; wanted one of its columns" in refused(y_train=table(X))


# Labels


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.tolist(),
        lambda y: y.astype(np.float64),
        torch.tensor,
        lambda y: list(torch.tensor(y)),
        list,
        lambda y: y.astype(object),
        lambda y: pd.Series(y, dtype="Int64"),
    ],
)
def test_whole_numbers_however_they_come(convert: Any) -> None:
    assert made(y_train=convert(Y), y_test=convert(Y[:2])).digest == made().digest


def test_truth_values_are_labels() -> None:
    found = made(y_train=Y > 2, y_test=[True, False])
    assert found.label_names == ("0", "1")
    assert found.y_test.tolist() == [1, 0]


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y,
        lambda y: y.astype(object),
        lambda y: y.tolist(),
        list,
        pd.Series,
        lambda y: pd.Series(y, dtype="category"),
    ],
    ids=["U", "object", "list", "scalars", "series", "category"],
)
def test_strings_are_coded_in_their_order(convert: Any) -> None:
    found = made(y_train=convert(WORDS), y_test=convert(WORDS[:2]))
    assert found.label_names == ("cat", "dog", "eel")
    assert found.y_train.tolist() == [1, 0, 1, 0, 2, 2]
    assert found.domain.assumed == ("label_set", "range", "n_public")


@pytest.mark.parametrize("label_set", [None, ["dog", "eel", "cat", "fox"]])
def test_the_digest_of_strings_is_that_of_their_codes_and_names(
    label_set: list[str] | None,
) -> None:
    names = tuple(label_set or ["cat", "dog", "eel"])
    found = made(y_train=WORDS, y_test=WORDS[:2], label_set=label_set)
    codes = np.array([names.index(word) for word in WORDS])
    declared = Declaration(np.arange(len(names)))
    coded = checked("coded", X, codes, X[:2], codes[:2], declared)
    named = replace(coded, label_names=names, domain=replace(coded.domain, label_names=names))
    assert found.digest == named.digest
    assert coded.digest != named.digest
    assert found.label_names == names
    assert ("label_set" in found.domain.assumed) == (label_set is None)


def test_numbers_with_names_are_positions_in_them() -> None:
    found = made(y_train=[0, 1, 0, 1, 3, 3], y_test=[1, 0], label_set=("d", "c", "b", "a"))
    assert found.y_train.tolist() == [0, 1, 0, 1, 3, 3]
    assert found.label_names == ("d", "c", "b", "a")


def test_a_set_of_labels_has_no_order_but_the_sorted_one() -> None:
    found = made(y_train=WORDS, y_test=WORDS[:2], label_set=set(WORDS.tolist()))
    assert found.label_names == ("cat", "dog", "eel")
    assert made(label_set=frozenset(Y.tolist())).label_names == ("2", "5", "7")


def test_declared_words_do_not_follow_the_examples() -> None:
    label_set = ["cat", "dog", "eel", "fox"]
    clean = made(y_train=WORDS, y_test=WORDS[:2], label_set=label_set)
    poisoned = made(y_train=["fox"] * 6, y_test=WORDS[:2], label_set=label_set)
    assert clean.domain == poisoned.domain
    assert np.array_equal(clean.y_test, poisoned.y_test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": [0, 1, 0.5, 1, 0, 1]}, "y_train holds 0.5 in example 2; wanted whole numbers"),
        ({"y_train": [0, 1, np.nan, 1, 0, 1]}, "y_train holds nan in example 2"),
        ({"y_train": [0, 1, "a", 1, 0, 1]}, "holds 'a' in example 2; wanted whole numbers, or"),
        ({"y_train": ["a", "b", 3, "a", "b", "a"]}, "y_train holds 3 in example 2; wanted strings"),
        ({"y_train": ["a", None, "b", "a", "b", "a"]}, "holds None in example 1; wanted strings"),
        ({"y_train": [0, None, 1, 0, 1, 0]}, "holds None in example 1; wanted whole numbers, or"),
        ({"y_train": WORDS}, "y_train holds strings and y_test holds numbers; wanted one of both"),
        ({"y_train": Y.astype("S1")}, "y_train holds |S1; wanted whole numbers"),
        ({"y_train": Y.astype("M8[s]")}, "y_train holds datetime64[s]; wanted whole numbers"),
        ({"y_train": Y * 1j}, "y_train holds complex128; wanted whole numbers"),
        ({"y_train": Y[:, None]}, "y_train has shape (6, 1); wanted (examples,), not empty"),
        ({"y_train": Y[:5]}, "x_train has 6 examples and y_train has 5 labels"),
        ({"y_test": []}, "y_test has shape (0,); wanted (examples,), not empty"),
        ({"y_train": [[0], [1, 2]]}, "y_train is no array: its rows differ in length"),
        ({"y_train": 3}, "y_train has shape ()"),
        ({"y_train": iter([1])}, "y_train is a list_iterator; wanted an array"),
        ({"label_set": [2, 7]}, "y_train holds 5, a label not in label_set"),
        ({"label_set": ["a", "b"]}, "y_train holds 2, a label not in label_set"),
        ({"label_set": []}, "label_set has shape (0,); wanted two labels or more"),
        ({"label_set": 3}, "label_set has shape (); wanted two labels or more"),
        ({"label_set": "ab"}, "label_set is 'ab'; wanted a list of labels"),
        ({"label_set": {"a": 1}}, "label_set is {'a': 1}; wanted a list of labels"),
        ({"label_set": {"a", 1}}, "label_set holds labels of several types"),
        ({"label_set": [2, 5.5]}, "label_set holds 5.5 in example 1; wanted whole numbers"),
    ],
)
def test_labels_that_are_none(change: dict[str, Any], message: str) -> None:
    assert message in refused(**change)


@pytest.mark.parametrize(
    ("label_set", "message"),
    [
        (["cat", "dog"], "y_train holds 'eel', a label not in label_set"),
        ([1, 2, 3], "label_set holds numbers, and y_train and y_test strings"),
        (["cat", "dog", "eel", "cat"], "label_set holds 'cat' twice"),
        (["cat"], "one label only ('cat'); wanted two or more"),
        (["cat", "do\0g"], "the label 'do\\x00g' holds a zero byte; wanted text"),
    ],
)
def test_strings_that_do_not_fit(label_set: list[Any], message: str) -> None:
    assert message in refused(y_train=WORDS, y_test=WORDS[:2], label_set=label_set)


def test_one_string_alone_is_no_choice() -> None:
    text = refused(y_train=["a"] * 6, y_test=["a"] * 2)
    assert text.startswith("arrays: one label only ('a'); wanted two or more")


# Channels


def images(*example: int) -> dict[str, Any]:
    x = np.random.default_rng(1).integers(0, 256, (6, *example), np.uint8)
    return {"x_train": x, "x_test": x[:2]}


@pytest.mark.parametrize("count", [1, 3, 4])
def test_channels_that_are_first_become_last(count: int) -> None:
    first = images(count, 8, 9)
    last = {key: x.transpose(0, 2, 3, 1) for key, x in first.items()}
    assert made(**first).domain.example == (8, 9, count)
    assert made(**first).digest == made(**last).digest == made(**first, channels="first").digest
    assert made(**last, channels="last").digest == made(**last).digest


@pytest.mark.parametrize(
    ("example", "kept"),
    [
        ((8, 9, 3), (8, 9, 3)),
        ((2, 8, 9), (2, 8, 9)),
        ((3, 8), (3, 8)),
        ((3,), (3,)),
        ((3, 2, 8, 8), (3, 2, 8, 8)),
    ],
)
def test_shapes_that_stay(example: tuple[int, ...], kept: tuple[int, ...]) -> None:
    assert made(**images(*example)).domain.example == kept


@pytest.mark.parametrize("example", [(3, 32, 3), (1, 28, 1), (4, 4, 4), (1, 8, 3)])
def test_shapes_that_may_be_either_are_not_guessed(example: tuple[int, ...]) -> None:
    text = refused(UsageError, **images(*example))
    assert text == (
        f"arrays: an example has shape {example}, and either end may be the channels; "
        'say channels="first" or channels="last"'
    )
    assert made(**images(*example), channels="last").domain.example == example
    moved = (*example[1:], example[0])
    assert made(**images(*example), channels="first").domain.example == moved


def test_channels_of_what_has_none() -> None:
    assert refused(UsageError, channels="middle") == (
        "channels is 'middle'; allowed: 'first', 'last' or None"
    )
    assert "channels is 3; allowed" in refused(UsageError, channels=3)
    assert refused(UsageError, channels="last") == (
        "arrays: channels is 'last', and an example has shape (5, 7); "
        "wanted three axes, or channels=None"
    )


@pytest.mark.parametrize("value", [0, 255])
def test_no_value_decides_about_channels_type_or_labels(value: int) -> None:
    clean = images(3, 8, 8)
    poisoned = {**clean, "x_train": np.full_like(clean["x_train"], value)}
    declared = {"label_set": [2, 5, 7]}
    found = made(**poisoned, **declared, y_train=np.full(6, 7))
    assert found.domain == made(**clean, **declared).domain


# Examples that do not fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X[0, 0]}, "x_train has shape (7,); wanted (examples, ...), not empty"),
        ({"x_train": np.arange(6)}, "x_train has shape (6,); wanted (examples, ...), not empty"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train has shape (0, 5, 7); wanted"),
        ({"x_train": X[:5]}, "x_train has 5 examples and y_train has 6 labels"),
        ({"x_test": X[:2, :4]}, "an example has shape (5, 7) in x_train and (4, 7) in x_test"),
        ({"x_test": X[:2] * 1.0}, "x_train is uint8 and x_test is float64; wanted one type"),
        ({"x_train": [[1, 2], [3]]}, "x_train is no array: its rows differ in length"),
        ({"x_train": [X[0], X[1].T]}, "x_train holds uint8 of shape (7, 5) in example 1 and uint8"),
        ({"x_train": [X[0], X[1] * 2.0]}, "x_train holds float64 of shape (5, 7) in example 1"),
        ({"x_train": [["1", "2"]]}, "x_train holds <U1; wanted numbers"),
        ({"x_train": [[None, 2]]}, "x_train holds object; wanted numbers"),
        ({"x_train": X.astype(str)}, "x_train holds <U3; wanted uint8 or real numbers"),
        ({"x_train": X * 1j}, "x_train holds complex128; wanted uint8 or real numbers"),
        ({"x_train": X.astype("M8[s]")}, "x_train holds datetime64[s]; wanted uint8 or real"),
        ({"x_train": X.astype(object)}, "x_train holds object; wanted uint8 or real numbers"),
        ({"x_train": torch.tensor(X) * 1j}, "x_train holds complex64; wanted uint8 or real"),
        ({"x_train": np.where(X[1, 2, 3] == X, np.nan, X)}, "x_train holds nan in example"),
        ({"x_train": np.where(X[1, 2, 3] == X, np.inf, X)}, "x_train holds inf in example"),
        ({"x_train": X * 1e300}, "wanted finite numbers up to 3.4e+38"),
        ({"x_train": np.ma.masked_equal(X, X[0, 0, 0])}, "x_train has masked entries; wanted"),
        ({"x_train": {"a": 1}}, "x_train is a dict; wanted an array"),
        ({"x_train": torch.tensor(X).to_sparse()}, "x_train is a tensor that NumPy cannot hold"),
        ({"x_train": torch.empty(6, 5, 7, device="meta")}, "x_train is a tensor that NumPy cannot"),
        ({"range": (0, 10)}, "in example 0; the range is 0 to 10"),
        ({"range": (255, 0)}, "range is 255 to 0; wanted finite, rising"),
        ({"range": (0, np.inf)}, "range is 0.0 to inf; wanted finite, rising"),
        ({"range": (0, 1e300)}, "range is 0.0 to 1e+300; wanted finite, rising"),
        ({"range": (0, 300)}, "range is 0 to 300, and uint8 holds 0 to 255"),
        ({"range": [[1, 2], 3]}, "range is no array: its rows differ in length"),
        ({"range": "wide"}, "range must be two numbers, the lowest and the highest value"),
        ({"range": 7}, "range must be two numbers, the lowest and the highest value"),
        ({"n_public": 0}, "n_public is 0; wanted a whole number of at least 1"),
        ({"n_public": 6.0}, "n_public is 6.0; wanted a whole number of at least 1"),
        ({"n_public": "six"}, "n_public is six; wanted a whole number of at least 1"),
    ],
)
def test_examples_and_declarations_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    assert re.match("arrays: ", text := refused(**change))
    assert message in text


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a\\b", "a\nb", None, 3])
def test_names_that_no_folder_can_have(name: Any) -> None:
    assert refused(UsageError, name=name) == (
        f"name is {name!r}; wanted text in one line, without / and \\"
    )
