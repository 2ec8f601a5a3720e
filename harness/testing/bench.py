"""A defense on a tiny data set, trained in memory by the tasks of the real runner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.attacking.victim import Victim
from harness.certificates import Certificate
from harness.datasets.base import Dataset
from harness.defense import Arrays, Defense, Evidence, Shape
from harness.errors import UsageError
from harness.plugins.lookup import Installed
from harness.plugins.selection import Selection, label
from harness.results.cells import Cell, Plan, shape_of
from harness.running.named import resolved
from harness.running.quiet import Quiet
from harness.running.task import Inputs, Make
from harness.testing.data import tiny_dataset
from harness.testing.recording import Given, RecordingTask
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.poisoning import Poisoning
    from harness.plugins.registry import Registry
    from harness.testing.verdicts import Failure

ALPHA = 0.001
"""The error probability at which properties are checked that do not vary it."""

SMALL = {"n_models": 24, "k": 3}
"""What parameters of these names are lowered to where the test does not choose them."""


@dataclass(frozen=True)
class Trained:
    """What training left: the merged evidence, and the base models that were overheard."""

    arrays: Arrays
    models: tuple[Given, ...]
    """Empty where base models are not fitted by ``task.learner``."""
    specs: tuple[str, ...]
    """The learners that were asked for, in the words of the defense."""
    spoilt: tuple[str, ...]
    """Which of the arrays that the run's cells share were changed in place."""


