"""One cell in a process of its own, which can be ended whatever its code does: ``--timeout``.

The process comes from a server that has imported what is slow to import and computed nothing. It
trains and certifies in a workshop of its own on the same folder, sends its progress and result, and
its file descriptors 1 and 2 end in the cell's log.
"""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import connection, forkserver, resource_tracker
from threading import Lock, Thread, Timer
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.certificates import Certificate, FloatArray, IntArray, Kind, PointwiseCertificate
from harness.errors import HarnessError, NoSpaceError, RunFolderError
from harness.proofs.curves import Curve
from harness.running.containment import describe
from harness.running.keeping import Keeping
from harness.running.kept_features import show_work
from harness.running.same_code import has_other_code
from harness.running.script import GUARD, call_the_script_main, of_the_script, without_script

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from harness.results.cells import Cell, CellResult, Proved
    from harness.running.attempt import Workshop
    from harness.running.containment import CellLog
    from harness.running.task import Progress

_SLOW = [
    "torch",
    "opacus",
    "harness.running.apart",
    "harness.running.attempt",
    "harness.plugins.registry",
]
_SLOW += ["harness.defenses", "harness.datasets", "harness.learners"]
"""What the server imports, for all its processes."""

_OTHER_CODE = (
    "its code changed since this run began, or its classes were changed in memory, of which a "
    "process of its own (--timeout) knows nothing; run it again"
)

_START_S = 300.0
"""Seconds in which a process must have started; they do not count as the cell's."""
_GRACE_S = 2.0
"""Seconds that a process has to end by itself."""
_READ = 65536
_EVERY_S = 0.1


@dataclass(frozen=True)
class Told(Certificate):
    """A certificate that stayed behind in its process: what it is about, and its curve."""

    about: Kind
    curve: Curve

    @property
    def kind(self) -> Kind:
        return self.about

    def certified_accuracy(self, labels: IntArray, r: IntArray) -> FloatArray:
        return np.array([self.curve.at(int(one)) for one in np.atleast_1d(r)])

    def clean_accuracy(self, labels: IntArray) -> float:
        return self.curve.clean_accuracy

    def last_radius(self, labels: IntArray) -> int:
        return self.curve.max_radius

    @property
    def abstained(self) -> float:
        return self.curve.abstained


def run_apart(
    shop: Workshop, cell: Cell, log: CellLog, timeout: float, taken: float = 0.0
) -> CellResult:
    """What became of a cell of ``shop`` in a process of its own; what it wrote goes to ``log``.

    The process finds its plugins as the command line does, among those that are installed. Raises
    HarnessError where it cannot be started, dies, or takes more than ``timeout`` seconds, of which
    so many were ``taken`` before;
    NoSpaceError, RunFolderError and KeyboardInterrupt where the cell does.
    """
    work = _work(shop, cell, timeout)
    process = _Process(log, with_script=of_the_script(work[0], cell))
    finished = False
    try:
        process.send(work)
        result = process.follow(shop.progress, timeout, timeout - taken)
        finished = True
    finally:
        process.end(finished=finished)
    return replace(result, cell=cell)


def _work(shop: Workshop, cell: Cell, timeout: float) -> tuple[Any, ...]:
    # Only this cell's defense goes along: another's may be one that cannot be sent.
    cells = [one if one is cell else replace(one, defense=None) for one in shop.plan.cells]
    plan = replace(shop.plan, cells=tuple(cells))
    index = next(i for i, one in enumerate(cells) if one is cell)
    return plan, index, shop.folder.path.absolute(), shop.keeping.terms, shop.device, timeout


