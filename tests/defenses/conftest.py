"""Defenses and the attacks that they know of, carried out on small training sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from harness.attacking.aim import Aim
from harness.attacking.verdict import pointwise
from harness.attacking.victim import CLEAN, Victim
from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.defense import Answer
from harness.plugins.registry import Registry
from harness.plugins.selection import Selection
from harness.results.cells import Cell, Plan
from harness.running.task import Inputs
from harness.threats import Threat


@dataclass
class Attacked:
    """A defense, trained on a data set, whose own attack is carried out."""

    victim: Victim
    shared: dict[str, Any] = field(default_factory=dict)

    def aims(self, threat: Threat) -> list[Aim]:
        """All test examples, as attacks under that threat are given them."""
        data = self.victim.data
        evidence = self.victim.evidence(CLEAN, np.arange(data.n_test))
        found = pointwise(self.victim.certify(evidence, threat))
        return [
            Aim(
                self.victim,
                threat,
                example,
                int(predicted),
                int(proved),
                tuple(b for b in range(data.n_labels) if b != predicted),
                self.shared,
            )
            for example, (predicted, proved) in enumerate(
                zip(found.predictions, found.radii, strict=True)
            )
        ]

    def carried_out(self, aim: Aim, r: int) -> Answer | None:
        """What comes of the attack of size ``r``, which the threat must allow; None for none."""
        poisoning = aim.defense.attack(aim, aim.threat, r)
        if poisoning is None:
            return None
        poisoning.check(aim.data, aim.threat, r)
        return aim.ask(poisoning)

    def turns(self, aim: Aim, r: int) -> bool:
        """Whether the attack of size ``r`` succeeds."""
        answer = self.carried_out(aim, r) if r > 0 else None
        assert answer is None or not answer.failure
        return answer is not None and answer.turned

    def gaps(self, threat: Threat, most: int = 0) -> list[int | None]:
        """For each test example, how many more than ``proved`` its smallest success takes, at most
        ``most``, else None. None at all where nothing is proved, or all n. A success of a proved
        size fails.
        """
        found: list[int | None] = []
        for aim in self.aims(threat):
            assert not self.turns(aim, aim.proved), f"refuted: {aim.example} at {aim.proved}"
            if 0 <= aim.proved < aim.data.n_train:
                sizes = range(1, most + 1)
                found.append(next((s for s in sizes if self.turns(aim, aim.proved + s)), None))
        return found


@pytest.fixture
def attacked(registry: Registry) -> Callable[[str, Dataset], Attacked]:
    """``attacked("knn[k=5]", data)``"""

    def make(spec: str, data: Dataset) -> Attacked:
        selection = Selection.parse(spec)
        defense = selection.build(registry.defenses[selection.name].value)
        cell = Cell(spec, selection.name, "", defense, "")
        inputs = Inputs(Plan(data, 0, (), cell.alpha, (cell,)), torch.device("cpu"))
        return Attacked(Victim(inputs, registry, cell))

    return make


def noisy_dataset(
    n_labels: int, values: int = 256, n_train: int = 60, n_test: int = 8, seed: int = 0
) -> Dataset:
    """Six bytes below ``values``, a label that follows from their sum and is wrong here and there.

    With few values many examples are identical, and have different labels.
    """
    rng = np.random.default_rng([seed, n_labels, values])
    x = rng.integers(0, values, (n_train + n_test, 6 if values > 4 else 2)).astype(np.uint8)
    rank = x.sum(axis=1).argsort(kind="stable").argsort(kind="stable")
    y = rank * n_labels // len(x)
    wrong = rng.random(len(x)) < 0.2
    y[wrong] = rng.integers(0, n_labels, wrong.sum())
    declared = Declaration(label_set=np.arange(n_labels), value_range=(0, 255))
    n = n_train
    return checked("noisy", x[:n], y[:n], x[n:], y[n:], declared)


@pytest.fixture
def noisy() -> Callable[..., Dataset]:
    """``noisy(n_labels, values=256, n_train=60, n_test=8)``: see :func:`noisy_dataset`."""
    return noisy_dataset
