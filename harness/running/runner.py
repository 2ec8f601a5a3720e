"""Running a plan: train what is not yet stored, certify everything, keep what failed apart."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.defense import Evidence
from harness.errors import HarnessError, NoSpaceError, RunFolderError
from harness.plugins.lookup import code_of_learner, learner_of
from harness.proofs.curves import Curve, curve
from harness.results.folder import RunFolder, Stored
from harness.running.calibration import Calibration
from harness.running.containment import CellLog, contained, describe
from harness.running.machine import PeakMemory, fingerprint
from harness.running.plan import Cell, Plan
from harness.running.task import BlockTask, Inputs, Progress

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from harness.certificates import Certificate
    from harness.plugins.registry import Registry
    from harness.threats import Threat


@dataclass(frozen=True)
class Proved:
    """One certificate of a cell under one threat, and its curve; both None if not covered."""

    threat: Threat
    certificate: Certificate | None
    curve: Curve | None
    seconds: float


@dataclass(frozen=True)
class CellResult:
    """What became of a cell."""

    cell: Cell
    proved: tuple[Proved, ...] = ()
    n_models: int = 0
    train_s: float = 0.0
    predict_s: float = 0.0
    peak_rss_mb: float = 0.0
    calibration_s: float | None = None
    """What :mod:`harness.running.calibration` measured beside it; None for older evidence."""
    machine: str | None = None
    """The kind of machine that trained it; None where that is not known or blocks differ."""
    unfitted: Mapping[str, int] = field(default_factory=dict)
    """How many base models were not fitted as intended, by reason."""
    error: str | None = None

    @property
    def certify_s(self) -> float:
        """Seconds to certify, under all threats."""
        return sum(one.seconds for one in self.proved)


@dataclass
class Runner:
    """Runs the cells of a plan one after another, in its folder.

    What a cell writes goes to ``logs/``. With a ``timeout`` in seconds each cell runs in a process
    of its own (see :mod:`harness.running.child`) and fails if it takes longer.
    """

    plan: Plan
    folder: RunFolder
    registry: Registry
    device: torch.device
    progress: Progress
    timeout: float | None = None
    _inputs: Inputs = field(init=False)
    _calibration: Calibration = field(init=False)

    def __post_init__(self) -> None:
        self._inputs = Inputs(self.plan, self.device)
        self._calibration = Calibration(self.device)

    def run(self) -> list[CellResult]:
        """The results of all cells. One that fails does not keep the others from finishing.

        KeyboardInterrupt, a full disk and a folder that cannot be written end the run; what was
        finished is kept.
        """
        return [self._run(cell) for cell in self.plan.cells]

    def _run(self, cell: Cell) -> CellResult:
        start = time.perf_counter()
        log = CellLog()
        try:
            if self.timeout is None or cell.defense is None:
                with contained(log):
                    result = self.attempt(cell)
            else:
                result = self._attempt_apart(cell, log, self.timeout)
        finally:
            self._keep(cell, log)
        if result.error is None:
            self.folder.remove(f"failures/{self._stem(cell)}.txt")
        self.progress.finish(cell.label, time.perf_counter() - start, result.error)
        if log:
            lines = "1 line" if log.lines == 1 else f"{log.lines:,} lines"
            self.progress.note(f"{cell.label} wrote {lines}: {self.folder.path / self._log(cell)}")
        return result

    def attempt(self, cell: Cell) -> CellResult:
        """What becomes of the cell in this process. Raises as :meth:`run` does."""
        try:
            return self._finish(cell)
        except (NoSpaceError, RunFolderError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a plugin may call sys.exit, or raise what it likes
            return self._failed(cell, error, _traceback())

    def _attempt_apart(self, cell: Cell, log: CellLog, timeout: float) -> CellResult:
        from harness.running.child import run_apart

        try:
            return run_apart(self, cell, log, timeout)
        except (NoSpaceError, RunFolderError):
            raise
        except HarnessError as error:
            return self._failed(cell, error, f"{error}\nSee {self._log(cell)}, if it is there.\n")

    def _failed(self, cell: Cell, error: BaseException, details: str) -> CellResult:
        self.folder.write(f"failures/{self._stem(cell)}.txt", details)
        return CellResult(cell, error=describe(error))

    def _keep(self, cell: Cell, log: CellLog) -> None:
        if log:
            self.folder.write(self._log(cell), log.content())
        else:
            self.folder.remove(self._log(cell))

    def _log(self, cell: Cell) -> str:
        return f"logs/{self._stem(cell)}.txt"

    def _stem(self, cell: Cell) -> str:
        """NAME-KEY; for a cell that shares its evidence with earlier ones, also a number."""
        before = self.plan.cells[: self.plan.cells.index(cell)]
        shared = sum((one.name, one.key) == (cell.name, cell.key) for one in before)
        return cell.stem + (f"-{shared + 1}" if shared else "")

    def _finish(self, cell: Cell) -> CellResult:
        if cell.defense is None:
            self.progress.start(cell.label, 0, 0)
            raise HarnessError(cell.error or "the defense could not be loaded")
        stored = self._gather(cell)
        evidence = Evidence(
            stored.arrays,
            self.plan.dataset.n_train,
            self.plan.dataset.n_labels,
            self.plan.shape.dimension,
        )
        proved = [self._certify(cell, evidence, threat) for threat in self.plan.threats]
        return CellResult(
            cell,
            tuple(proved),
            stored.meta["n_models"],
            stored.meta["train"],
            stored.meta["predict"],
            stored.meta["peak_rss_mb"],
            stored.meta.get("calibration_s"),
            stored.meta.get("machine"),
            stored.meta.get("unfitted", {}),
        )

    def _certify(self, cell: Cell, evidence: Evidence, threat: Threat) -> Proved:
        assert cell.defense is not None
        if threat not in cell.defense.covers():
            return Proved(threat, None, None, 0.0)
        start = time.perf_counter()
        certificate = cell.defense.certify(evidence, threat, self.plan.alpha)
        seconds = time.perf_counter() - start
        return Proved(threat, certificate, curve(certificate, self.plan.dataset.y_test), seconds)

    def _gather(self, cell: Cell) -> Stored:
        """The cell's evidence: stored, or its missing blocks trained and all of them merged."""
        assert cell.defense is not None
        stored = self._current(self.folder.evidence(cell.name, cell.key))
        if stored is not None:
            self.progress.start(cell.label, stored.meta["n_models"], stored.meta["n_models"])
            return stored
        blocks = cell.defense.blocks(self.plan.shape, lambda spec: learner_of(self.registry, spec))
        parts = [self._stored_block(cell, models, i) for i, models in enumerate(blocks)]
        done = sum(len(b) for b, part in zip(blocks, parts, strict=True) if part is not None)
        self.progress.start(cell.label, sum(map(len, blocks)), done)
        for index, (models, part) in enumerate(zip(blocks, parts, strict=True)):
            if part is None:
                parts[index] = self._train(cell, models, index)
        finished = [part for part in parts if part is not None]
        stored = Stored(
            cell.defense.merge([part.arrays for part in finished]), _merge_meta(finished, blocks)
        )
        self.folder.save_evidence(cell.name, cell.key, stored)
        return stored

    def _stored_block(self, cell: Cell, models: range, index: int) -> Stored | None:
        """A finished block, unless it was cut differently (by another version of its learner)."""
        part = self._current(self.folder.block(cell.name, cell.key, index))
        return part if part and part.meta["models"] == [models.start, models.stop] else None

    def _current(self, stored: Stored | None) -> Stored | None:
        """What was stored, unless a learner that it asked for has other code now.

        The key names the learners that can be known before training: a parameter, a text in the
        defense's code. A defense may make up the name of another one while it trains.
        """
        if stored is None:
            return None
        learners: Mapping[str, str] = stored.meta.get("learners", {})
        known = all(code_of_learner(self.registry, s) == code for s, code in learners.items())
        return stored if known else None

    def _train(self, cell: Cell, models: range, index: int) -> Stored:
        assert cell.defense is not None
        calibration_s = self._calibration.seconds()
        memory = PeakMemory()
        memory.reset()
        task = BlockTask(self._inputs, self.registry, cell, models, index, self.progress)
        arrays = {key: np.asarray(value) for key, value in cell.defense.gather(task).items()}
        _refuse_objects(arrays)
        if task.reported < len(models):
            task.advance(len(models) - task.reported)
        meta = {
            "models": [models.start, models.stop],
            "peak_rss_mb": memory.megabytes(),
            "calibration_s": calibration_s,
            "machine": fingerprint(self.device),
            "unfitted": task.unfitted(),
            "learners": task.code_of_learners(),
        }
        part = Stored(arrays, {**task.seconds, **meta})
        self.folder.save_block(cell.name, cell.key, index, part)
        return part


