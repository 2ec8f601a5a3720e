"""The executor whose blocks the workers of a Dask cluster train, many at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import cloudpickle
from distributed import Client, Future, KilledWorker

from harness.errors import ClusterError, HarnessError
from harness.running.cluster.on_worker import Made, Supply, train
from harness.running.containment import describe
from harness.running.here import BlockError

if TYPE_CHECKING:
    from harness.results.cells import Cell, Plan
    from harness.results.files import Stored
    from harness.running.keeping import Keeping
    from harness.running.task import Progress

_AT_ONCE = 100
"""Events that are dealt with together."""
_KILLS = 3
"""Workers that a block may kill before its cell fails."""
_POLL_S = 0.2
_ASK_S = 1.0
_GATHER_S = 10.0

_Key = tuple[str, int, range]


@dataclass(eq=False)
class _Flight:
    """A block that is on its way: asked for, and not yet arrived."""

    cell: Cell
    index: int
    models: range
    key: _Key
    name: str
    """What events call it."""
    future: Future | None = None
    made: Made | None = None
    worker: str | None = None
    """Where it is being trained, if it is."""
    starts: int = 0
    """How often a worker began with it."""
    reported: int = 0
    """Of its base models, those that the progress was told of."""
    again: bool = False
    """Whether it is tried once more, though workers died: it may have been beside the culprit."""


@dataclass
class Pool:
    """Trains blocks on the workers of ``client``'s cluster and keeps each as soon as it is there.

    ``upcoming``: cells and their missing blocks, which workers begin with when they have nothing
    else to do. ``timeout``: seconds that a cell may take, from the moment when a worker begins with
    one of its blocks. Raises ClusterError where the cluster is lost, BlockError for a block that
    fails, also for one that killed its worker three times.
    """

    client: Client
    supply: Supply
    plan: Plan
    progress: Progress
    keeping: Keeping
    timeout: float | None = None
    upcoming: Iterator[tuple[Cell, Sequence[tuple[int, range]]]] = field(default=iter(()))
    _flights: dict[_Key, _Flight] = field(default_factory=dict, init=False)
    _by_name: dict[str, _Flight] = field(default_factory=dict, init=False)
    _waiting: set[_Key] = field(default_factory=set, init=False)
    """Those of the flights that are not made: counted for every event, so never gone through."""
    _queue: SimpleQueue[tuple[str, Any]] = field(default_factory=SimpleQueue, init=False)
    _begun: dict[str, float] = field(default_factory=dict, init=False)
    _ended: dict[str, float] = field(default_factory=dict, init=False)
    _late: set[str] = field(default_factory=set, init=False)
    _sent: dict[str, bytes] = field(default_factory=dict, init=False)
    _topic: str = field(default_factory=lambda: f"harness-{uuid4().hex}", init=False)
    _current: str = field(default="", init=False)
    _lost: bool = field(default=False, init=False)
    _asked: float = field(default=float("-inf"), init=False)
    _there: int = field(default=0, init=False)
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._address = self.client.scheduler.address
        self._listen()

    def _listen(self) -> None:
        self.client.subscribe_topic(self._topic, lambda event: self._queue.put(("event", event[1])))

    def close(self) -> None:
        """Ends what is still being trained for this run, wherever it is."""
        running = {one.worker for one in self._flights.values() if not one.made}
        with suppress(Exception):  # the cluster may be gone
            self.client.unsubscribe_topic(self._topic)
            futures = [one.future for one in self._flights.values() if one.future is not None]
            self.client.cancel(futures, force=True, asynchronous=False)
            self._restart(running)
        self._flights.clear()
        self._waiting.clear()

    def expect(self, cell: Cell, blocks: Sequence[tuple[int, range]]) -> None:
        for index, models in blocks:
            self._flight(cell, index, models)

    def train(self, cell: Cell, models: range, index: int) -> Stored:
        self._current = cell.blocks_stem
        flight = self._flight(cell, index, models)
        try:
            while flight.made is None:
                self._refuse_late(cell)
                self._step()
        except BaseException:
            self._drop(cell)
            raise
        made = flight.made
        del self._flights[flight.key], self._by_name[flight.name]
        if made.log:
            print(made.log.decode("utf-8", "backslashreplace"), end="")  # into the cell's own log
        if made.stored is None:
            self._drop(cell)
            raise BlockError(made.error or "", made.details)
        self._advance(flight, len(flight.models) - flight.reported)
        return made.stored

    def taken(self, cell: Cell) -> float:
        """Seconds from when a worker began with the first block of that cell until all were there,
        which may be long ago.
        """
        stem = cell.blocks_stem
        return self._ended[stem] - self._begun[stem] if stem in self._begun else 0.0

    def _flight(self, cell: Cell, index: int, models: range) -> _Flight:
        key = (cell.blocks_stem, index, models)
        if key not in self._flights:
            name = f"{cell.label} {index} {uuid4().hex[:8]}"
            self._flights[key] = self._by_name[name] = _Flight(cell, index, models, key, name)
            self._waiting.add(key)
            self._submit(self._flights[key])
        return self._flights[key]

    def _submit(self, flight: _Flight) -> None:
        cell = flight.cell
        if cell.label not in self._sent:
            try:
                self._sent[cell.label] = cloudpickle.dumps(cell)
            except Exception as error:
                raise HarnessError(f"cannot be sent to workers: {describe(error)}") from error
        order = next((i for i, one in enumerate(self.plan.cells) if one is cell), 0)
        flight.worker = None
        flight.future = self.client.submit(
            train,
            self.supply.name,
            self._sent[cell.label],
            flight.models,
            flight.index,
            self._topic,
            flight.name,
            key=(f"harness-{self._topic}", f"{flight.name} {uuid4().hex[:8]}"),
            priority=-order,
            pure=False,
        )
        self._watch(flight.future, flight)

    def _watch(self, future: Future, flight: _Flight) -> None:
        """Has an event come when it is done: once, so again for what is lost and done again."""
        future.add_done_callback(lambda _: self._queue.put(("done", flight)))

    def _step(self) -> None:
        """Waits a moment for whatever happens next, and deals with it."""
        self._look_ahead()
        events = []
        with suppress(Empty):
            events.append(self._queue.get(timeout=_POLL_S))
            while len(events) < _AT_ONCE:
                events.append(self._queue.get_nowait())
        fetched = self._fetch([what for kind, what in events if kind == "done"])
        for kind, what in events:
            if kind == "done":
                self._arrive(what, fetched.get(what.name))
            else:
                self._hear(what)
        self._check_scheduler()
        self._check_time()

    def _fetch(self, flights: Sequence[_Flight]) -> dict[str, Made | None]:
        """What several blocks made, by their names, fetched together: each by itself takes a way to
        the scheduler and back. Without those that failed, or that died with their worker just now.
        """
        futures = {
            one.name: one.future
            for one in flights
            if one.key in self._flights and one.future is not None and one.future.done()
        }
        if len(futures) < 2:
            return {}
        try:
            found: dict[str, Made | None] = self.client.sync(
                lambda: self.client.gather(futures, errors="skip", asynchronous=True),
                callback_timeout=_GATHER_S,
            )
        except Exception:  # whatever it is, it is met again by the one that it comes from
            return {}
        return found

    def _look_ahead(self) -> None:
        """Keeps the workers in work: two blocks for each thread."""
        while len(self._waiting) < 2 * max(1, self._threads()):
            following = next(self.upcoming, None)
            if following is None:
                return
            cell, blocks = following
            with suppress(HarnessError):  # it will be said in the cell's own turn
                self.expect(cell, blocks)

    def _threads(self) -> int:
        """Threads that train, all workers together; asked about now and then."""
        now = time.monotonic()
        if now > self._asked + _ASK_S and self.client.status == "running":
            self._asked = now
            with suppress(OSError, TimeoutError):
                self._there = sum(self.client.nthreads().values())
                self._restore()
                if not self._there and not self._told:
                    self.progress.note("no worker is there yet: waiting for one")
                self._told = not self._there
        return self._there

    def _restore(self) -> None:
        """Workers of this machine's own cluster whose starter gave up: one that is killed while it
        starts ends that as well.
        """
        cluster = self.client.cluster
        if self.supply.local and cluster is not None:
            cluster.scale(len(cluster.worker_spec))

    def _arrive(self, flight: _Flight, fetched: Made | None) -> None:
        future = flight.future
        if flight.key not in self._flights or future is None:
            return
        if not future.done():  # the worker died with it just now; it is trained again
            self._watch(future, flight)
            return
        made: Made | None
        try:
            made = fetched or future.result(timeout=_GATHER_S)
        except TimeoutError:  # the same, while it was fetched
            self._watch(future, flight)
            return
        except KilledWorker:
            future.release()  # the error holds on to it otherwise, and so does the scheduler
            made = self._killed(flight)
        except (CancelledError, OSError):  # with the connection to the scheduler
            flight.future = None
            return
        except Exception as error:
            made = Made(None, describe(error), f"{describe(error)}\n", b"")
        if made is None:
            return
        flight.made, flight.worker, flight.future = made, None, None
        self._waiting.discard(flight.key)
        self._ended[flight.cell.blocks_stem] = time.monotonic()
        if made.stored is not None:
            self.keeping.put(*flight.key, made.stored)

    def _killed(self, flight: _Flight) -> Made | None:
        if flight.starts < _KILLS and not flight.again:
            flight.again = True
            self._submit(flight)
            return None
        text = f"block {flight.index} killed its worker {_KILLS} times"
        return Made(None, text, f"{text}; its base models: {flight.models}\n", b"")

    def _hear(self, event: dict[str, Any]) -> None:
        flight = self._by_name.get(event["block"])
        if flight is None or flight.made is not None:
            return
        flight.worker = event["worker"]
        if event["kind"] == "start":
            flight.starts += 1
            self._begun.setdefault(flight.cell.blocks_stem, time.monotonic())
        elif event["kind"] == "advance":
            self._advance(flight, event["content"])
        else:
            self.progress.note(event["content"])

    def _advance(self, flight: _Flight, models: int) -> None:
        if flight.cell.blocks_stem == self._current and models > 0:
            models = min(models, len(flight.models) - flight.reported)
            flight.reported += models
            self.progress.advance(models)

    def _check_time(self) -> None:
        if self.timeout is None:
            return
        for stem, begun in self._begun.items():
            if stem not in self._late and time.monotonic() - begun > self.timeout:
                mine = [one for one in self._flights.values() if one.cell.blocks_stem == stem]
                if any(one.made is None for one in mine):
                    self._late.add(stem)
                    self._end(mine)

    def _refuse_late(self, cell: Cell) -> None:
        if cell.blocks_stem in self._late:
            raise HarnessError(f"timed out after {self.timeout:g} s (--timeout)")

    def _drop(self, cell: Cell) -> None:
        """Ends the other blocks of a cell that failed."""
        mine = [one for one in self._flights.values() if one.cell.blocks_stem == cell.blocks_stem]
        self._end(mine)
        for one in mine:
            del self._flights[one.key], self._by_name[one.name]
            self._waiting.discard(one.key)

    def _end(self, flights: Sequence[_Flight]) -> None:
        unfinished = [one for one in flights if one.made is None]
        with suppress(Exception):  # the cluster may be gone, which is said elsewhere
            self.client.cancel([one.future for one in unfinished if one.future], force=True)
            self._restart({one.worker for one in unfinished})

    def _restart(self, workers: Set[str | None]) -> None:
        """Ends code that cannot be asked to stop: a worker comes back without its task."""
        there = [one for one in self.client.nthreads() if one in workers]
        if there:
            self.client.restart_workers(there, timeout=_GATHER_S, raise_for_error=False)

    def _check_scheduler(self) -> None:
        if self.client.status == "closed":
            raise ClusterError(f"lost the scheduler at {self._address}; what was finished is kept")
        if self.client.status != "running":
            self._lost = True
        elif self._lost:  # and found again: it forgot what it was asked
            self._lost = False
            self._listen()
            for flight in self._flights.values():
                if flight.made is None:
                    self._submit(flight)
