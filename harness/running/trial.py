"""What base models cost: a few of a block are trained as in a run, timed and forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from harness.running.here import Here
from harness.running.kept_features import KeptFeatures
from harness.running.limit import TooLong
from harness.running.quiet import Quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.features.base import Features
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan
    from harness.running.kept_features import Told

ENOUGH_S = 4.0
"""Seconds that a further training may take."""
PATIENCE_S = 45.0
"""The same for the second one, without which little is known: the first is slow for itself."""
_FEW = 32
"""Examples whose dear features are timed."""


@dataclass(frozen=True)
class Line:
    """``fixed + each * models``: what blocks take, by their number of base models."""

    fixed: float
    each: float

    @classmethod
    def through(cls, points: Sequence[tuple[int, float]]) -> Line:
        """Through the last two of the points (models, value), with neither part below 0."""
        models, value = points[-1]
        fewer = [point for point in points if point[0] < models]
        if fewer:
            each = max(0.0, (value - fewer[-1][1]) / (models - fewer[-1][0]))
            if each * models <= value:
                return cls(value - each * models, each)
        return cls(0.0, value / models)

    def at(self, models: int) -> float:
        return self.fixed + self.each * models


@dataclass(frozen=True)
class Cost:
    """What a cell's blocks cost: ``seconds`` and ``megabytes`` of one, by its number of models.

    ``models``: how many it was timed on; where that is one of several, memory is not known.
    """

    seconds: Line
    megabytes: Line | None
    models: int


@dataclass
class Trial:
    """Trains a few models of a plan's cells; what it makes goes nowhere."""

    plan: Plan
    registry: Registry
    device: torch.device
    features: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By the name of features: the seconds that they take all cells together, and how known."""

    def __post_init__(self) -> None:
        self._here = Here(self.plan, self.registry, self.device, Quiet())
        examples = self.plan.shape.n_train + self.plan.shape.n_test
        self._rows = _RowsOfChance(None, self.device, examples=examples)
        self._here.inputs.kept = self._rows

    def of(self, cell: Cell, index: int, block: range) -> Cost:
        """The cost of the cell's blocks: one model of this one is timed, then more, until it is
        trained whole or some seconds have passed. Raises what ``gather`` does, and TooLong
        where a limit ends before the first is done.
        """
        points = [(1, *self._time(cell, index, block[:1]))]
        for models in _sizes(len(block)):
            before, took, _ = points[-1]
            second = len(points) == 1 and models > before
            if took * models / before > (PATIENCE_S if second else ENOUGH_S):
                break
            try:
                points.append((models, *self._time(cell, index, block[:models])))
            except TooLong:  # what is known is worth telling
                break
        warm = points[1:] or points  # the first also sets libraries up
        known = len(points) > 1 or len(block) == 1
        return Cost(
            Line.through([(m, seconds) for m, seconds, _ in warm]),
            Line.through([(m, megabytes) for m, _, megabytes in points]) if known else None,
            points[-1][0],
        )

    def _time(self, cell: Cell, index: int, models: range) -> tuple[float, float]:
        """Seconds and megabytes of one training, without the features that cells share."""
        start, before = time.perf_counter(), self._here.inputs.making
        meta = self._here.train(cell, models, index).meta
        took = time.perf_counter() - start - (self._here.inputs.making - before)
        for name, seconds in meta["shared"].items():
            self.features.setdefault(name, (seconds, "made once for all cells"))
        self.features |= {f"features {name}": told for name, told in self._rows.told.items()}
        return max(took, 0.0), meta["peak_rss_mb"]


def _sizes(most: int) -> Iterator[int]:
    """2, 8, 32, ... models, and at last so many; 1 once more where there are no more."""
    models = 2
    while models < most:
        yield models
        models *= 4
    yield most


@dataclass
class _RowsOfChance(KeptFeatures):
    """Rows drawn at random in place of dear features: what a model costs hardly follows them."""

    examples: int = 0
    """All those that the features are of."""
    told: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By the features' name: seconds that all rows would take, and how that is known."""

    def compute(self, name: str, features: Features, x: NDArray[Any], told: Told) -> Tensor:
        features.device = self.device
        few = x[:_FEW]
        for _ in range(2):  # the first also sets libraries up
            start = time.perf_counter()
            d = features.compute(few).shape[1]
            took = time.perf_counter() - start
            if took > ENOUGH_S:
                break
        how = f"timed on {len(few)} examples; rows that the store holds take none"
        self.told.setdefault(name, (took / len(few) * self.examples, how))
        rows: Tensor = torch.randn(len(x), d, generator=torch.Generator().manual_seed(0))
        return rows.div_(d**0.5)
