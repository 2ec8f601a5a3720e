"""What ``gather`` is given: one block of base models to train, and the data to train them on."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from harness.defense import Shape, Task
from harness.errors import UsageError
from harness.features.tensors import images
from harness.plugins.lookup import features_name, features_of, learner_of
from harness.running.code_of_parts import code_of_features, code_of_learner
from harness.running.kept_features import KeptFeatures
from harness.running.machine import free_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.learners.base import Learner
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan


Make = Callable[["NDArray[Any]"], "Tensor"]
"""From raw examples (n, ...) to what base models are given (n, ...)."""

_READ = 2**26
"""Bytes of raw examples that are read and made at once where they are mapped."""


class Progress(Protocol):
    """Told what happens; shows it or not."""

    def start(self, cell: str, total: int, done: int) -> None:
        """A cell begins: ``total`` base models, ``done`` of them from an earlier run."""

    def advance(self, models: int) -> None:
        """So many more base models are trained."""

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        """The cell is done, or failed with that error."""

    def note(self, text: str) -> None:
        """Something else that the user should know, in one line."""


def seeds(seed: int, defense: str, block: int) -> np.random.SeedSequence:
    """The seeds of one block: they depend on the run's seed, the defense's name and the index."""
    name = hashlib.sha256(defense.encode()).digest()
    words = np.frombuffer(name[:16], dtype="<u4").tolist()
    return np.random.SeedSequence([seed, *words], spawn_key=(block,))


class Inputs:
    """The run's data on its device, and its features, each computed once."""

    def __init__(self, plan: Plan, device: torch.device, store: Path | None = None) -> None:
        self.plan = plan
        self.device = device
        self.kept = KeptFeatures(store, device)
        self._made: dict[tuple[str, str], tuple[Tensor, float]] = {}
        self._sums: dict[tuple[str, str], tuple[int, int]] = {}
        self.making = 0.0
        """Seconds in which features were made so far."""
        self._codes: dict[tuple[str, str], str] = {}

    def made(self, name: str, make: Make) -> tuple[tuple[Tensor, Tensor], float]:
        """What ``make`` makes of training and test set, and the seconds that it took once.

        ``name`` names the same thing in the whole run.
        """
        train, train_s = self._part(name, make, "train")
        test, test_s = self.made_of_test(name, make)
        return (train, test), train_s + test_s

    def made_of_test(self, name: str, make: Make) -> tuple[Tensor, float]:
        """The same of the test set alone."""
        return self._part(name, make, "test")

    def _part(self, name: str, make: Make, part: str) -> tuple[Tensor, float]:
        if (name, part) not in self._made:
            start = time.perf_counter()
            made = self._joined(name, make, self._raw(f"x_{part}"))
            seconds = time.perf_counter() - start
            self._made[name, part] = made, seconds
            self._sums[name, part] = _sum(made)
            self.making += seconds
        return self._made[name, part]

    def by_rows(self, name: str) -> bool:
        """Whether training examples that are asked for are read and made one by one: they are
        mapped, and not in memory yet under that name.
        """
        return self.plan.dataset.files is not None and (name, "train") not in self._made

    def check_room(self, name: str, n: int, d: int) -> None:
        """Raises UsageError where n training examples of d numbers, and a copy, do not fit in
        memory: of a mapped data set there may be any number.
        """
        needed, free = 2 * n * d * 4, free_memory()
        if free is not None and needed > free:
            raise UsageError(
                f"{name} of all {n:,} training examples take {needed / 1e9:.3g} GB of memory while "
                f"they are made, and {free / 1e9:.3g} GB are free; bagging needs those alone that "
                "it draws"
            )

    def made_of_rows(self, name: str, make: Make, rows: NDArray[np.int64]) -> Tensor:
        """What ``make`` makes of the training examples ``rows`` (any shape) of a mapped data set:
        (*rows.shape, ...). Each is read and made once, however often it is drawn.
        """
        files = self.plan.dataset.files
        assert files is not None
        which, places = np.unique(rows, return_inverse=True)
        size = files.x_train.array[0].nbytes
        parts = np.split(which, range(0, len(which), max(1, _READ // size))[1:])
        made = self._joined(name, make, (files.x_train.rows(some) for some in parts))
        return made[places.reshape(rows.shape)]

    def _raw(self, key: str) -> Iterable[NDArray[Any]]:
        """All raw examples in turn; of a mapped array some, which those that follow overwrite."""
        data = self.plan.dataset
        if data.files is None:
            return [getattr(data, key)]
        return data.files[key].chunks(data.domain.lowest, data.domain.highest, _READ)

    def _joined(self, name: str, make: Make, raw: Iterable[NDArray[Any]]) -> Tensor:
        parts = [self.compute(name, make, some).to(self.device) for some in raw]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def changed(self) -> list[str]:
        """The features that are not any more as they were made: they are made again when they are
        asked for next. Whoever changed them must not leave anything that rests on them.
        """
        spoilt = [key for key, (made, _) in self._made.items() if _sum(made) != self._sums[key]]
        for key in spoilt:
            del self._made[key]
        return sorted({name for name, _ in spoilt})

    def code(self, registry: Registry, kind: str, spec: str) -> str:
        """A digest of the code of the ``learner`` or the ``features`` of that name, as it was when
        this was first asked: what training leaves in a class is no edit.
        """
        if (kind, spec) not in self._codes:
            found = code_of_learner if kind == "learner" else code_of_features
            self._codes[kind, spec] = found(registry, spec)
        return self._codes[kind, spec]

    def compute(self, name: str, make: Make, x: NDArray[Any]) -> Tensor:
        """What ``make`` makes, under that name, of raw examples ``x`` (n, ...)."""
        return make(x)


def _sum(tensor: Tensor) -> tuple[int, int]:
    """What tells a change in place: how often PyTorch saw one, and, on the CPU, the content."""
    if tensor.device.type != "cpu":
        return tensor._version, 0
    return tensor._version, zlib.crc32(tensor.contiguous().view(-1).numpy().view(np.uint8).data)


class BlockTask(Task):
    """One block of one cell: what ``gather`` is given; ``index`` is the block's in the cell."""

    def __init__(
        self,
        inputs: Inputs,
        registry: Registry,
        cell: Cell,
        models: range,
        index: int,
        progress: Progress,
    ) -> None:
        data = inputs.plan.dataset
        self.shape: Shape = inputs.plan.shape
        self.domain = data.domain
        self.x_train, self.y_train, self.x_test = data.x_train, data.y_train.copy(), data.x_test
        self.models, self.device = models, inputs.device
        self._inputs, self._registry, self._progress = inputs, registry, progress
        self._seeds = (cell.seed, cell.name, index)
        self.shared: dict[str, float] = {}
        """Seconds that features took, by name: once, for all cells that use them."""
        self.seconds = {"train": 0.0, "predict": 0.0}
        self._making = 0.0
        self._learners: list[Learner] = []
        self._asked: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self.reported = 0
        self.trusted: dict[str, str] = {}
        """What is trusted beyond the clean training set, by the features that ask for it."""

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(seeds(*self._seeds))

    def features(self, spec: str, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        example = self.shape.example
        name = features_name(self._registry, spec, example)
        start = time.perf_counter()
        self._seen[name] = self._inputs.code(self._registry, "features", name)
        self._making += time.perf_counter() - start
        features = features_of(self._registry, name, example)
        make: Make = features.compute
        if features.dear:
            self.trusted[name] = features.trusts()
            make = partial(self._inputs.kept.compute, name, features, told=self._progress)
        return self._use(f"features {name}", make, partial(features.count, example), rows)

    def images(self, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        return self._use("images", images, lambda: self.shape.dimension, rows)

    def _use(
        self, name: str, make: Make, count: Callable[[], int], rows: NDArray[np.int64] | None
    ) -> tuple[Tensor, Tensor]:
        # Cells share what is made of whole sets: that it took time is told by itself and is no
        # cell's own. Rows are the block's own, also the reading of them.
        start = time.perf_counter()
        if rows is not None and self._inputs.by_rows(name):
            x_test, self.shared[name] = self._inputs.made_of_test(name, make)
            self._making += time.perf_counter() - start
            return self._inputs.made_of_rows(name, make, rows), x_test
        if self._inputs.by_rows(name):
            self._inputs.check_room(name, self.shape.n_train, count())
        (x, x_test), self.shared[name] = self._inputs.made(name, make)
        self._making += time.perf_counter() - start
        return x if rows is None else x[rows], x_test

    def learner(self, spec: str) -> Learner:
        self._learners.append(learner_of(self._registry, spec))
        start = time.perf_counter()
        self._asked[spec] = self._inputs.code(self._registry, "learner", spec)
        self._making += time.perf_counter() - start  # no part of the phase that it is asked for in
        return self._learners[-1]

    def code_of_learners(self) -> dict[str, str]:
        """For each learner that was asked for, in the defense's words, a digest of its code."""
        return dict(sorted(self._asked.items()))

    def code_of_features(self) -> dict[str, str]:
        """For the features that were asked for, in canonical words, a digest of their code."""
        return dict(sorted(self._seen.items()))

    def unfitted(self) -> dict[str, int]:
        """How many base models of this block were not fitted as intended, by reason."""
        total: Counter[str] = Counter()
        for learner in self._learners:
            total.update(learner.unfitted)
        return {why: models for why, models in sorted(total.items()) if models}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if name not in self.seconds:
            raise ValueError(f"unknown phase {name!r}; allowed: train, predict")
        start, made = time.perf_counter(), self._making
        try:
            yield
        finally:
            self._synchronize()
            made = self._making - made  # features that are asked for in here are no part of it
            self.seconds[name] += time.perf_counter() - start - made

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def advance(self, models: int) -> None:
        self.reported += models
        self._progress.advance(models)
