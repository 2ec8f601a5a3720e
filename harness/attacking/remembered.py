"""What is the same on many poisoned sets: most base models of a partition, and what they say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from harness.learners.base import Models
from harness.running.task import BlockTask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.attacking.inputs import PoisonedInputs
    from harness.learners.base import Learner
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell
    from harness.running.task import Make, Progress

Made = TypeVar("Made")

_MODELS = 20_000
"""Models that are remembered."""
_ANSWERS = 100_000
"""What else is: what they say of one test example, a few hundred bytes each."""


@dataclass
class _Recent:
    """What was made, by what it follows from; the ``most`` that were asked for last."""

    most: int
    _known: OrderedDict[Any, Any] = field(default_factory=OrderedDict)

    def get(self, key: Any, make: Callable[[], Made]) -> Made:
        if key in self._known:
            self._known.move_to_end(key)
        else:
            self._known[key] = make()
            if len(self._known) > self.most:
                self._known.popitem(last=False)
        found: Made = self._known[key]
        return found


@dataclass
class Memory:
    """What one cell made on other poisoned sets. Whoever confirms an attack does without."""

    models: _Recent = field(default_factory=lambda: _Recent(_MODELS))
    """Models that were fitted alone, by all that they follow from: the learner's name, the values
    of their examples and labels, and their generator."""
    made: _Recent = field(default_factory=lambda: _Recent(_ANSWERS))
    """What follows from some examples, by which ones they are."""
    of_clean: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What follows from each example alone, of the clean set."""
    rows: dict[bytes, int] = field(default_factory=dict)
    """A number for each new example, by its bytes."""

    def give(self, spec: str, learner: Learner) -> Learner:
        """The same learner; what it fits alone, it fits once."""
        fit = learner.fit

        def remembering(
            x: Tensor,
            y: Tensor,
            n_labels: int,
            rng: np.random.Generator,
            present: Tensor | None = None,
        ) -> Models:
            if len(x) != 1 or present is not None or x.device.type != "cpu":
                return fit(x, y, n_labels, rng, present)
            key = _key(spec, x, y, n_labels, rng)
            return self.models.get(key, lambda: _Remembered(fit(x, y, n_labels, rng)))

        setattr(learner, "fit", remembering)  # noqa: B010 - a method, as mypy would say
        return learner


class RememberingTask(BlockTask):
    """A block that remembers what it made of other poisoned sets of the same clean one."""

    def __init__(
        self,
        inputs: PoisonedInputs,
        registry: Registry,
        cell: Cell,
        models: range,
        index: int,
        progress: Progress,
        memory: Memory,
    ) -> None:
        super().__init__(inputs, registry, cell, models, index, progress)
        self._poisoned, self._memory = inputs, memory
        self._given: dict[int, tuple[object, int, object]] = {}
        """What this task gave, by its address: the thing, its version and its name."""
        self._codes: dict[bool, NDArray[np.int64]] = {}

    def learner(self, spec: str) -> Learner:
        return self._give(self._memory.give(spec, super().learner(spec)), ("learner", spec))

    def _use(
        self, name: str, make: Make, count: Callable[[], int], rows: NDArray[np.int64] | None
    ) -> tuple[Tensor, Tensor]:
        x, x_test = super()._use(name, make, count, rows)
        if rows is None:
            self._give(x, name)
        return x, self._give(x_test, (name, self._poisoned.tests.tobytes()))

    def by_example(
        self, about: str, of: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]
    ) -> NDArray[Any]:
        return self.of_set(about, lambda: self._by_example(about, of))

    def _by_example(
        self, about: str, of: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]
    ) -> NDArray[Any]:
        clean, of_clean = self._poisoned.clean, self._memory.of_clean
        if about not in of_clean:
            of_clean[about] = of(clean.x_train, clean.y_train)
        source = np.minimum(self._poisoned.order, clean.n_train - 1)
        other = self._poisoned.order >= clean.n_train
        rows = np.flatnonzero(other | (clean.y_train[source] != self.y_train))
        found = of_clean[about][source]
        if len(rows):
            found[rows] = of(self.x_train[rows], self.y_train[rows])
        found.flags.writeable = False
        return found

    def of_set(self, about: str, make: Callable[[], Made]) -> Made:
        notes = self._poisoned.notes
        if about not in notes:
            notes[about] = make()
        found: Made = notes[about]
        return found

    def once(
        self,
        rows: NDArray[np.int64],
        given: tuple[object, ...],
        make: Callable[[], Made],
        *,
        labels: bool = True,
    ) -> Made:
        names = tuple(map(self._name, given))
        if None in names:  # made of who knows what
            return make()
        code = self._code(labels)
        examples = blake2b(code[rows].tobytes(), digest_size=16).digest()
        key = *self._seeds, labels, examples, *names
        made = self._memory.made.get(key, make)
        for i, part in enumerate(made if isinstance(made, tuple) else (made,)):
            if isinstance(part, torch.Tensor):
                self._give(part, (key, i))
        return made

    def _code(self, labels: bool) -> NDArray[np.int64]:
        """(n',) a number for each training example, of its features and perhaps of its label."""
        if labels not in self._codes:
            code = self._poisoned.identities(self._memory.rows)
            self._codes[labels] = code * self.shape.n_labels + self.y_train if labels else code
        return self._codes[labels]

    def _give(self, thing: Made, name: object) -> Made:
        self._given[id(thing)] = thing, _version(thing), name
        return thing

    def _name(self, thing: object) -> object:
        """By which what was given is known; None for anything else, or if it was changed."""
        if isinstance(thing, int | str):
            return thing
        known = self._given.get(id(thing))
        return known[2] if known is not None and known[1] == _version(thing) else None


def _version(thing: object) -> int:
    return thing._version if isinstance(thing, torch.Tensor) else 0


@dataclass
class _Remembered(Models):
    """Fitted models, with what they said of the test examples that they were asked about last."""

    models: Models
    _asked: dict[str, tuple[bytes, Tensor]] = field(default_factory=dict)

    def predict(self, x: Tensor) -> Tensor:
        return self._once("predict", x, lambda: self.models.predict(x))

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        return self._once(f"scores {n_labels}", x, lambda: self.models.scores(x, n_labels))

    def _once(self, question: str, x: Tensor, ask: Callable[[], Tensor]) -> Tensor:
        about = blake2b(_bytes(x), digest_size=16).digest()
        known = self._asked.get(question)
        if known is None or known[0] != about:
            known = self._asked[question] = about, ask()
        return known[1]


def _key(spec: str, x: Tensor, y: Tensor, n_labels: int, rng: np.random.Generator) -> bytes:
    state = f"{spec} {tuple(x.shape)} {n_labels} {rng.bit_generator.state}"
    content = blake2b(state.encode(), digest_size=16)
    content.update(_bytes(x))
    content.update(_bytes(y))
    return content.digest()


def _bytes(tensor: Tensor) -> Any:
    return tensor.contiguous().numpy().reshape(-1).view(np.uint8).data
