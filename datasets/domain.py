"""What an example can be, whatever anybody writes: public, part of the problem, never poisoned.

A certificate speaks of every training set that an attacker could make of the clean one. All of them
are trained on with the same number of labels, coding, type and shapes, so these may not be read off
the training set at hand, which the attacker has written: they are declared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from harness.errors import DataError


@dataclass(frozen=True)
class Domain:
    """The labels, shape, type and values that an example can have, and the public size n.

    ``label_names``: c >= 2 names, in the order of the codes 0 ... c - 1. ``example``: the shape of
    one example. ``dtype``: of its values, ``uint8`` or ``float32``; they lie from ``lowest`` to
    ``highest``, both finite. ``n_public``: the declared size of the clean training set; what is
    planned from a size uses this one, for that of a poisoned set follows the attacker.
    """

    label_names: tuple[str, ...]
    example: tuple[int, ...]
    dtype: str
    lowest: float
    highest: float
    n_public: int
    assumed: tuple[str, ...] = ()
    """Which of ``label_set``, ``range`` and ``n_public`` nobody declared: they are the labels of
    training and test set together, all that the type can hold, and the size at hand."""

    @property
    def n_labels(self) -> int:
        """c, the number of labels."""
        return len(self.label_names)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.example))
        values = f"{self.dtype} from {self.lowest:g} to {self.highest:g}"
        shown = ", ".join(self.label_names[:10])
        more = f" and {self.n_labels - 10} more" if self.n_labels > 10 else ""
        return f"{shape} values of {values}, {self.n_labels} labels ({shown}{more})"


UNDECLARED = Domain((), (), "", 0.0, 0.0, 0)
"""Stands for the domain that follows from a data set's own arrays and label names."""


@dataclass(frozen=True)
class Declaration:
    """What is said of a domain; None where it is not.

    ``label_set``: every label that an example can have, whole numbers. ``value_range``: the lowest
    and the highest value. ``n_public``: the size of the clean training set. ``label_names``: what
    the labels are called, in increasing order; without them, as they are written.
    """

    label_set: ArrayLike | None = None
    value_range: ArrayLike | None = None
    n_public: ArrayLike | None = None
    label_names: tuple[str, ...] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The names, as an .npz file spells them, of what is not declared."""
        said = {
            "label_set": self.label_set,
            "range": self.value_range,
            "n_public": self.n_public,
        }
        return tuple(name for name, value in said.items() if value is None)


def range_of(dtype: DTypeLike) -> tuple[float, float]:
    """The lowest and the highest finite number of a type; a type wider than float32 has its."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return 0.0, 1.0
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(np.float32)
    return float(limits.min), float(limits.max)


def declared_labels(
    name: str, label_set: ArrayLike | None, found: Sequence[tuple[str, NDArray[np.int64]]]
) -> NDArray[np.int64]:
    """(c,) the labels in increasing order: those declared, or all that were ``found``.

    ``found`` holds the name and the labels of each array. Raises DataError where there are fewer
    than two, and for a label that was found and not declared.
    """
    if label_set is None:
        labels = np.unique(np.concatenate([array for _, array in found]))
    else:
        labels = np.unique(whole_numbers(name, "label_set", np.asarray(label_set)))
    if labels.size < 2:
        one = f" ({labels[0]})" if labels.size else ""
        raise DataError(
            f"{name}: one label only{one}; wanted two or more in y_train and y_test, or a label_set"
        )
    for key, array in found:
        strangers = np.setdiff1d(array, labels)
        if strangers.size:
            raise DataError(f"{name}: {key} holds {strangers[0]}, a label not in label_set")
    return labels


def declared_range(
    name: str, value_range: ArrayLike | None, dtype: DTypeLike
) -> tuple[float, float]:
    """The lowest and the highest value, as declared or of the type. Raises DataError."""
    possible = range_of(dtype)
    if value_range is None:
        return possible
    values = np.asarray(value_range)
    if values.shape != (2,) or values.dtype.kind not in "biuf":
        raise DataError(f"{name}: range must be two numbers, the lowest and the highest value")
    # Rounded as the values are: a bound of float64 may lie between two numbers of float32.
    with np.errstate(over="ignore"):  # beyond float32 is an infinity, which is refused below
        low, high = (float(np.float32(value)) for value in values)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(f"{name}: range is {values[0]} to {values[1]}; wanted finite, rising")
    if low < possible[0] or high > possible[1]:
        raise DataError(
            f"{name}: range is {values[0]} to {values[1]}, and {np.dtype(dtype)} holds "
            f"{possible[0]:g} to {possible[1]:g}"
        )
    return low, high


def declared_size(name: str, n_public: ArrayLike | None, n_train: int) -> int:
    """The declared size of the clean training set, else that at hand. Raises DataError."""
    if n_public is None:
        return n_train
    value = np.asarray(n_public)
    if value.size != 1 or value.dtype.kind not in "iu" or value.item() < 1:
        raise DataError(f"{name}: n_public is {value}; wanted a whole number of at least 1")
    return int(value.item())


def whole_numbers(name: str, key: str, y: NDArray[Any]) -> NDArray[np.int64]:
    """The whole numbers in ``y`` (any shape, flattened) as int64. Raises DataError for others."""
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name}: {key} holds {y.dtype}; wanted whole numbers")
    y = y.ravel()
    # Doubles hold every whole number up to 2^53, and no label needs to be larger than that.
    wrong = ~((np.abs(y.astype(np.float64)) <= 2**53) & (y == np.floor(y)))
    if wrong.any():
        where = int(np.argmax(wrong))
        raise DataError(
            f"{name}: {key} holds {y[where]} in example {where}; wanted whole numbers up to 2^53"
        )
    return y.astype(np.int64)
