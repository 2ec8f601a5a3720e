"""The small data sets that defenses are tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration

SIDE = 8
"""Pixels of a side of an example: enough for every kind of features and learner."""


def tiny_dataset(n_labels: int = 2, n_train: int = 48, n_test: int = 12) -> Dataset:
    """8 x 8 grey images whose label is the bright band: noisy, and easy to tell apart.

    Labels take turns, so every label is in the training and the test set. Values stay within 30 to
    225, so that an example of black and white pixels lies outside of all of them.
    """
    rng = np.random.default_rng(2021)
    arrays: dict[str, NDArray[Any]] = {}
    for part, size in (("train", n_train), ("test", n_test)):
        y = np.arange(size, dtype=np.int64) % n_labels
        x = rng.integers(30, 120, (size, 8, 8))
        for band, columns in enumerate(np.array_split(np.arange(8), n_labels)):
            x[np.ix_(y == band, np.arange(8), columns)] += 105
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x.astype(np.uint8), y
    return Dataset(
        "tiny",
        arrays["x_train"],
        arrays["y_train"],
        arrays["x_test"],
        arrays["y_test"],
        label_names=tuple(map(str, range(n_labels))),
    )


def border_dataset(
    labels: tuple[int, ...] = (0, 1),
    rare: tuple[int, ...] = (),
    n_labels: int = 2,
    *,
    floats: bool = False,
    n_train: int = 20,
    n_test: int = 40,
) -> Dataset:
    """A few 8 x 8 images whose ``labels`` take turns, and test images that lie between two labels.

    Each label in ``rare`` has one training example, the last ones; of the ``n_labels`` of the
    domain the others have none. A test image mixes two training images of different labels, or
    equals one. With ``floats`` the domain is all of float32, and its images lie in [0, 1].
    """
    rng = np.random.default_rng([2026, n_labels, len(labels)])
    y = np.resize(labels, n_train)
    y[n_train - len(rare) :] = rare
    x = rng.uniform(0.1, 0.5, (n_train, SIDE, SIDE))
    for place, columns in enumerate(np.array_split(np.arange(SIDE), len(labels))):
        x[np.ix_(y == labels[place], np.arange(SIDE), columns)] += 0.3
    one, other = rng.integers(n_train, size=(2, n_test))
    share = rng.uniform(0.3, 0.7, (n_test, 1, 1))
    share[y[one] == y[other]] = 1.0
    x_test, y_test = share * x[one] + (1 - share) * x[other], y[one]
    declared = Declaration(label_set=np.arange(n_labels), n_public=n_train)
    if floats:
        return checked("border", x, y, x_test, y_test, declared)
    x, x_test = (np.round(255 * part) for part in (x, x_test))
    return checked("border", x.astype(np.uint8), y, x_test.astype(np.uint8), y_test, declared)


def mingled_dataset(n_train: int = 20) -> Dataset:
    """Images of noise whose two labels say nothing, and two test images close to each.

    Nobody generalises here: a base model says what the examples say that it was given, so that a
    model that gets others than was assumed votes otherwise.
    """
    rng = np.random.default_rng(2027)
    x = rng.integers(40, 216, (n_train, SIDE, SIDE))
    y = np.resize((0, 1), n_train)
    x_test = np.repeat(x, 2, axis=0) + rng.integers(-8, 9, (2 * n_train, SIDE, SIDE))
    declared = Declaration(label_set=np.arange(2), n_public=n_train)
    return checked(
        "mingled", x.astype(np.uint8), y, x_test.astype(np.uint8), np.repeat(y, 2), declared
    )
