"""Running a plan: one cell after another, each contained, what failed kept apart."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.errors import HarnessError, NoSpaceError, RunFolderError
from harness.results.cells import CellResult
from harness.running.apart import run_apart
from harness.running.attempt import Workshop
from harness.running.containment import CellLog, contained
from harness.running.keeping import Keeping
from harness.running.quiet import Notes

if TYPE_CHECKING:
    import torch

    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan
    from harness.results.folder import RunFolder
    from harness.running.cluster.pool import Pool
    from harness.running.task import Progress


_TOLD_S = 0.05
"""Seconds for shared features that are worth a line."""


@dataclass
class Runner:
    """Runs the cells of a plan one after another, in its folder.

    What a cell writes goes to ``logs/``. With a ``timeout`` in seconds each cell runs in a process
    of its own (see :mod:`harness.running.apart`) and fails if it takes longer.
    """

    plan: Plan
    folder: RunFolder
    registry: Registry
    device: torch.device
    progress: Progress
    timeout: float | None = None
    keeping: Keeping | None = None
    """Where blocks are kept; by default in the run's folder."""
    pool: Pool | None = None
    """The cluster that trains; without it, this process does."""
    _workshop: Workshop = field(init=False)

    def __post_init__(self) -> None:
        keeping = self.keeping or Keeping(self.folder, note=self.progress.note)
        self._workshop = Workshop(
            self.plan, self.folder, self.registry, self.device, self.progress, keeping, self.pool
        )
        if self.pool is not None:
            cells = [cell for cell in self.plan.cells if cell.defense is not None]
            self.pool.upcoming = ((cell, self._workshop.missing(cell)) for cell in cells)

    def run(self) -> list[CellResult]:
        """The results of all cells. One that fails does not keep the others from finishing.

        KeyboardInterrupt, a full disk and a folder that cannot be written end the run; what was
        finished is kept.
        """
        return [self._run(cell) for cell in self.plan.cells]

    def _run(self, cell: Cell) -> CellResult:
        start, making = time.perf_counter(), self._workshop.making
        log = CellLog()
        try:
            if self.timeout is None or cell.defense is None:
                with contained(log):
                    result = self._workshop.attempt(cell)
            elif self.pool is not None:
                result = self._attempt_there(cell, log, self.timeout, self.pool)
            else:
                result = self._attempt_apart(cell, log, self.timeout)
        finally:
            self._keep(cell, log)
            self._workshop.keeping.release(cell.blocks_stem)
        if result.error is None:
            self.folder.remove(f"failures/{self._workshop.stem(cell)}.txt")
        shared = self._workshop.making - making
        if shared > _TOLD_S:
            names = " and ".join(sorted(result.features)) or "features"
            self.progress.note(f"{names}: {shared:.1f} s, once for all cells")
        own = time.perf_counter() - start - shared
        self.progress.finish(cell.label, own, result.error)
        if log:
            lines = "1 line" if log.lines == 1 else f"{log.lines:,} lines"
            self.progress.note(f"{cell.label} wrote {lines}: {self.folder.path / self._log(cell)}")
        return result

    def _attempt_there(self, cell: Cell, log: CellLog, timeout: float, pool: Pool) -> CellResult:
        """Trained on the cluster; certified, as stranger's code too, in a process of its own."""
        with contained(log):
            failed = self._workshop.train(cell)
        if failed is not None:
            return failed
        shop = replace(self._workshop, progress=Notes(self.progress.note))
        return self._attempt_apart(cell, log, timeout, pool.taken(cell), shop)

    def _attempt_apart(
        self,
        cell: Cell,
        log: CellLog,
        timeout: float,
        taken: float = 0.0,
        shop: Workshop | None = None,
    ) -> CellResult:
        try:
            return run_apart(shop or self._workshop, cell, log, timeout, taken)
        except (NoSpaceError, RunFolderError):
            raise
        except HarnessError as error:
            return self._workshop.failed(
                cell, error, f"{error}\nSee {self._log(cell)}, if it is there.\n"
            )

    def _keep(self, cell: Cell, log: CellLog) -> None:
        if log:
            self.folder.write(self._log(cell), log.content())
        else:
            self.folder.remove(self._log(cell))

    def _log(self, cell: Cell) -> str:
        return f"logs/{self._workshop.stem(cell)}.txt"
