"""A Dask cluster for a run: one of this machine's own, or one that is there already."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from distributed import Client

    from harness.results.cells import Plan
    from harness.running.cluster.on_worker import Supply

_ANSWER_S = 10
"""Seconds in which a scheduler answers."""
_EXTRA = "pip install 'poisoning-harness[distributed]'"


@dataclass(frozen=True)
class Where:
    """Which cluster trains: ``workers`` processes of this machine, the one of a ``scheduler`` (its
    address, or the file that it wrote), or that of a ``client``. None of them: no cluster.
    """

    workers: int | None = None
    scheduler: str | None = None
    client: Any = None

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other; give one of them")
        workers = self.workers
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int)):
            raise UsageError(f"workers must be a whole number, found {workers!r}")
        if workers is not None and not 1 <= workers <= 10_000:
            raise UsageError(f"workers must be at least 1, found {workers}")
        if self.scheduler is not None and not isinstance(self.scheduler, str | Path):
            raise UsageError(f"scheduler={self.scheduler!r} is no address, as tcp://HOST:8786")
        if given:
            _library()
        if self.client is not None:
            from distributed import Client

            if not isinstance(self.client, Client) or self.client.asynchronous:
                raise UsageError(f"client={self.client!r} is no distributed.Client that can wait")

    def __bool__(self) -> bool:
        return any(value is not None for value in vars(self).values())


NOWHERE = Where()
"""No cluster: this process trains."""


def _library() -> None:
    try:
        import distributed  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError(f"a cluster needs Dask ({error}): {_EXTRA}") from None


@contextmanager
def connected(where: Where, note: Callable[[str], None]) -> Iterator[tuple[Client, int | None]]:
    """A client of that cluster, and how many threads each worker's computations may have (None: as
    they were started). A cluster of this machine's own ends with it.

    Raises ClusterError where no scheduler answers.
    """
    with ExitStack() as stack:
        stack.enter_context(_silence())
        client, threads = where.client, None
        if where.workers is not None:
            client, threads = _own(where.workers, stack)
        elif where.scheduler is not None:
            client = stack.enter_context(_client(str(where.scheduler)))
        note(_about(client))
        yield client, threads


@contextmanager
def _silence() -> Iterator[None]:
    """What Dask logs about workers that come and go is told in our own words."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _own(workers: int, stack: ExitStack) -> tuple[Client, int]:
    import dask
    from distributed import Client, LocalCluster

    threads = max(1, (os.cpu_count() or 1) // workers)
    # A block is one task: cores beyond that are for the threads of its linear algebra. Memory that
    # was freed is used again and not given back: asking the system each time is slow. With the one
    # threshold set, glibc no longer adapts the other, and would map each larger tensor anew.
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    memory = {"MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**25}
    environment = dict.fromkeys(libraries, threads) | memory
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.allowed-failures": 2,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.worker.daemon": True,
        "distributed.deploy.lost-worker-timeout": "20s",
    }
    try:
        stack.enter_context(dask.config.set(settings))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                dashboard_address="127.0.0.1:0",
            )
        )
        return stack.enter_context(Client(cluster)), threads
    except (OSError, RuntimeError) as error:
        raise ClusterError(f"workers could not be started: {_line(error)}{_hint()}") from None


def _hint() -> str:
    """What a script's author should know: each worker imports it, and so may do what it does."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None or Path(script).name in ("harness", "__main__.py"):
        return ""
    return f'; what {script} does must stand below: if __name__ == "__main__":'


def _client(address: str) -> Client:
    from distributed import Client

    file = Path(address).expanduser()
    named = "://" not in address and (address.endswith(".json") or os.sep in address)
    if named and not file.is_file():
        raise UsageError(f"scheduler {address!r}: there is no such file")
    try:
        if named:
            return Client(scheduler_file=str(file), timeout=_ANSWER_S)
        return Client(address, timeout=_ANSWER_S)
    except Exception as error:  # whatever else may listen there and say
        raise ClusterError(
            f"no scheduler answers at {address!r} ({_line(error)}); wanted tcp://HOST:PORT, or the "
            "file that it wrote"
        ) from None


def _line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _about(client: Client) -> str:
    threads = client.nthreads()
    count = f"{len(threads)} worker" + ("s" if len(threads) != 1 else "")
    several = sum(n > 1 for n in threads.values())
    beside = " (of several threads, of which one trains at a time)" if several else ""
    return f"{count}{beside}; dashboard: {client.dashboard_link}"


@contextmanager
def supplied(client: Client, supply: Supply, plan: Plan) -> Iterator[None]:
    """Inside, every worker, also one that joins later, has what the run's blocks have in common.

    Raises ClusterError, with the worker's address, for one that cannot train a cell of the plan:
    one without the package, with another version of it or of a plugin, or with other code.
    """
    import cloudpickle

    import harness
    from harness.running.cluster.on_worker import check, identify

    for address, found in _asked(client, identify):
        if isinstance(found, BaseException):
            raise ClusterError(f"worker {address} cannot import harness: {_line(found)}")
        if found != harness.__version__:
            raise ClusterError(
                f"worker {address} has poisoning-harness {found}, and {harness.__version__} is here"
            )
    client.register_plugin(supply)
    try:
        cells = [cloudpickle.dumps(cell) for cell in plan.cells if cell.defense is not None]
        for address, wrong in _asked(client, check, supply.name, cells):
            if wrong is not None:
                raise ClusterError(f"worker {address}: {_line(wrong)}")
        yield
    finally:
        with suppress(Exception):  # the cluster may be gone
            client.unregister_worker_plugin(supply.name)


def _asked(client: Client, question: Any, *arguments: Any) -> list[tuple[str, Any]]:
    """What each worker answers, but for those that are gone meanwhile."""
    answers = client.run(question, *arguments, on_error="return")
    return [(address, one) for address, one in answers.items() if not isinstance(one, OSError)]
