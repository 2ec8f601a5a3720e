"""Map-style data sets of PyTorch and torchvision, read once into arrays.

A training set is a fixed array: that is what is poisoned, certified and named by a digest. So what
gives another example at each reading is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.arrays import plain, scalar
from harness.errors import DataError, UsageError

_READ_TWICE = 256
"""How many examples of each part are read a second time; with a transform that changes one in
twenty, all of these stay as they were once in 500,000 data sets."""
_MODES = ("L", "RGB", "RGBA")


@dataclass(frozen=True)
class Part:
    """The training or the test part, as it was read.

    ``x`` (n, ...); ``y``: n labels, whatever they are. ``pictures``: whether the examples were PIL
    images, whose channels are last.
    """

    x: NDArray[Any]
    y: list[Any]
    pictures: bool


@dataclass(frozen=True)
class Classes:
    """What the data sets themselves say of their labels.

    ``label_set``: names, or numbers where the names are not each its own. ``public``: whether it is
    part of what the data set is, and not of the examples at hand.
    """

    label_set: list[Any]
    public: bool


def read(name: str, key: str, dataset: Any) -> Part:
    """All (example, label) pairs of a map-style data set, in its order.

    Raises UsageError for anything else, such as a loader or a stream; DataError for an example
    that cannot be read, has another type or shape than the first, or differs when read again.
    """
    n = _length(name, key, dataset)
    first, pictures, _ = _item(name, key, dataset, 0)
    x, y = np.empty((n, *first.shape), dtype=first.dtype), []
    for i in range(n):
        example, picture, label = _item(name, key, dataset, i)
        if (example.shape, example.dtype, picture) != (first.shape, first.dtype, pictures):
            raise DataError(
                f"{name}: {key}[{i}] is {example.dtype} of shape {example.shape}, and {key}[0] "
                f"{first.dtype} of shape {first.shape}; wanted one type and shape"
            )
        x[i] = example
        y.append(label)
    for i in np.unique(np.linspace(0, n - 1, min(n, _READ_TWICE)).astype(int)).tolist():
        example, _, label = _item(name, key, dataset, i)
        if repr(label) != repr(y[i]) or not np.array_equal(
            example, x[i], equal_nan=x.dtype.kind in "fc"
        ):
            raise DataError(
                f"{name}: {key}[{i}] differs when it is read again; a training set must be a "
                "fixed array: take the random transform off"
            )
    return Part(x, y, pictures)


def classes(name: str, train: Any, test: Any) -> Classes | None:
    """The labels that both data sets list in ``classes`` or ``class_to_idx``, by their numbers.

    None where either lists none or turns its labels into others. Raises UsageError where the lists
    differ. A folder's classes are the subfolders that somebody made: they are not public.
    """
    sets = {"train": _base(train), "test": _base(test)}
    lists = {key: _listed(dataset) for key, dataset in sets.items()}
    if None in lists.values():
        return None
    if lists["train"] != lists["test"]:
        both = [str(found)[:60] for found in lists.values()]
        raise UsageError(
            f"{name}: the classes of train and test differ ({both[0]} and {both[1]}); "
            "give a label_set, if their numbers mean the same"
        )
    found = lists["train"] or []
    unique = all(isinstance(one, str) for one in found) and len(set(map(str, found))) == len(found)
    label_set = list(found) if unique else list(range(len(found)))
    folders = sys.modules.get("torchvision.datasets.folder")
    made = folders is not None and any(
        isinstance(dataset, folders.DatasetFolder) for dataset in sets.values()
    )
    return Classes(label_set, public=not made)


def _length(name: str, key: str, dataset: Any) -> int:
    kind = type(dataset).__name__
    wanted = "wanted a map-style data set, with len() and dataset[i]"
    data = sys.modules.get("torch.utils.data")
    if data is not None and isinstance(dataset, data.IterableDataset):
        raise UsageError(f"{name}: {key} is a {kind}, a stream; {wanted}")
    if not hasattr(dataset, "__getitem__"):
        raise UsageError(f"{name}: {key} is a {kind}; {wanted}")
    try:
        n = len(dataset)
    except (TypeError, NotImplementedError):
        raise UsageError(f"{name}: {key} is a {kind} without len(); {wanted}") from None
    if n < 1:
        raise DataError(f"{name}: {key} is empty; wanted one example or more")
    return n


def _item(name: str, key: str, dataset: Any, i: int) -> tuple[NDArray[Any], bool, Any]:
    """An example, whether it was a picture, and its label."""
    try:
        pair = dataset[i]
    except Exception as error:  # of somebody else's code, whatever it is
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{name}: {key}[{i}] cannot be read: {text}") from error
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        what = type(pair).__name__
        much = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
        raise DataError(f"{name}: {key}[{i}] is a {what}{much}; wanted (example, label)")
    label = scalar(pair[1])
    if not isinstance(label, str | int | float):
        shape = getattr(label, "shape", None)
        said = type(label).__name__ if shape is None else f"of shape {tuple(shape)}"
        raise DataError(f"{name}: the label of {key}[{i}] is {said}; wanted one number or string")
    image = sys.modules.get("PIL.Image")
    if image is None or not isinstance(pair[0], image.Image):
        return plain(name, f"{key}[{i}]", pair[0]), False, label
    if pair[0].mode not in _MODES:
        raise DataError(
            f"{name}: {key}[{i}] is an image of mode {pair[0].mode}; wanted {', '.join(_MODES)}"
        )
    return np.asarray(pair[0]), True, label


def _base(dataset: Any) -> Any:
    """The data set that a subset is of."""
    data = sys.modules.get("torch.utils.data")
    while data is not None and isinstance(dataset, data.Subset):
        dataset = dataset.dataset
    return dataset


def _listed(dataset: Any) -> list[Any] | None:
    """Its classes, the j-th for label j; None where there are none, or labels are turned."""
    transforms = getattr(dataset, "transforms", None)
    turned = getattr(dataset, "target_transform", None) is not None or (
        transforms is not None and not hasattr(transforms, "target_transform")
    )
    if turned:
        return None
    found, places = getattr(dataset, "classes", None), getattr(dataset, "class_to_idx", None)
    if isinstance(found, list | tuple) and len(found) > 1:
        return list(found)
    if isinstance(places, Mapping) and sorted(places.values()) == list(range(len(places))):
        return sorted(places, key=lambda one: places[one]) if len(places) > 1 else None
    return None
