"""A user's arrays, tensors, lists and tables as plain arrays, for ``Dataset.from_arrays``.

Nothing here is decided by what one example holds, for that is the attacker's to write: whether
pixels stay bytes follows from the type, where the channels are from the shape, and whether labels
are words or numbers from all of them, which must agree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError, UsageError

CHANNELS = ("first", "last")
_COUNTS = (1, 3, 4)
"""How many channels an image can have, where nobody says which axis they are: grey, colour, and
colour with opacity."""


@dataclass(frozen=True)
class Labels:
    """Labels as :func:`harness.datasets.base.checked` takes them: whole numbers.

    ``names``: what the codes 0 ... c - 1 stand for, where the labels have names of their own.
    """

    y: Mapping[str, NDArray[Any]]
    label_set: ArrayLike | None
    names: tuple[str, ...] | None = None


def checked_name(name: object) -> str:
    """The name of a data set, which folders are called by. Raises UsageError."""
    if isinstance(name, str) and name.strip() and name.isprintable() and not set(name) & set("/\\"):
        return name
    raise UsageError(f"name is {name!r}; wanted text in one line, without / and \\")


def features(name: str, key: str, value: Any) -> NDArray[Any]:
    """Examples (n, ...) as a NumPy array that shares no memory with ``value``.

    NumPy arrays and tensors keep their type; tensors of a type that NumPy lacks become float32.
    Lists of numbers and tables become float64, whatever numbers they hold, but a table of uint8
    columns alone. Raises DataError.
    """
    if _is_table(value):
        return _of_table(name, key, value)
    if not isinstance(value, list | tuple):
        array = plain(name, key, value)
        return np.array(array) if array.dtype in (np.uint8, np.float32) else array
    arrays = [item for item in value if isinstance(item, np.ndarray) or _is_tensor(item)]
    if value and len(arrays) == len(value):
        return _stacked(name, key, [plain(name, key, item) for item in arrays])
    array = plain(name, key, value)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: {key} holds {array.dtype}; wanted numbers")
    return array.astype(np.float64)


def plain(name: str, key: str, value: Any) -> NDArray[Any]:
    """The value as a NumPy array. Raises DataError where it is none, or its rows differ."""
    if _is_tensor(value):
        return _of_tensor(name, key, value)
    if np.ma.is_masked(value):
        raise DataError(f"{name}: {key} has masked entries; wanted a value in each")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        if "inhomogeneous" in str(error):
            text = "its rows differ in length"
        else:
            text = " ".join(str(error).split())
        raise DataError(f"{name}: {key} is no array: {text}") from None
    if array.ndim == 0 and array.dtype.kind == "O":
        raise DataError(f"{name}: {key} is a {type(value).__name__}; wanted an array")
    return array


def label_array(name: str, key: str, value: Any) -> NDArray[Any]:
    """Labels as an array of numbers, or of Python's strings with type object. Raises DataError."""
    if _is_table(value):
        raise DataError(f"{name}: {key} is a table; wanted one of its columns")
    if isinstance(value, list | tuple):
        value = [scalar(item) for item in value]
        if any(isinstance(item, str) for item in value):
            value = np.fromiter(value, dtype=object, count=len(value))
    array = plain(name, key, value)
    if array.dtype.kind == "O":
        return _one_kind(name, key, array)
    return array.astype(object) if array.dtype.kind in "UT" else array


def labels(name: str, y: Mapping[str, NDArray[Any]], label_set: Any) -> Labels:
    """Both arrays of :func:`label_array` coded, where they or the ``label_set`` are words.

    Words get the codes of their positions in ``label_set``, else in their sorted union. Numbers
    with a ``label_set`` of words are positions in it already. Raises DataError.
    """
    declared = None if label_set is None else _declared(name, label_set)
    words = {key: _is_text(array) for key, array in y.items()}
    said = None if declared is None else _is_text(declared)
    if len(set(words.values())) > 1:
        raise DataError(f"{name}: {' and '.join(map(_kind, words.items()))}; wanted one of both")
    if not any(words.values()):
        if declared is None or not said:
            return Labels(y, declared)
        names = _names(name, declared)
        return Labels(y, np.arange(len(names)), names)
    if said is False:
        raise DataError(f"{name}: label_set holds numbers, and y_train and y_test strings")
    if declared is None:
        names = _names(name, sorted({label for array in y.values() for label in array.flat}))
    else:
        names = _names(name, declared)
    coded = {key: _codes(name, key, array, names) for key, array in y.items()}
    return Labels(coded, None if declared is None else np.arange(len(names)), names)


def checked_channels(channels: object) -> str | None:
    """``first``, ``last`` or None. Raises UsageError for anything else."""
    if channels is not None and (not isinstance(channels, str) or channels not in CHANNELS):
        raise UsageError(f"channels is {channels!r}; allowed: 'first', 'last' or None")
    return channels


