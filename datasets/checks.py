"""What arrays must be so that a data set can be made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError


def shapes(name: str, x: Mapping[str, NDArray[Any]], y: Mapping[str, NDArray[Any]]) -> None:
    """Raises DataError unless ``x`` and ``y``, ``x_train`` and so on, hold as many examples as
    labels, some, of one shape.
    """
    for key, array in x.items():
        if array.ndim < 2 or array.size == 0:
            raise DataError(
                f"{name}: {key} has shape {array.shape}; wanted (examples, ...), not empty"
            )
    for key, array in y.items():
        if array.ndim != 1 or array.size == 0:
            raise DataError(f"{name}: {key} has shape {array.shape}; wanted (examples,), not empty")
    for part in ("train", "test"):
        n_x, n_y = len(x[f"x_{part}"]), len(y[f"y_{part}"])
        if n_x != n_y:
            raise DataError(f"{name}: x_{part} has {n_x} examples and y_{part} has {n_y} labels")
    train, test = x["x_train"].shape[1:], x["x_test"].shape[1:]
    if train != test:
        raise DataError(f"{name}: an example has shape {train} in x_train and {test} in x_test")


def features(
    name: str, key: str, x: NDArray[Any], limits: tuple[float, float], first: int = 0
) -> NDArray[Any]:
    """Examples (m, ...) as uint8, if they are, or float32, within ``limits``.

    Raises DataError for what is no number, not finite or beyond them; in it the examples are
    counted from ``first``.
    """
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: {key} holds {x.dtype}; wanted uint8 or real numbers")
    with np.errstate(over="ignore"):  # what float32 has no room for is found as an infinity below
        values = np.ascontiguousarray(x, dtype=x.dtype if x.dtype == np.uint8 else np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        where = tuple(int(i) for i in bad[0])
        raise DataError(
            f"{name}: {key} holds {x[where]} in example {first + where[0]}; "
            f"wanted finite numbers up to {np.finfo(np.float32).max:.2g}"
        )
    outside = (values < limits[0]) | (values > limits[1])
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise DataError(
            f"{name}: {key} holds {x[where]} in example {first + where[0]}; "
            f"the range is {limits[0]:g} to {limits[1]:g}"
        )
    return values
