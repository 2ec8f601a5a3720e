"""What happens in a worker of a Dask cluster: the data arrive once, blocks are trained."""

from __future__ import annotations

import asyncio
import pickle
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from distributed import Status, WorkerPlugin, get_worker

import harness
from harness.errors import HarnessError
from harness.running.containment import CellLog, contained, describe

if TYPE_CHECKING:
    from distributed import Worker

    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan
    from harness.results.files import Stored
    from harness.running.here import Here
    from harness.running.task import Progress

_EVERY_S = 0.1
"""Seconds between two reports of progress."""
_SETTLES_S = 1.0
"""Seconds in which whoever starts a worker again hears that it runs. Was it killed before, that one
would give up, and the cluster have a worker less for good.
"""

_supplies: dict[str, Supply] = {}
_one_at_a_time = Lock()
"""A block may set what is the whole process's, such as the random state of a library."""


class Supply(WorkerPlugin):  # type: ignore[misc] # it has no hints
    """What the blocks of a run have in common: brought to every worker once, when it joins.

    ``plan``: with the data set, without cells. ``threads``: how many a worker's computations may
    use; None for what the worker was started with. ``local``: whether all workers are on one
    machine and share its GPUs. ``store``: the evidence store, whose features those workers read
    and keep that have its folder too.
    """

    def __init__(
        self,
        plan: Plan,
        device: str,
        threads: int | None,
        *,
        local: bool,
        store: Path | None = None,
    ) -> None:
        self.name = f"harness-{plan.dataset.digest[:16]}-{plan.token[:16]}"
        self.plan: Plan | bytes = plan
        self.device, self.threads, self.local = device, threads, local
        self.store = store and store.absolute()

    def __getstate__(self) -> dict[str, Any]:
        # What a worker cannot open, such as mapped files that it does not have, is said when it is
        # asked for a cell: here it would end the worker.
        return vars(self) | {"plan": pickle.dumps(self.opened())}

    def setup(self, worker: Worker) -> None:
        self._worker_name = worker.name
        starting = worker.status is not Status.running
        self._settled = time.monotonic() + (_SETTLES_S if starting else 0.0)
        self._here: Here | None = None
        self._registry: Registry | None = None
        self._cells: dict[str, Cell] = {}
        _supplies[self.name] = self

    def teardown(self, worker: Worker) -> None:
        _supplies.pop(self.name, None)

    def cell(self, sent: bytes) -> Cell:
        """The cell in a message. Raises HarnessError where this worker would train another."""
        found: Cell = pickle.loads(sent)  # noqa: S301 - what the scheduler's tasks are anyway
        if found.label not in self._cells:
            wrong = self._wrong(found)
            if wrong:
                raise HarnessError(wrong)
            self._cells[found.label] = found
        return self._cells[found.label]

    def _wrong(self, cell: Cell) -> str | None:
        from harness.running.same_code import made_again

        try:
            again = made_again(self.opened(), cell, self.registry(), self.device)
        except HarnessError as error:
            return str(error)
        if again.distribution != cell.distribution:
            return f"it has {again.distribution}, and the run's is {cell.distribution}"
        if again.key != cell.key:
            return f"the code of {cell.label}, or a library under it, is not what it is in the run"
        return None

    def opened(self) -> Plan:
        """The plan, with its data. Raises HarnessError where they are not to be had here."""
        if isinstance(self.plan, bytes):
            plan: Plan = pickle.loads(self.plan)  # noqa: S301 - as above
            self.plan = plan
        return self.plan

    def registry(self) -> Registry:
        """The plugins that are installed here."""
        if self._registry is None:
            from harness.plugins.registry import load_registry

            self._registry = load_registry()
        return self._registry

    def here(self, progress: Progress) -> Here:
        """What trains in this process, telling ``progress``."""
        if self._here is None:
            import torch

            from harness.running.here import Here

            if self.threads is not None:
                torch.set_num_threads(self.threads)
            plan = self.opened()
            self._here = Here(plan, self.registry(), self._chosen(), progress, self.store)
        self._here.progress = progress
        return self._here

    def settle(self) -> None:
        """Waits until a worker that was only just started may be killed."""
        time.sleep(max(0.0, self._settled - time.monotonic()))

    def _chosen(self) -> Any:
        """Each worker of a machine takes a GPU of its own, as far as there are some."""
        import torch

        from harness.running.machine import choose_device

        if self.device == "cuda" and self.local and torch.cuda.device_count():
            return choose_device(f"cuda:{int(self._worker_name) % torch.cuda.device_count()}")
        return choose_device(self.device)


@dataclass(frozen=True)
class Made:
    """What became of a block: its arrays, or why there are none; and what it wrote."""

    stored: Stored | None
    error: str | None
    details: str
    log: bytes


class Reporter:
    """Tells the run what a block does, as events of its topic."""

    def __init__(self, topic: str, block: str) -> None:
        self._worker, self._topic, self._block = get_worker(), topic, block
        self._models, self._told = 0, time.monotonic()

    def say(self, kind: str, content: Any = None) -> None:
        """An event: {block, kind, content, worker}."""
        message = {"block": self._block, "kind": kind, "content": content}
        self._worker.log_event(self._topic, message | {"worker": self._worker.address})

    def start(self, cell: str, total: int, done: int) -> None:
        """The run knows."""

    def advance(self, models: int) -> None:
        self._models += models
        if time.monotonic() - self._told > _EVERY_S:
            self.say("advance", self._models)
            self._models, self._told = 0, time.monotonic()

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        """The run knows."""

    def note(self, text: str) -> None:
        self.say("note", text)


def train(supply: str, cell: bytes, models: range, index: int, topic: str, block: str) -> Made:
    """One block, in this worker; nothing that goes wrong with it is raised."""
    log = CellLog()
    worker = get_worker()
    alone = worker.state.nthreads == 1  # else what other tasks print meanwhile would be in its log
    try:
        with _one_at_a_time:
            reporter = Reporter(topic, block)
            reporter.say("start")
            with contained(log) if alone else nullcontext():
                owner = _supplies[supply]
                owner.settle()
                stored = owner.here(reporter).train(owner.cell(cell), models, index)
    except BaseException as error:  # SystemExit would end the worker
        text = describe(error)
        if isinstance(error, HarnessError):
            text = f"worker {worker.address}: {text}"
        return Made(None, text, traceback.format_exc(), log.content())
    return Made(stored, None, "", log.content())


async def identify() -> str:
    """The version of this package here; the import alone tells whether it is there."""
    return harness.__version__


async def check(supply: str, cells: list[bytes]) -> str | None:
    """Why this worker cannot train one of these cells, if it cannot; imports what they need."""

    def checked() -> str | None:
        for cell in cells:
            try:
                _supplies[supply].cell(cell)
            except Exception as error:
                return describe(error)
        return None

    return await asyncio.get_running_loop().run_in_executor(None, checked)