@dataclass(frozen=True)
class Bench:
    """A defense, the data set that it is tried on, and the learners that it may name."""

    defense: Defense[Any]
    dataset: Dataset
    registry: Registry
    made: dict[tuple[str, bytes], torch.Tensor] = field(default_factory=dict, compare=False)
    """Features of single examples, shared by the benches that are made of this one."""

    @property
    def shape(self) -> Shape:
        """The sizes of the data set."""
        return shape_of(self.dataset)

    @property
    def label(self) -> str:
        """How the defense would be selected on the command line."""
        return label(self.defense.name, self.defense.params)

    @property
    def threats(self) -> list[Threat]:
        """The covered threats, in the order of their declaration."""
        covered = self.defense.covers()
        return [threat for threat in Threat if threat in covered]

    def fresh(self) -> Defense[Any]:
        """The defense as another process has it: made from its parameters alone."""
        return type(self.defense)(self.defense.params)

    def on(self, **arrays: NDArray[Any]) -> Bench:
        """The same defense on the data set with some of its arrays exchanged."""
        exchanged: dict[str, Any] = dict(arrays)
        return self.poisoned(replace(self.dataset, **exchanged))

    def poisoned(self, dataset: Dataset) -> Bench:
        """The same defense on another data set."""
        return replace(self, dataset=dataset)

    def with_params(self, **changes: Any) -> Bench | None:
        """The defense with other parameters; None where it has none of that name or refuses."""
        if not changes.keys() <= type(self.defense.params).model_fields.keys():
            return None
        values = self.defense.params.model_dump() | changes
        try:
            params = type(self.defense.params).model_validate(values)
        except ValidationError:
            return None
        other = replace(self, defense=type(self.defense)(params))
        return other if other.accepted else None

    @property
    def accepted(self) -> bool:
        """Whether data of this shape suit the defense, its learner and its features."""
        try:
            resolved(self.defense, self.shape, self.registry)
        except UsageError:
            return False
        return True

    def blocks(self) -> Sequence[range]:
        """How the defense cuts its base models into blocks."""
        return self.fresh().blocks(self.shape, Installed(self.registry, self.shape.example))

    def train(self, order: Sequence[int] | None = None) -> Trained:
        """Trains all blocks, in their order unless said, and merges them in their order."""
        defense, blocks, cell = self.fresh(), self.blocks(), self._cell()
        inputs = Inputs(self._plan(cell), torch.device("cpu"))
        parts: dict[int, Arrays] = {}
        given: list[Given] = []
        spoilt: set[str] = set()
        specs: set[str] = set()
        for index in range(len(blocks)) if order is None else order:
            task = RecordingTask(inputs, self.registry, cell, blocks[index], index, Quiet())
            parts[index] = {key: np.asarray(part) for key, part in defense.gather(task).items()}
            given += task.given()
            spoilt |= task.spoilt()
            specs |= task.specs
        merged = defense.merge([parts[index] for index in sorted(parts)])
        return Trained(merged, tuple(given), tuple(sorted(specs)), tuple(sorted(spoilt)))

    @cached_property
    def victim(self) -> Victim:
        """The defense as attacks have it: trained on whatever they leave of the training set."""
        cell = self._cell()
        inputs = _RememberedInputs(self._plan(cell), torch.device("cpu"), self.made)
        return Victim(inputs, self.registry, cell, made=self.made)

    def trained_on(self, poisoning: Poisoning) -> Evidence:
        """What training on the poisoned set leaves, of all test examples: with nothing overheard,
        as :meth:`train` does, and nothing remembered but the features of single examples.
        """
        return self.victim.evidence(poisoning, np.arange(self.dataset.n_test), remembered=False)

    def _cell(self) -> Cell:
        return Cell(self.label, self.defense.name, "", self.fresh(), "", alpha=ALPHA)

    def _plan(self, cell: Cell) -> Plan:
        return Plan(self.dataset, 0, (), ALPHA, (cell,))

    @cached_property
    def trained(self) -> Trained:
        """The defense trained on the data set as it is."""
        return self.train()

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What one property found out and others need as well, by a name of its own."""
        return {}

    @cached_property
    def slow(self) -> set[str]:
        """The labels of variants whose training takes too long for an attack."""
        return set()

    @cached_property
    def judged(self) -> dict[str, Failure | None]:
        """What is known about properties already, by name: some build on others."""
        return {}

    def evidence(self, arrays: Arrays) -> Evidence:
        """Evidence that was gathered from this data set."""
        shape = self.shape
        return Evidence(arrays, shape.n_train, shape.n_labels, shape.dimension)

    def certify(
        self, threat: Threat, alpha: float = ALPHA, arrays: Arrays | None = None
    ) -> Certificate:
        """The certificate from ``arrays``, or from the data set as it is."""
        found = self.trained.arrays if arrays is None else arrays
        return self.fresh().certify(self.evidence(found), threat, alpha)

    def certificates(self, alpha: float = ALPHA) -> Iterator[tuple[Threat, Certificate]]:
        """The certificate under every covered threat."""
        for threat in self.threats:
            yield threat, self.certify(threat, alpha)


class _RememberedInputs(Inputs):
    """Features that are computed once for each example: each depends on its own example alone."""

    def __init__(
        self, plan: Plan, device: torch.device, made: dict[tuple[str, bytes], torch.Tensor]
    ) -> None:
        super().__init__(plan, device)
        self._known = made

    def compute(self, name: str, make: Make, x: NDArray[Any]) -> torch.Tensor:
        keys = [(name, example.tobytes()) for example in x]
        missing = [i for i, key in enumerate(keys) if key not in self._known]
        if missing:
            for i, row in zip(missing, super().compute(name, make, x[missing]), strict=True):
                self._known[keys[i]] = row
        return torch.stack([self._known[key] for key in keys]) if keys else make(x)


def make_bench(
    defense: type[Defense[Any]] | Defense[Any] | str,
    dataset: Dataset | None,
    registry: Registry | None,
) -> Bench:
    """A bench for a defense, a class of them or a selection such as ``bagging[k=5]``.

    An instance is tried as it is. Parameters of a class or selection that are named in ``SMALL``
    and were not chosen are lowered, so that training takes milliseconds. Raises UsageError for a
    selection that does not exist, and where the defense does not accept the data set.
    """
    if registry is None:
        from harness.plugins.registry import load_registry

        registry = load_registry()
    if isinstance(defense, str):
        selection = Selection.parse(defense)
        made = _small(_installed(registry, selection.name), selection)
    elif isinstance(defense, Defense):
        made = defense
    else:
        made = _small(defense, Selection(defense.name))
    data = tiny_dataset() if dataset is None else dataset
    resolved(made, shape_of(data), registry)
    return Bench(made, data, registry)


def _installed(registry: Registry, name: str) -> type[Defense[Any]]:
    """The defense of that name. Raises UsageError that says where a plugin must be to be found."""
    try:
        return registry.defenses[name].value
    except UsageError as error:
        if registry.defenses.claims(name):
            raise
        where = "a plugin is found by name once it is installed: python -m pip install -e ."
        raise UsageError(f"{error}; {where}") from None


def _small(defense: type[Defense[Any]], selection: Selection) -> Defense[Any]:
    """The defense as selected, with the parameters in ``SMALL`` lowered where it lets them be."""
    params = selection.build(defense).params
    chosen = dict(selection.parameters)
    for name, most in SMALL.items():
        value = getattr(params, name, None)
        if name not in chosen and isinstance(value, int) and value > most:
            with suppress(ValidationError):
                params = defense.Params.model_validate(params.model_dump() | {name: most})
    return defense(params)
