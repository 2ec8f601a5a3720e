"""Blocks of base models, trained in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from harness.errors import HarnessError, UsageError
from harness.results.files import Stored
from harness.results.provenance import fingerprint
from harness.running.calibration import Calibration
from harness.running.code import edited_before_loaded
from harness.running.machine import PeakMemory
from harness.running.task import BlockTask, Inputs, Progress

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan


class BlockError(HarnessError):
    """A block that could not be trained elsewhere; ``details``: what a traceback would say."""

    exit_code = 3

    def __init__(self, text: str, details: str) -> None:
        super().__init__(text)
        self.details = details


class Executor(Protocol):
    """Maps blocks to arrays and nothing else: wherever it does so, they are the same."""

    def expect(self, cell: Cell, blocks: Sequence[tuple[int, range]]) -> None:
        """These blocks of the cell, (index, base models), will be asked for next, in any order."""

    def train(self, cell: Cell, models: range, index: int) -> Stored:
        """A block's arrays, and how they came about; the executor's progress is told of it.

        Raises what ``gather`` does, or a HarnessError in its place.
        """
        ...


@dataclass
class Here:
    """Trains the blocks of a plan in this process; its data and features serve all cells."""

    plan: Plan
    registry: Registry
    device: torch.device
    progress: Progress
    store: Path | None = None
    """The evidence store, which keeps the rows of dear features."""
    inputs: Inputs = field(init=False)
    _calibration: Calibration = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = Inputs(self.plan, self.device, self.store)
        self._calibration = Calibration(self.device)

    def expect(self, cell: Cell, blocks: Sequence[tuple[int, range]]) -> None:
        """Nothing is begun before it is asked for."""

    def train(self, cell: Cell, models: range, index: int) -> Stored:
        """The block, trained now. Raises what ``gather`` does; TypeError, RuntimeError, UsageError
        for arrays that cannot be kept, spoilt features, and code that was edited meanwhile;
        DataError for mapped examples that were.
        """
        assert cell.defense is not None
        calibration_s = self._calibration.seconds()
        memory = PeakMemory()
        memory.reset()
        files = self.plan.dataset.files
        if files is not None:
            files.check_unchanged()
        task = BlockTask(self.inputs, self.registry, cell, models, index, self.progress)
        arrays = {key: np.asarray(value) for key, value in cell.defense.gather(task).items()}
        _refuse_objects(arrays)
        if files is not None:
            files.check_unchanged()
        spoilt = self.inputs.changed()
        if spoilt:
            names = " and ".join(sorted(spoilt))
            raise RuntimeError(f"gather changed {names} in place, which other cells share")
        learners, features = task.code_of_learners(), task.code_of_features()
        _refuse_edited([cell.code, *learners.values(), *features.values()])
        if task.reported < len(models):
            task.advance(len(models) - task.reported)
        meta = {
            "models": [models.start, models.stop],
            "peak_rss_mb": memory.megabytes(),
            "calibration_s": calibration_s,
            "machine": fingerprint(self.device),
            "unfitted": task.unfitted(),
            "learners": learners,
            "features": features,
            "shared": task.shared,
            "trusted": task.trusted,
        }
        return Stored(arrays, {**task.seconds, **meta})


def _refuse_objects(arrays: dict[str, NDArray[Any]]) -> None:
    for key, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"gather returned {key} as an array of objects; wanted numbers")


def _refuse_edited(codes: Sequence[str]) -> None:
    """Raises UsageError where what was trained rests on other code than its key names."""
    edited = sorted(
        {name for code in codes for name in edited_before_loaded(code.partition(":")[0])}
    )
    if edited:
        raise UsageError(
            f"{' and '.join(edited)} was edited after this run was planned and before it was "
            "imported; what was trained with it is not kept: run it again"
        )