def channels_are_first(name: str, example: tuple[int, ...], channels: str | None) -> bool:
    """Whether images of that shape are (channels, height, width) and not the other way round.

    Where ``channels`` does not say, the shape alone does: they are first where the first of three
    axes has 1, 3 or 4 places and the last has not. Raises UsageError where both have, and for an
    example that has no such axis.
    """
    if channels is not None and len(example) != 3:
        raise UsageError(
            f"{name}: channels is {channels!r}, and an example has shape {example}; "
            "wanted three axes, or channels=None"
        )
    if channels is not None or len(example) != 3:
        return channels == "first"
    first, last = example[0] in _COUNTS, example[2] in _COUNTS
    if first and last:
        raise UsageError(
            f"{name}: an example has shape {example}, and either end may be the channels; "
            'say channels="first" or channels="last"'
        )
    return first


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """Images (n, channels, height, width) as (n, height, width, channels)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, 3))


def scalar(value: Any) -> Any:
    """A label as Python has it, where it is an array or a tensor of one number."""
    if isinstance(value, np.ndarray | np.generic) or _is_tensor(value):
        return value.item() if value.ndim == 0 else value
    return value


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    return torch is not None and isinstance(value, torch.Tensor)


def _is_table(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _of_tensor(name: str, key: str, tensor: Any) -> NDArray[Any]:
    """The numbers of a tensor on any device, with or without gradients."""
    try:
        if tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4:
            tensor = tensor.float()  # exact; NumPy has no bfloat16
        array: NDArray[Any] = tensor.numpy(force=True)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{name}: {key} is a tensor that NumPy cannot hold: {text}") from None
    return array


def _of_table(name: str, key: str, table: Any) -> NDArray[Any]:
    for column, kind in zip(table.columns, table.dtypes, strict=True):
        if getattr(kind, "kind", "O") not in "biuf":
            raise DataError(f"{name}: {key}, column {column!r} holds {kind}; wanted numbers")
    if all(kind == np.uint8 for kind in table.dtypes):
        return np.array(table.to_numpy())
    array: NDArray[Any] = table.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def same_columns(name: str, x: Mapping[str, Any]) -> None:
    """Raises DataError where two tables have different columns, or the same in another order."""
    if not all(map(_is_table, x.values())):
        return
    train, test = (list(table.columns) for table in x.values())
    for column, other in zip(train, test, strict=False):
        if column != other:
            raise DataError(f"{name}: column {column!r} of x_train is {other!r} in x_test")


def _stacked(name: str, key: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays of one type and shape in one; another type would change that of all examples."""
    first = arrays[0]
    for i, array in enumerate(arrays):
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise DataError(
                f"{name}: {key} holds {array.dtype} of shape {array.shape} in example {i} and "
                f"{first.dtype} of shape {first.shape} in example 0; wanted one type and shape"
            )
    return np.stack(arrays)


def _one_kind(name: str, key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Objects that are all strings, or all numbers and then an array of numbers."""
    wanted = str if array.size and isinstance(array.flat[0], str) else int | float | np.number
    for i, label in enumerate(array.flat):
        if not isinstance(label, wanted):
            other = "strings" if wanted is str else "whole numbers, or strings alone"
            raise DataError(f"{name}: {key} holds {label!r} in example {i}; wanted {other}")
    return array if wanted is str else np.array(array.tolist())


def _declared(name: str, label_set: Any) -> NDArray[Any]:
    if isinstance(label_set, str | bytes | Mapping):
        raise DataError(f"{name}: label_set is {label_set!r}; wanted a list of labels")
    if isinstance(label_set, Set):  # in no order of its own
        try:
            label_set = sorted(label_set)
        except TypeError:
            raise DataError(f"{name}: label_set holds labels of several types") from None
    elif isinstance(label_set, Iterable) and not hasattr(label_set, "dtype"):
        label_set = list(label_set)
    array = label_array(name, "label_set", label_set)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"{name}: label_set has shape {array.shape}; wanted two labels or more")
    return array


def _is_text(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "O"


def _kind(entry: tuple[str, bool]) -> str:
    return f"{entry[0]} holds {'strings' if entry[1] else 'numbers'}"


def _names(name: str, words: Iterable[Any]) -> tuple[str, ...]:
    """The words as names of labels, each its own. Raises DataError."""
    found = tuple(str(word) for word in words)
    seen: set[str] = set()
    for word in found:
        if "\0" in word:
            raise DataError(f"{name}: the label {word!r} holds a zero byte; wanted text")
        if word in seen:
            raise DataError(f"{name}: label_set holds {word!r} twice")
        seen.add(word)
    if len(found) < 2:
        raise DataError(
            f"{name}: one label only ({found[0]!r}); "
            "wanted two or more in y_train and y_test, or a label_set"
        )
    return found


def _codes(name: str, key: str, array: NDArray[Any], names: Sequence[str]) -> NDArray[np.int64]:
    positions = {word: i for i, word in enumerate(names)}
    for label in array.flat:
        if label not in positions:
            raise DataError(f"{name}: {key} holds {label!r}, a label not in label_set")
    coded = [positions[label] for label in array.flat]
    return np.array(coded, dtype=np.int64).reshape(array.shape)