def _merge_meta(parts: Sequence[Stored], blocks: Sequence[range]) -> dict[str, Any]:
    machines = {part.meta.get("machine") for part in parts}
    unfitted: Counter[str] = Counter()
    for part in parts:
        unfitted.update(part.meta.get("unfitted", {}))
    return {
        "n_models": sum(map(len, blocks)),
        "train": sum(part.meta["train"] for part in parts),
        "predict": sum(part.meta["predict"] for part in parts),
        "peak_rss_mb": max(part.meta["peak_rss_mb"] for part in parts),
        "calibration_s": _yardstick(parts),
        "machine": machines.pop() if len(machines) == 1 else None,
        "unfitted": dict(sorted(unfitted.items())),
        "learners": {s: code for part in parts for s, code in part.meta["learners"].items()},
    }


def _yardstick(parts: Sequence[Stored]) -> float | None:
    """The calibration in whose multiples the parts' seconds add up; None where one lacks its own.

    Blocks that were trained at different times, or on different machines, each count as multiples
    of the calibration of their own time and machine.
    """
    taken = [(p.meta["train"] + p.meta["predict"], p.meta.get("calibration_s")) for p in parts]
    if not all(yardstick for _, yardstick in taken):
        return None
    multiples = sum(seconds / yardstick for seconds, yardstick in taken)
    return sum(seconds for seconds, _ in taken) / multiples if multiples else taken[0][1]


def _refuse_objects(arrays: dict[str, NDArray[Any]]) -> None:
    for key, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"gather returned {key} as an array of objects; wanted numbers")


def _traceback() -> str:
    try:
        return traceback.format_exc()
    except Exception as error:  # of an exception that breaks whoever looks at it
        return f"no traceback can be shown ({type(error).__name__})\n"
