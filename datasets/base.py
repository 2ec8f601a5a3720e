"""A data set: named arrays, checked once, with a digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets import arrays, checks, torch_sets
from harness.datasets.domain import (
    UNDECLARED,
    Declaration,
    Domain,
    declared_labels,
    declared_range,
    declared_size,
    range_of,
    whole_numbers,
)
from harness.datasets.mapped import Mapped
from harness.errors import DataError, UsageError, unknown

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Dataset:
    """Training and test examples with labels 0 ... c - 1, and the domain that they are from.

    ``x_train`` (n, ...) and ``x_test`` (e, ...): uint8 images or finite floats, one shape for an
    example. ``y_train`` (n,) and ``y_test`` (e,): int64 in 0 ... c - 1. ``label_names``: c names,
    those of the domain, whether or not an example has that label. Without ``domain`` it is all that
    the type can hold, and n is public. ``dataclasses.replace`` exchanges arrays and keeps the
    domain: that is a poisoned version of the same problem. Arrays are kept as they are now, and
    read-only: a change of them would be one that the digest does not tell.

    ``files``: what ``x_train`` and ``x_test`` are mapped from, where they are; None once one of
    them is exchanged. Then the values are checked while the digest is made, and raise DataError.
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    label_names: tuple[str, ...]
    domain: Domain = UNDECLARED
    files: Mapped | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key in _ARRAYS:
            object.__setattr__(self, key, _kept(getattr(self, key)))
        if self.domain is UNDECLARED:
            object.__setattr__(self, "domain", self._assumed())
        if self.domain.label_names != self.label_names:
            raise ValueError("label_names must be those of the domain")
        if self.files is not None and not self.files.hold(self.x_train, self.x_test):
            object.__setattr__(self, "files", None)
        if self.files is not None:
            self.digest  # noqa: B018 - it checks what is mapped

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the arrays' types, shapes and bytes, of the label names and of what the domain
        declares beyond them; not of ``name``.
        """
        return self._digest()

    def __getstate__(self) -> dict[str, Any]:
        mapped = () if self.files is None else ("x_train", "x_test")  # these stay where they are
        return {key: value for key, value in self.__dict__.items() if key not in mapped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["files"] is not None:
            state |= {
                "x_train": state["files"].x_train.array,
                "x_test": state["files"].x_test.array,
            }
        self.__dict__.update(state)
        for key in _ARRAYS:  # which pickle makes anew, and so as arrays that may be changed
            state[key].flags.writeable = False

    @classmethod
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        y_test: Any,
        *,
        name: str = "arrays",
        label_set: Any = None,
        range: ArrayLike | None = None,  # noqa: A002 - what an .npz file calls it
        n_public: int | None = None,
        channels: str | None = None,
    ) -> Dataset:
        """The data set of arrays in memory: NumPy's, tensors, lists, pandas' tables and columns.

        ``x_train`` (n, ...) and ``x_test`` (e, ...) hold examples of one shape, uint8 or finite
        numbers; ``y_train`` (n,) and ``y_test`` (e,) whole numbers, truth values or strings. They
        are copied. uint8 stays, other numbers become float32, as in an .npz file, which has the
        same digest.

        ``label_set``: every label that an example can have. Strings get codes in its order; whole
        numbers in increasing order, or, where it lists strings, they are positions in it already.
        ``range``: the lowest and the highest value. ``n_public``: the size of the clean training
        set. ``channels``: whether images come as (channels, height, width), ``"first"``, or
        (height, width, channels), ``"last"``, as they are kept. Without it the shape decides: an
        example has them first where the first of its three axes has 1, 3 or 4 places and the last
        has not.

        An attacker writes examples, so nothing is concluded from what one of them holds. What is
        not declared is assumed, and reports say so: the labels are those of training and test set
        together, strings sorted; the values are all that the type can hold; n is the size at hand.
        Lists of numbers and tables count as real numbers, whether or not they are whole.

        Raises UsageError or DataError, in one line that names the array and what is wrong.

        >>> images = np.zeros((4, 3, 8, 8), np.uint8)
        >>> data = Dataset.from_arrays(images, ["cat", "dog"] * 2, images[:2], ["dog", "cat"])
        >>> data.x_train.shape, data.y_train.tolist(), data.label_names
        ((4, 8, 8, 3), [0, 1, 0, 1], ('cat', 'dog'))
        >>> print(data.domain)
        8 x 8 x 3 values of uint8 from 0 to 255, 2 labels (cat, dog)
        """
        name, channels = arrays.checked_name(name), arrays.checked_channels(channels)
        given = {"x_train": x_train, "x_test": x_test}
        arrays.same_columns(name, given)
        x = {key: arrays.features(name, key, value) for key, value in given.items()}
        said = {"y_train": y_train, "y_test": y_test}
        y = {key: arrays.label_array(name, key, value) for key, value in said.items()}
        checks.shapes(name, x, y)
        coded = arrays.labels(name, y, label_set)
        if arrays.channels_are_first(name, x["x_train"].shape[1:], channels):
            x = {key: arrays.channels_last(array) for key, array in x.items()}
        limits = None if range is None else arrays.plain(name, "range", range)
        size = None if n_public is None else arrays.plain(name, "n_public", n_public)
        declared = Declaration(coded.label_set, limits, size, coded.names)
        return checked(name, **x, **coded.y, declared=declared)

    @classmethod
    def from_torch(
        cls,
        train: Any,
        test: Any,
        *,
        name: str = "torch",
        label_set: Any = None,
        range: ArrayLike | None = None,  # noqa: A002 - what an .npz file calls it
        n_public: int | None = None,
        channels: str | None = None,
    ) -> Dataset:
        """The data set of two map-style data sets of PyTorch or torchvision: training and test.

        Each gives (example, label) pairs. PIL images of mode L, RGB or RGBA are taken as their
        bytes, (height, width) or (height, width, channels); tensors and arrays as they are, with
        ``channels`` and everything else as in :meth:`from_arrays`. Without a ``label_set`` it is
        the ``classes`` that both list: they are part of what such a data set is. Not so where they
        are the folders that were found, or a ``target_transform`` makes other labels.

        All of it is read once, and some of it again: a random transform is refused, for a training
        set must be a fixed array. Raises UsageError or DataError in one line.

        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> train = TensorDataset(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> data = Dataset.from_torch(train, train, label_set=["a", "b", "c"], range=(0, 1))
        >>> data.x_train.shape, data.y_train.tolist(), data.label_names
        ((6, 8, 8, 1), [0, 1, 2, 0, 1, 2], ('a', 'b', 'c'))
        """
        name, channels = arrays.checked_name(name), arrays.checked_channels(channels)
        listed = torch_sets.classes(name, train, test) if label_set is None else None
        parts = [torch_sets.read(name, *part) for part in (("train", train), ("test", test))]
        if any(part.pictures for part in parts) and parts[0].x.ndim == 4:
            if channels == "first" or not all(part.pictures for part in parts):
                raise UsageError(f"{name}: PIL images have their channels last, in both parts")
            channels = "last"
        data = cls.from_arrays(
            *(value for part in parts for value in (part.x, part.y)),
            name=name,
            label_set=listed.label_set if listed else label_set,
            range=range,
            n_public=n_public,
            channels=channels,
        )
        if listed is None or listed.public:
            return data
        assumed = ("label_set", *data.domain.assumed)
        return replace(data, domain=replace(data.domain, assumed=assumed))

    @property
    def n_train(self) -> int:
        """n, the number of training examples."""
        return int(self.y_train.size)

    @property
    def n_test(self) -> int:
        """e, the number of test examples."""
        return int(self.y_test.size)

    @property
    def n_labels(self) -> int:
        """c, the number of labels."""
        return len(self.label_names)

    def _assumed(self) -> Domain:
        kind = self.x_train.dtype
        example = tuple(self.x_train.shape[1:])
        missing = Declaration().missing
        return Domain(self.label_names, example, str(kind), *range_of(kind), self.n_train, missing)

    def _digest(self) -> str:
        sha, domain = hashlib.sha256(), self.domain
        for key in _ARRAYS:
            part = getattr(self, key)
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            if self.files is not None and key in ("x_train", "x_test"):
                for chunk in self.files[key].chunks(domain.lowest, domain.highest):
                    sha.update(chunk.data)
            else:
                sha.update(np.ascontiguousarray(part).data)
        sha.update("\0".join(self.label_names).encode())
        if (domain.lowest, domain.highest) != range_of(domain.dtype):
            sha.update(f"range {domain.lowest!r} {domain.highest!r}".encode())
        if domain.n_public != self.n_train:
            sha.update(f"n_public {domain.n_public}".encode())
        return sha.hexdigest()


def settled(array: NDArray[Any]) -> bool:
    """Whether nobody can write to the array, nor to the one that it is a view of."""
    below = array.base
    return not (array.flags.writeable or (isinstance(below, np.ndarray) and below.flags.writeable))


def _kept(array: NDArray[Any]) -> NDArray[Any]:
    """The array as nobody can change it any more: the digest is of what it holds now."""
    if not settled(array):
        array = array.copy()
        array.flags.writeable = False
    return array


class DatasetSource(Protocol):
    """A plugin's data set: what ``--dataset NAME`` or ``--dataset NAME:ARGUMENT`` finds.

    It may say in ``domain``, one line for ``harness show``, what an example can be.
    """

    name: str
    """How it is selected; no colon in it."""
    summary: str
    """One line for ``harness list``."""
    takes_argument: bool
    """Whether the name is followed by a colon and an argument, such as a path."""

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """The data set. Raises DataError with one clear line when it cannot be had."""
        ...


def load(spec: str, sources: Mapping[str, DatasetSource], data_root: Path | None) -> Dataset:
    """The data set that ``NAME`` or ``NAME:ARGUMENT`` selects among ``sources``, by their names.

    ``data_root`` is where downloaded data sets are kept; a source has its own default without it.
    Raises UsageError for a name that does not exist, with the nearest ones, and where an argument
    is missing or not taken; DataError where the data set cannot be had.
    """
    name, colon, argument = spec.partition(":")
    if name not in sources:
        raise unknown("dataset", name, sources)
    source = sources[name]
    if source.takes_argument and not argument:
        raise UsageError(f"dataset {spec!r} lacks its argument; allowed: {name}:ARGUMENT")
    if colon and not source.takes_argument:
        raise UsageError(f"dataset {spec!r}: {name} takes no argument; allowed: {name}")
    return source.load(argument or None, data_root)


def checked(
    name: str,
    x_train: NDArray[Any],
    y_train: NDArray[Any],
    x_test: NDArray[Any],
    y_test: NDArray[Any],
    declared: Declaration = Declaration(),  # noqa: B008 - it is frozen
) -> Dataset:
    """A :class:`Dataset` of raw arrays, or a DataError that names the array and what is wrong.

    ``x_train`` (n, ...) and ``x_test`` (e, ...) hold examples of one shape and one type: uint8
    stays, other real numbers and booleans become float32. ``y_train`` (n,) and ``y_test`` (e,) are
    whole numbers. The labels that are ``declared``, else those of both arrays together, become
    0 ... c - 1 in increasing order; a training set need not hold all of them.
    """
    x, y = {"x_train": x_train, "x_test": x_test}, {"y_train": y_train, "y_test": y_test}
    return _checked(name, x, y, declared, None)


def checked_in_files(
    name: str,
    files: Mapped,
    y_train: NDArray[Any],
    y_test: NDArray[Any],
    declared: Declaration = Declaration(),  # noqa: B008 - it is frozen
) -> Dataset:
    """The same with examples that stay in their files: they are read once, some at
    a time, for the digest, and are checked then.
    """
    x = {"x_train": files.x_train.array, "x_test": files.x_test.array}
    return _checked(name, x, {"y_train": y_train, "y_test": y_test}, declared, files)


def _checked(
    name: str,
    x: Mapping[str, NDArray[Any]],
    y: Mapping[str, NDArray[Any]],
    declared: Declaration,
    files: Mapped | None,
) -> Dataset:
    checks.shapes(name, x, y)
    given = [array.dtype for array in x.values()]
    limits = declared_range(name, declared.value_range, given[0])
    if files is None:
        x = {key: checks.features(name, key, array, limits) for key, array in x.items()}
    y = {key: whole_numbers(name, key, array) for key, array in y.items()}
    kind, example = x["x_train"].dtype, x["x_train"].shape[1:]
    if x["x_test"].dtype != kind:
        raise DataError(f"{name}: x_train is {given[0]} and x_test is {given[1]}; wanted one type")
    labels = declared_labels(name, declared.label_set, tuple(y.items()))
    n_public = declared_size(name, declared.n_public, len(y["y_train"]))
    names = declared.label_names or tuple(str(label) for label in labels)
    domain = Domain(names, tuple(example), str(kind), *limits, n_public, declared.missing)
    y = {key: np.searchsorted(labels, array).astype(np.int64) for key, array in y.items()}
    return Dataset(name, **x, **y, label_names=names, domain=domain, files=files)
