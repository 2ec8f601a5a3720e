"""What ``gather`` is given: one block of base models to train, and the data to train them on."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from harness.defense import Shape, Task
from harness.features.tensors import images
from harness.plugins.lookup import features_name, features_of, learner_of
from harness.running.code_of_parts import code_of_features, code_of_learner
from harness.running.kept_features import KeptFeatures

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.learners.base import Learner
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan


Make = Callable[["NDArray[Any]"], "Tensor"]
"""From raw examples (n, ...) to what base models are given (n, ...)."""


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
        self._made: dict[str, tuple[tuple[Tensor, Tensor], float]] = {}
        self._sums: dict[str, tuple[int, ...]] = {}
        self.making = 0.0
        """Seconds in which features were made so far."""
        self._codes: dict[tuple[str, str], str] = {}

    def made(self, name: str, make: Make) -> tuple[tuple[Tensor, Tensor], float]:
        """What ``make`` makes of training and test set, and the seconds that it took once.

        ``name`` names the same thing in the whole run.
        """
        if name not in self._made:
            start = time.perf_counter()
            data = self.plan.dataset
            train = self.compute(name, make, data.x_train)
            test = self.compute(name, make, data.x_test)
            both = train.to(self.device), test.to(self.device)
            seconds = time.perf_counter() - start
            self._made[name] = (both, seconds)
            self._sums[name] = _sums(both)
            self.making += seconds
        return self._made[name]

    def changed(self) -> list[str]:
        """The features that are not any more as they were made: they are made again when they are
        asked for next. Whoever changed them must not leave anything that rests on them.
        """
        names = [name for name, (both, _) in self._made.items() if _sums(both) != self._sums[name]]
        for name in names:
            del self._made[name]
        return names

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


def _sums(tensors: tuple[Tensor, Tensor]) -> tuple[int, ...]:
    """What tells a change in place: how often PyTorch saw one, and, on the CPU, the content."""
    found = []
    for tensor in tensors:
        found.append(tensor._version)
        if tensor.device.type == "cpu":
            found.append(zlib.crc32(tensor.contiguous().view(-1).numpy().view(np.uint8).data))
    return tuple(found)


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

    def features(self, spec: str) -> tuple[Tensor, Tensor]:
        example = self.shape.example
        name = features_name(self._registry, spec, example)
        start = time.perf_counter()
        self._seen[name] = self._inputs.code(self._registry, "features", name)
        self._making += time.perf_counter() - start
        features = features_of(self._registry, name, example)
        if not features.dear:
            return self._use(f"features {name}", features.compute)
        self.trusted[name] = features.trusts()
        kept = partial(self._inputs.kept.compute, name, features, told=self._progress)
        return self._use(f"features {name}", kept)

    def images(self) -> tuple[Tensor, Tensor]:
        return self._use("images", images)

    def _use(self, name: str, make: Make) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        both, seconds = self._inputs.made(name, make)
        self._making += time.perf_counter() - start
        # Cells share features: what they cost is told by itself and is no cell's own.
        self.shared[name] = seconds
        return both

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
            import torch

            torch.cuda.synchronize(self.device)

    def advance(self, models: int) -> None:
        self.reported += models
        self._progress.advance(models)
