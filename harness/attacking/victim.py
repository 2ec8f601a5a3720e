"""One cell, trained again on one poisoned training set after the other, by its own ``gather``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.attacking.inputs import Made, PoisonedInputs
from harness.attacking.remembered import Memory, RememberingTask
from harness.datasets.poisoning import Poisoning
from harness.defense import Evidence
from harness.plugins.lookup import Installed
from harness.results.cells import shape_of
from harness.running.quiet import Quiet
from harness.running.task import BlockTask

if TYPE_CHECKING:
    from torch import Tensor

    from harness.certificates import Certificate
    from harness.datasets.base import Dataset
    from harness.defense import Defense, Lookup
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell
    from harness.running.task import Inputs
    from harness.threats import Threat

IntArray = NDArray[np.int64]

CLEAN = Poisoning()
"""Nothing changed."""


@dataclass
class Victim:
    """A cell that is attacked, on the data of ``inputs``: training it is the only way to ask it.

    ``inputs`` are those of the clean training set and of all test examples; they may be shared with
    other cells.
    """

    inputs: Inputs
    registry: Registry
    cell: Cell
    made: Made = field(default_factory=dict, repr=False)
    """Features of single examples that are known already."""
    trainings: int = 0
    """How often it was trained."""
    _memory: Memory = field(default_factory=Memory, repr=False)

    @property
    def data(self) -> Dataset:
        """The clean data set."""
        return self.inputs.plan.dataset

    @property
    def defense(self) -> Defense[Any]:
        """The defense, made anew of its parameters: it remembers no other training set."""
        assert self.cell.defense is not None
        return type(self.cell.defense)(self.cell.defense.params)

    def evidence(
        self,
        poisoning: Poisoning,
        tests: IntArray,
        seed: int | None = None,
        *,
        remembered: bool = True,
    ) -> Evidence:
        """What training on the poisoned set leaves, of the test examples ``tests``, by index.

        ``seed``: of everything random, in place of the cell's; ``remembered``: base models whose
        examples are the same as on another set are not fitted again. Raises what ``gather`` does.
        """
        self.trainings += 1
        data = self.poisoned(poisoning, tests)
        inputs = self._inputs(poisoning, data, tests)
        shape, defense = shape_of(data), self.defense
        defense.check(shape)
        cell = self.cell if seed is None else replace(self.cell, seed=seed)
        blocks = defense.blocks(shape, self.lookup(shape.example))
        parts = []
        for index, models in enumerate(blocks):
            arguments = inputs, self.registry, cell, models, index, Quiet()
            task = (
                RememberingTask(*arguments, self._memory) if remembered else BlockTask(*arguments)
            )
            parts.append(defense.gather(task))
        whole = {key: np.asarray(part) for key, part in defense.merge(parts).items()}
        return Evidence(whole, shape.n_train, shape.n_labels, shape.dimension)

    def certify(self, evidence: Evidence, threat: Threat) -> Certificate:
        """What that evidence proves, at the cell's alpha."""
        return self.defense.certify(evidence, threat, self.cell.alpha)

    def task(self, tests: IntArray, index: int = 0) -> BlockTask:
        """A block of the cell on the clean training set, for those test examples alone."""
        data = self.poisoned(CLEAN, tests)
        inputs = self._inputs(CLEAN, data, tests)
        shape = shape_of(data)
        models = self.defense.blocks(shape, self.lookup(shape.example))[index]
        return RememberingTask(
            inputs, self.registry, self.cell, models, index, Quiet(), self._memory
        )

    def features_of(self, spec: str, x: NDArray[Any]) -> Tensor:
        """The features (m, d) of raw examples ``x`` (m, ...), as a task has them."""
        new = Poisoning.insert(x, np.zeros(len(x), np.int64))
        none = np.zeros(0, np.int64)
        data = self.poisoned(CLEAN, none)
        n = data.n_train
        inputs = PoisonedInputs(
            self.inputs, data, np.arange(n + len(x)), new.rows(), none, self.made
        )
        task = BlockTask(inputs, self.registry, self.cell, range(1), 0, Quiet())
        return task.features(spec, n + np.arange(len(x)))[0]

    def poisoned(self, poisoning: Poisoning, tests: IntArray) -> Dataset:
        """The poisoned training set with those test examples."""
        x, y = poisoning.apply(self.data)
        for array in (x, y):
            array.flags.writeable = False  # nobody else has it: no copy need be kept
        x_test, y_test = self.data.x_test[tests], self.data.y_test[tests]
        return replace(self.data, x_train=x, y_train=y, x_test=x_test, y_test=y_test)

    def lookup(self, example: tuple[int, ...]) -> Lookup:
        """What the defense may ask for by name."""
        return Installed(self.registry, example)

    def _inputs(self, poisoning: Poisoning, data: Dataset, tests: IntArray) -> PoisonedInputs:
        order = poisoning.order(self.data.n_train)
        return PoisonedInputs(self.inputs, data, order, poisoning.rows(), tests, self.made)