class _Process:
    """The parent's end of a cell's process, which has imported the script only ``with_script``."""

    def __init__(self, log: CellLog, *, with_script: bool) -> None:
        self._log = log
        self._with_script, self._ready = with_script, False
        self._late = ""
        context = multiprocessing.get_context("forkserver")
        self._messages, theirs = context.Pipe()
        self._output, written = context.Pipe(duplex=False)
        os.set_blocking(self._output.fileno(), False)
        self._process = context.Process(target=_main, args=(theirs, written))
        try:
            with nullcontext() if with_script else without_script():
                _start_server()
                self._process.start()
        except (OSError, EOFError) as error:
            raise HarnessError(f"its process could not be started: {describe(error)}") from error
        finally:
            theirs.close()
            written.close()
        self._timer = self._limit(_START_S, f"its process did not start within {_START_S:g} s")

    def send(self, work: tuple[Any, ...]) -> None:
        """Tells the process what to do. Raises HarnessError for what cannot be told."""
        try:
            self._messages.send(work)
        except OSError:
            pass  # it died at once: the reason is found when it is followed
        except Exception as error:
            raise HarnessError(_unsendable(error)) from error

    def follow(self, progress: Progress, timeout: float, allowed: float) -> CellResult:
        """The result, when it comes; progress is passed on. Raises what :func:`run_apart` does."""
        left, since = allowed, time.monotonic()
        for kind, content in self._received():
            if kind == "ready":
                self._ready = True
                left, since = allowed, time.monotonic()
                self._allow(left, timeout)
            elif kind == "waiting":  # for what another process trains: it is not the cell's time
                self._timer.cancel()
                left -= time.monotonic() - since
            elif kind == "going on":
                since = time.monotonic()
                self._allow(left, timeout)
            elif kind == "start":
                progress.start(*content)
            elif kind == "advance":
                progress.advance(content)
            elif kind == "note":
                progress.note(content)
            elif kind == "working":
                show_work(progress, *content)
            elif kind == "raise":
                raise content
            else:
                result: CellResult = content
                return result
        self._process.join()
        again = GUARD if self._with_script and not self._ready else ""
        raise HarnessError(self._late or _death(self._process.exitcode) + again)

    def _allow(self, seconds: float, timeout: float) -> None:
        self._timer.cancel()
        late = f"timed out after {timeout:g} s (--timeout)"
        self._timer = self._limit(max(seconds, 0), late)

    def end(self, *, finished: bool) -> None:
        """Ends the process, unless it ends by itself, and keeps what it wrote to the last."""
        self._timer.cancel()
        if not (finished and connection.wait([self._process.sentinel], _GRACE_S)):
            self._stop()
        self._timer.join()
        for _ in range(100):  # a process that it left behind may write for ever
            if not self._drain():
                break
        self._process.join(_GRACE_S)
        with suppress(ValueError):  # not even killed: the system will see to it
            self._process.close()
        self._messages.close()
        self._output.close()

    def _limit(self, seconds: float, late: str) -> Timer:
        """Ends the process after so many seconds, from a thread: nothing is waited for for ever."""
        timer = Timer(seconds, self._expire, [late])
        timer.daemon = True
        timer.start()
        return timer

    def _expire(self, late: str) -> None:
        self._late = late
        self._log.write(f"[{late}; it was here:]\n".encode())
        self._stop()

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        connection.wait([self._process.sentinel], _GRACE_S)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        pid = self._process.pid
        assert pid is not None
        try:
            os.killpg(pid, number)  # with the processes that it started
        except ProcessLookupError:  # it has not yet made itself a group, or is gone
            if not connection.wait([self._process.sentinel], 0):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _received(self) -> Iterator[tuple[str, Any]]:
        waiting: list[Any] = [self._messages, self._output, self._process.sentinel]
        while True:
            ready = connection.wait(waiting)
            if self._output in ready and self._drain() is None:
                waiting.remove(self._output)
            if self._messages in ready:
                try:
                    yield self._messages.recv()
                except (EOFError, OSError):
                    waiting.remove(self._messages)
            elif self._process.sentinel in ready:
                return

    def _drain(self) -> int | None:
        """Reads what was written: how many bytes, 0 if nothing is there, None at the end."""
        try:
            data = os.read(self._output.fileno(), _READ)
        except BlockingIOError:
            return 0
        self._log.write(data)
        return len(data) or None


def _start_server() -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(_SLOW)
    # It must not hear of a Ctrl-C, not even while it imports: it would show where that hit it.
    resource_tracker.ensure_running()  # else it is started with the server, and lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unsendable(error: BaseException) -> str:
    return f"cannot run in a process of its own, as --timeout needs it: {describe(error)}"


