"""The features of a poisoned training set: of clean examples as they are, of new ones made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.running.task import Inputs, Make

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.datasets.base import Dataset
    from harness.features.base import Features
    from harness.plugins.registry import Registry
    from harness.running.kept_features import KeptFeatures, Told

Made = dict[tuple[str, bytes], "Tensor"]
"""The features of single examples, by the features' name and the example's bytes."""

_MOST = 20_000
"""Examples whose features are remembered."""


class PoisonedInputs(Inputs):
    """What base models see of ``data``: clean examples and new ones, in the given ``order``.

    ``clean``: the inputs of the clean set, whose features are made once. ``order`` (n',): where
    each training example is from, n + j for the j-th of the ``new`` raw rows. ``tests``: the test
    examples that are left, by their index. ``made``: features of new rows that are known already.
    """

    def __init__(
        self,
        clean: Inputs,
        data: Dataset,
        order: NDArray[np.int64],
        new: NDArray[Any] | None,
        tests: NDArray[np.int64],
        made: Made,
    ) -> None:
        super().__init__(replace(clean.plan, dataset=data), clean.device)
        self._clean, self._order, self._new, self._tests = clean, order, new, tests
        self._known = made
        self.kept: Any = _Kept(clean.kept)  # rows of poisoned examples are nobody else's
        self.notes: dict[str, Any] = {}
        """What follows from this training set alone, and is the same for all blocks."""

    @property
    def clean(self) -> Dataset:
        """The data set without poison."""
        return self._clean.plan.dataset

    @property
    def order(self) -> NDArray[np.int64]:
        """(n',) where each training example is from, n + j for the j-th new one."""
        return self._order

    def identities(self, known: dict[bytes, int]) -> NDArray[np.int64]:
        """(n',) a number for each training example's features, by which it is ``known`` for ever:
        its place in the clean set, or one of its own beyond these; new ones are added.
        """
        if "identities" not in self.notes:
            n, new = self.clean.n_train, self._new
            found = self._order
            if new is not None:
                of_new, place = _distinct_rows(new)
                numbers = [known.setdefault(row.tobytes(), n + len(known)) for row in of_new]
                found = np.concatenate([np.arange(n), np.array(numbers, np.int64)[place]])[found]
            self.notes["identities"] = found
        identities: NDArray[np.int64] = self.notes["identities"]
        return identities

    @property
    def tests(self) -> NDArray[np.int64]:
        """The test examples that are left, by their index."""
        return self._tests

    def _part(self, name: str, make: Make, part: str) -> tuple[Tensor, float]:
        about = f"{part} {name}"
        if about not in self.notes:
            self.notes[about] = self._picked(name, make, part)
        return self.notes[about], 0.0

    def _picked(self, name: str, make: Make, part: str) -> Tensor:
        clean = self._clean._part(name, make, part)[0]
        if part == "test":
            return clean[torch.from_numpy(self._tests).to(clean.device)]
        n = len(clean)
        if self._new is None:
            same = len(self._order) == n
            return clean if same else clean[self._index(self._order, clean)]
        rows, place = self._rows(name, make)
        everything = torch.cat([clean, rows])
        source = np.concatenate([np.arange(n), n + place])[self._order]
        if np.array_equal(source, np.arange(len(everything))):
            return everything
        return everything[self._index(source, clean)]

    def by_rows(self, name: str) -> bool:
        """Training examples that are asked for are picked: no poisoned set is made for them."""
        return True

    def check_room(self, name: str, n: int, d: int) -> None:
        """Whatever is free now says nothing of the poisoned set."""

    def made_of_rows(self, name: str, make: Make, rows: NDArray[np.int64]) -> Tensor:
        clean = self._clean._part(name, make, "train")[0]
        source, n = self._order[rows], len(clean)
        if self._new is None:
            return clean[self._index(source, clean)]
        of_new, place = self._rows(name, make)
        picked = clean[self._index(np.minimum(source, n - 1), clean)]
        new = source >= n
        at = torch.from_numpy(new).to(clean.device)
        picked[at] = of_new[self._index(place[source[new] - n], clean)]
        return picked

    def code(self, registry: Registry, kind: str, spec: str) -> str:
        return self._clean.code(registry, kind, spec)

    def changed(self) -> list[str]:
        return self._clean.changed()

    def _rows(self, name: str, make: Make) -> tuple[Tensor, NDArray[np.int64]]:
        """Features of the distinct new rows (u, d), and which of them each new row has."""
        assert self._new is not None
        new, place = _distinct_rows(self._new)
        keys = [(name, row.tobytes()) for row in new]
        missing = list({key: i for i, key in enumerate(keys) if key not in self._known}.values())
        if missing:
            if len(self._known) > _MOST:
                self._known.clear()
                missing = list({key: i for i, key in enumerate(keys)}.values())
            fresh = make(np.ascontiguousarray(new[missing])).to(self.device)
            self._known.update((keys[i], row) for i, row in zip(missing, fresh, strict=True))
        return torch.stack([self._known[key] for key in keys]), place

    @staticmethod
    def _index(source: NDArray[np.int64], like: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(source)).to(like.device)


def _distinct_rows(new: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Rows, and which of them each of the ``new`` ones is: one, where one came many times."""
    if new.strides[0] == 0:
        return new[:1], np.zeros(len(new), np.int64)
    return new, np.arange(len(new))


class _Kept:
    """Dear features: those of the clean set from where they are kept, new ones computed."""

    def __init__(self, clean: KeptFeatures) -> None:
        self._clean = clean

    def compute(self, name: str, features: Features, x: NDArray[Any], told: Told) -> Tensor:
        if not x.flags.writeable:  # those of a data set
            return self._clean.compute(name, features, x, told)
        features.device = self._clean.device
        return features.compute(x)
