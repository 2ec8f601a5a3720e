"""One cell in this process: train what is not yet stored, then certify."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.defense import Evidence
from harness.errors import ClusterError, HarnessError, NoSpaceError, RunFolderError
from harness.plugins.lookup import Installed
from harness.proofs.curves import curve
from harness.results.cells import CellResult, Proved
from harness.results.files import Stored
from harness.results.folder import RunFolder
from harness.running.containment import CellLog, contained, describe
from harness.running.here import BlockError, Executor, Here
from harness.running.keeping import Keeping
from harness.running.task import Progress

if TYPE_CHECKING:
    import torch

    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan
    from harness.threats import Threat


T = TypeVar("T")


@dataclass
class Workshop:
    """Where the cells of a plan are trained and certified, and what they share: data, features."""

    plan: Plan
    folder: RunFolder
    registry: Registry
    device: torch.device
    progress: Progress
    keeping: Keeping
    executor: Executor | None = None
    """Where blocks are trained; by default in this process."""
    _here: Here = field(init=False)

    def __post_init__(self) -> None:
        self._here = Here(self.plan, self.registry, self.device, self.progress, self.keeping.path)

    @property
    def making(self) -> float:
        """Seconds in which features were made in this process that cells share: no cell's own."""
        return self._here.inputs.making

    def attempt(self, cell: Cell) -> CellResult:
        """What becomes of the cell in this process. Raises KeyboardInterrupt, and what
        ends the run: NoSpaceError, RunFolderError.
        """
        return self._guarded(cell, self._finish)

    def train(self, cell: Cell) -> CellResult | None:
        """Trains the cell and keeps its evidence; its result if it failed. Raises as above."""

        def trained(cell: Cell) -> None:
            self._refuse_broken(cell)
            self._gather(cell)

        return self._guarded(cell, trained)

    def _guarded(self, cell: Cell, action: Callable[[Cell], T]) -> T | CellResult:
        try:
            return action(cell)
        except (NoSpaceError, RunFolderError, ClusterError, KeyboardInterrupt):
            raise
        except BlockError as error:
            return self.failed(cell, error, error.details)
        except BaseException as error:  # a plugin may call sys.exit, or raise what it likes
            return self.failed(cell, error, _traceback())

    def failed(self, cell: Cell, error: BaseException, details: str) -> CellResult:
        """The result of a cell that failed; the details go to ``failures/``."""
        self.folder.write(f"failures/{self.stem(cell)}.txt", details)
        return CellResult(cell, error=describe(error))

    def stem(self, cell: Cell) -> str:
        """NAME-KEY; for a cell that shares its evidence with earlier ones, also a number."""
        before = self.plan.cells[: self.plan.cells.index(cell)]
        shared = sum((one.name, one.key) == (cell.name, cell.key) for one in before)
        return cell.stem + (f"-{shared + 1}" if shared else "")

    def _finish(self, cell: Cell) -> CellResult:
        self._refuse_broken(cell)
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
            stored.meta.get("shared", {}),
            stored.meta.get("trusted", {}),
        )

    def _refuse_broken(self, cell: Cell) -> None:
        if cell.defense is None:
            self.progress.start(cell.label, 0, 0)
            raise HarnessError(cell.error or "the defense could not be loaded")

    def _certify(self, cell: Cell, evidence: Evidence, threat: Threat) -> Proved:
        assert cell.defense is not None
        if threat not in cell.defense.covers():
            return Proved(threat, None, None, 0.0)
        start = time.perf_counter()
        certificate = cell.defense.certify(evidence, threat, cell.alpha)
        proved = curve(
            certificate, self.plan.dataset.y_test
        )  # a collective one solves its programs
        return Proved(threat, certificate, proved, time.perf_counter() - start)

    def _gather(self, cell: Cell) -> Stored:
        """The cell's evidence: stored, or its missing blocks trained and all of them merged."""
        assert cell.defense is not None
        stored = self._current(self.folder.evidence(cell.name, cell.key, self._damaged))
        if stored is not None:
            self.progress.start(cell.label, stored.meta["n_models"], stored.meta["n_models"])
            return stored
        blocks = self._blocks(cell)
        parts = [self._stored_block(cell, i, models) for i, models in enumerate(blocks)]
        done = sum(len(b) for b, part in zip(blocks, parts, strict=True) if part is not None)
        self.progress.start(cell.label, sum(map(len, blocks)), done)
        missing = [(i, blocks[i]) for i, part in enumerate(parts) if part is None]
        if missing and self.executor is not None and self.keeping.claim(cell.blocks_stem):
            self.executor.expect(cell, missing)
        for index, models in missing:
            parts[index] = self._train(cell, models, index)
        finished = [part for part in parts if part is not None]
        stored = Stored(
            cell.defense.merge([part.arrays for part in finished]), _merge_meta(finished, blocks)
        )
        self.folder.save_evidence(cell.name, cell.key, stored)
        self.keeping.merged(cell.blocks_stem)
        return stored

    def missing(self, cell: Cell) -> list[tuple[int, range]]:
        """The blocks, (index, base models), that nobody has trained and nobody else is training:
        from now on they are this process's to train. None of a cell that will fail.
        """
        try:
            with contained(CellLog()):  # what it writes, and fails with, it does in its own turn
                stored = self._current(self.folder.evidence(cell.name, cell.key, self._damaged))
                if stored is not None or cell.defense is None:
                    return []
                blocks = list(enumerate(self._blocks(cell)))
                found = [(i, b) for i, b in blocks if self._stored_block(cell, i, b) is None]
        except Exception:
            return []
        return found if found and self.keeping.claim(cell.blocks_stem) else []

    def _blocks(self, cell: Cell) -> Sequence[range]:
        assert cell.defense is not None
        installed = Installed(self.registry, self.plan.shape.example)
        return cell.defense.blocks(self.plan.shape, installed)

    def _stored_block(self, cell: Cell, index: int, models: range) -> Stored | None:
        """A finished block of whatever run."""
        return self._current(self.keeping.get(cell.blocks_stem, index, models))

    def _damaged(self, path: Path) -> None:
        self.progress.note(f"{path} is damaged: what it held is made again")

    def _current(self, stored: Stored | None) -> Stored | None:
        """What was stored, unless a learner or features that it asked for have other code now.

        The key names those that can be known before training: a parameter, a text in the defense's
        code. A defense may make up the name of another one while it trains.
        """
        if stored is None:
            return None
        learners: Mapping[str, str] = stored.meta.get("learners", {})
        features: Mapping[str, str] = stored.meta.get("features", {})
        named = [("learner", *one) for one in learners.items()]
        named += [("features", *one) for one in features.items()]
        codes = ((self._here.inputs.code(self.registry, kind, s), code) for kind, s, code in named)
        return stored if all(now == code for now, code in codes) else None

    def _train(self, cell: Cell, models: range, index: int) -> Stored:
        """A block trained here, or by another process while this one waited for it."""
        assert cell.defense is not None
        claimed = self.keeping.has_claimed(cell.blocks_stem)
        if self.executor is not None and claimed:  # nobody else trained it since it was missing
            return self.executor.train(cell, models, index)
        with self.keeping.held(cell.blocks_stem):
            part = self._stored_block(cell, index, models)
            if part is not None:
                self.progress.advance(len(models))
                return part
            if self.executor is not None:  # which keeps blocks as they come, in whatever order
                return self.executor.train(cell, models, index)
            part = self._here.train(cell, models, index)
            self.keeping.put(cell.blocks_stem, index, models, part)
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
        "features": {s: code for part in parts for s, code in part.meta["features"].items()},
        "trusted": {n: text for part in parts for n, text in part.meta.get("trusted", {}).items()},
        "shared": {name: s for part in parts for name, s in part.meta["shared"].items()},
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


def _traceback() -> str:
    try:
        return traceback.format_exc()
    except Exception as error:  # of an exception that breaks whoever looks at it
        return f"no traceback can be shown ({type(error).__name__})\n"