def _death(status: int | None) -> str:
    if status is not None and status < 0:
        return f"its process died (signal {-status})"
    return f"its process ended by itself (exit status {status})"


def _main(messages: Connection, output: Connection) -> None:
    """What the process does."""
    _settle(output)
    from harness.plugins.registry import load_registry
    from harness.results.folder import RunFolder
    from harness.running.attempt import Workshop

    parent = _Parent(messages)
    try:
        plan, index, path, terms, device, timeout = messages.recv()
        call_the_script_main()
        registry = load_registry()
        edited = has_other_code(plan, plan.cells[index], registry, device.type)
    except (Exception, SystemExit) as error:
        parent.say("raise", HarnessError(_unsendable(error)))
        return
    if edited:
        parent.say("raise", HarnessError(_OTHER_CODE))
        return
    # If the parent is gone, nobody else ends code that never lets Python's threads run.
    signal.setitimer(signal.ITIMER_REAL, min(timeout + 60, 1e8))
    parent.say("ready")
    try:
        folder = RunFolder(path)
        store, named, fresh = terms
        keeping = Keeping(folder, store, named, fresh, parent.note, parent.wait)
        shop = Workshop(plan, folder, registry, device, parent, keeping)
        result = shop.attempt(plan.cells[index])
        parent.result(_sendable(result))
    except NoSpaceError as error:
        parent.say("raise", NoSpaceError(*error.args))
    except RunFolderError as error:
        parent.say("raise", RunFolderError(*error.args))
    except KeyboardInterrupt:
        parent.say("raise", KeyboardInterrupt())


def _settle(output: Connection) -> None:
    """Makes this the first process of a group, without a terminal, that ends with its parent."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for written in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none, or nobody reads it
            written.flush()  # what the user's script printed while it was imported is no cell's
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    stream = partial(
        open, mode="w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    sys.stdout, sys.stderr = stream(1), stream(2)
    logging.getLogger().handlers.clear()  # what the server imported may have left some
    # Where it was when it crashed or was ended belongs into its log.
    faulthandler.enable(2)
    faulthandler.register(signal.SIGTERM, 2, all_threads=False, chain=True)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it is for the thread that works
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


class _Parent:
    """The process's end: progress as the workshop tells it, and the result."""

    def __init__(self, messages: Connection) -> None:
        self._messages = messages
        self._lock = Lock()  # a defense may train in several threads
        self._models = 0
        self._told = 0.0

    def say(self, kind: str, content: object = None) -> None:
        with self._lock:
            self._messages.send((kind, content))

    def start(self, cell: str, total: int, done: int) -> None:
        self.say("start", (cell, total, done))

    def advance(self, models: int) -> None:
        self._models += models
        if time.monotonic() - self._told > _EVERY_S:
            self._flush()

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        """The parent says that, when it has the result."""

    def note(self, text: str) -> None:
        self.say("note", text)

    def working(self, on: str, done: int, total: int) -> None:
        self.say("working", (on, done, total))

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Inside, another process trains what this one wants: no time of the cell's passes."""
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        self.say("waiting")
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, left)
            self.say("going on")

    def result(self, result: CellResult) -> None:
        self._flush()
        self.say("result", result)

    def _flush(self) -> None:
        self._told = time.monotonic()
        models, self._models = self._models, 0
        self.say("advance", models)


def _sendable(result: CellResult) -> CellResult:
    """The result without what a plugin may have made impossible to send."""
    cell = replace(result.cell, defense=None)
    return replace(result, cell=cell, proved=tuple(map(_told, result.proved)))


def _told(one: Proved) -> Proved:
    certificate = one.certificate
    if certificate is None or one.curve is None:
        return one
    head = (certificate.method, certificate.threat, certificate.guarantee)
    if isinstance(certificate, PointwiseCertificate):
        pointwise = PointwiseCertificate(*head, certificate.predictions, certificate.radii)
        return replace(one, certificate=pointwise)
    return replace(one, certificate=Told(*head, certificate.kind, one.curve))
