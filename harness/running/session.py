"""A comparison from what was asked for to the finished folder: planned first, then carried out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.datasets.base import Dataset
from harness.defense import Defense
from harness.errors import RunFolderError, UsageError
from harness.plugins.registry import load_dataset, load_registry
from harness.plugins.suites import ALPHA, DATASET, DEFAULT, SEED, THREATS, Suite, load_suite
from harness.results.earlier import Earlier, read_earlier
from harness.results.folder import RunFolder, open_run
from harness.results.store import EvidenceStore, store_path
from harness.results.writer import write_manifest, write_results
from harness.running.cluster.connecting import NOWHERE, Where, connected, supplied
from harness.running.keeping import Keeping
from harness.running.machine import choose_device
from harness.running.plan import Base, Wanted, make_plan
from harness.running.runner import Runner
from harness.threats import Threat, parse_threats

if TYPE_CHECKING:
    import torch
    from distributed import Client

    from harness.plugins.registry import Registry
    from harness.results.cells import CellResult, Plan
    from harness.running.cluster.on_worker import Supply
    from harness.running.cluster.pool import Pool
    from harness.running.estimate import Estimate
    from harness.running.task import Progress

_TRAINED_AGAIN = (
    "its code, a library or the device changed since it was trained here; training it again"
)


_ORDER = ("dataset", "threats", "alpha", "seed")
"""The arguments of a call, as one writes them."""


@dataclass(frozen=True)
class Outcome:
    """What became of a comparison: its folder, its results, and the cells of an earlier run there
    that it left as they were. ``scratch``: nobody named the folder; whoever has it removes it.
    """

    folder: Path
    results: list[CellResult]
    kept: list[str]
    scratch: bool


@dataclass(frozen=True)
class Session:
    """A comparison that is planned. ``folder`` is None where its results go to a scratch one."""

    registry: Registry
    plan: Plan
    device: torch.device
    folder: Path | None
    fresh: bool = False
    timeout: float | None = None
    store: str | Path | None = None
    """The store that was named; None for the usual one."""
    where: Where = NOWHERE
    """The cluster that trains, if one does."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The arguments as they were given: defenses, dataset, threats, alpha, seed."""

    def carry_out(self, progress: Progress, command: Sequence[str]) -> Outcome:
        """Trains, certifies and writes ``manifest.json`` and the tables; draws nothing.

        Raises HarnessError where the folder or the store cannot be used, and what
        :meth:`~harness.running.runner.Runner.run` raises. A cell that fails is among the results.
        """
        scratch = self.folder is None
        path = self.folder or Path(tempfile.mkdtemp(prefix="harness-"))
        try:
            return self._carry_out(path, progress, command, scratch)
        except BaseException:
            if scratch:
                shutil.rmtree(path, ignore_errors=True)
            raise

    def _carry_out(
        self, path: Path, progress: Progress, command: Sequence[str], scratch: bool
    ) -> Outcome:
        if not self.where:
            return self._train(path, progress, command, scratch, None)
        from harness.running.cluster import on_worker

        with connected(self.where, progress.note) as (client, threads):
            local = self.where.workers is not None
            plan = replace(self.plan, cells=())
            supply = on_worker.Supply(
                plan, self.device.type, threads, local=local, store=store_path(self.store)
            )
            with supplied(client, supply, self.plan):
                return self._train(path, progress, command, scratch, (client, supply))

    def _train(
        self,
        path: Path,
        progress: Progress,
        command: Sequence[str],
        scratch: bool,
        cluster: tuple[Client, Supply] | None,
    ) -> Outcome:
        identity = self.plan.identity()
        where = store_path(self.store)
        if self.store is not None and where is not None:
            EvidenceStore(where).open()  # before anything is written or removed for the run
        removed = self._removed(path) if self.fresh else []
        with open_run(path, identity, fresh=self.fresh, widen=True) as folder:
            if removed:
                progress.note(f"--fresh removes {', '.join(removed)}")
            earlier = read_earlier(folder)
            plan = _widened(self.plan, earlier)
            kept = earlier.without({cell.label for cell in plan.cells})
            self._tell(folder, plan, kept, progress.note)
            write_manifest(folder, plan, self.device, command, earlier)
            keeping = Keeping(folder, where, self.store is not None, self.fresh, progress.note)
            with self._pool(cluster, plan, progress, keeping) as pool:
                runner = Runner(
                    plan, folder, self.registry, self.device, progress, self.timeout, keeping, pool
                )
                results = runner.run()
            write_results(folder, plan, results, self.device, command, earlier)
        return Outcome(path, results, kept.labels, scratch)

    def estimates(self) -> Iterator[Estimate]:
        """What each cell will take, in one process on this machine: see :class:`Estimate`.

        Models are timed while one goes through it; nothing is kept and nothing written.
        """
        from harness.running.estimate import Estimator

        return Estimator(
            self.plan, self.registry, self.device, self.folder, store_path(self.store), self.fresh
        ).estimates()

    @contextmanager
    def _pool(
        self,
        cluster: tuple[Client, Supply] | None,
        plan: Plan,
        progress: Progress,
        keeping: Keeping,
    ) -> Iterator[Pool | None]:
        if cluster is None:
            yield None
            return
        from harness.running.cluster.pool import Pool

        pool = Pool(*cluster, plan, progress, keeping, self.timeout)
        try:
            yield pool
        finally:
            pool.close()

    def _removed(self, path: Path) -> list[str]:
        """The cells in that folder that this run does not make again."""
        found: Any = []
        with suppress(RunFolderError):  # it is said when the folder is opened
            found = (RunFolder(path).manifest() or {}).get("cells")
        wanted = {cell.label for cell in self.plan.cells}
        cells = [one for one in found or () if isinstance(one, dict) and "label" in one]
        return [str(one["label"]) for one in cells if one["label"] not in wanted]

    def words(self) -> list[str]:
        """A command that does the same; where none can, for a defense or data that have no name on
        the command line, ``python`` and a call in words.
        """
        plan = self.plan
        claims = self.registry.defenses.claims
        if isinstance(self.asked.get("dataset"), Dataset) or not all(
            claims(cell.name) for cell in plan.cells
        ):
            return ["python", self._call()]
        words = ["harness", "run"]
        for cell in plan.cells:
            words += ["-d", cell.label]
        words += ["--dataset", plan.dataset.name]
        for threat in plan.threats:
            words += ["--threat", threat.value]
        words += ["--alpha", repr(plan.alpha), "--seed", str(plan.seed)]
        return words + (["--device", str(self.device)] if self.device.type != "cpu" else [])

    def _call(self) -> str:
        """The call in Python, its arguments written out as far as they can be."""
        asked = {"threats": [threat.value for threat in self.plan.threats], **self.asked}
        words = [_written(asked.pop("defenses"))]
        words += [f"{key}={_written(asked[key])}" for key in sorted(asked, key=_ORDER.index)]
        words += [f"device={str(self.device)!r}"] if self.device.type != "cpu" else []
        return f"harness.run({', '.join(words)})"

    def _tell(
        self, folder: RunFolder, plan: Plan, kept: Earlier, note: Callable[[str], None]
    ) -> None:
        """What the user should know about the folder, and about what goes from it."""
        wanted = {cell["label"]: str(cell.get("evidence")) for cell in kept.cells}
        wanted |= {cell.label: cell.stem for cell in plan.cells}
        blocks = {str(cell.get("blocks")) for cell in kept.cells}
        blocks |= {cell.blocks_stem for cell in plan.cells}
        for label in folder.drop_stale(wanted, blocks):
            note(f"{label}: {_TRAINED_AGAIN}")
        done = [label for label in kept.labels if label not in kept.unfinished]
        if done:
            note(f"kept from an earlier run in {folder.path}: {', '.join(done)}")
        if kept.unfinished:
            note(f"begun by an earlier run and not finished: {', '.join(kept.unfinished)}")


def prepare(
    wanted: Sequence[Wanted] | Suite | str | Path | None = None,
    *,
    dataset: Dataset | str | None = None,
    data_root: Path | None = None,
    threats: str | Iterable[str] | None = None,
    alpha: float | Sequence[float] | None = None,
    seed: int | Sequence[int] | None = None,
    device: str = "cpu",
    output: Path | None = None,
    timeout: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    client: Any = None,
    fresh: bool = False,
    store: str | Path | None = None,
    defenses: Sequence[Wanted] = (),
) -> Session:
    """The comparison, everything checked that can be without training.

    ``wanted``: cells, a suite, or its name or file; without it, the suite that ``harness run`` is.
    ``defenses`` take the place of a suite's cells; whatever else is given takes the place of what
    the suite says. ``output``: the folder; without one, results go to a scratch folder. Raises
    UsageError, DataError, RunFolderError.
    """
    suite = None
    if wanted is None or isinstance(wanted, str | Path | Suite):
        suite = wanted if isinstance(wanted, Suite) else load_suite(wanted or DEFAULT)
    cells: Sequence[Wanted] = defenses or (suite.cells if suite else wanted)  # type: ignore[assignment]
    check_timeout(timeout)
    where = Where(workers, scheduler, client)
    if threats is None:
        threats = suite.threats if suite else THREATS
    parsed = parse_threats("threats", threats)
    store_path(store)  # what is none is said before anything is trained
    registry = load_registry()
    chosen = choose_device(device)
    if dataset is None:
        dataset = suite.dataset if suite else DATASET
    data = load_dataset(registry, dataset, data_root) if isinstance(dataset, str) else dataset
    if not isinstance(data, Dataset):
        raise UsageError(f"{data!r} is no data set; wanted its name or a harness.Dataset")
    if alpha is None:
        alpha = suite.alphas if suite else ALPHA
    if seed is None:
        seed = suite.seeds if suite else SEED
    plan = make_plan(
        registry,
        cells,
        data,
        threats=parsed,
        alpha=alpha,
        seed=seed,
        base=None if fresh or output is None else _base(output, data),
        device=chosen.type,
        lenient=suite is not None and not defenses,
        suite=suite.name if suite and not defenses else None,
    )
    asked = {"defenses": tuple(cells), "dataset": dataset, "alpha": alpha, "seed": seed}
    return Session(registry, plan, chosen, output, fresh, timeout, store, where, asked)


def _written(value: Any) -> str:
    """An argument as one would write it."""
    if isinstance(value, Dataset):
        return f"<Dataset {value.name!r}>"
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, Defense):
        params = value.params
        given = [
            f"{key}={getattr(params, key)!r}"
            for key, one in type(params).model_fields.items()
            if getattr(params, key) != one.get_default(call_default_factory=True)
        ]
        made = f"{type(params).__qualname__}({', '.join(given)})"
        return f"{type(value).__qualname__}({made})"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value.item() if isinstance(value, np.generic) else value)


def check_timeout(timeout: Any) -> None:
    """Raises UsageError for what is no number of seconds."""
    if timeout is None:
        return
    number = isinstance(timeout, int | float | np.integer | np.floating)
    if isinstance(timeout, bool) or not number or not 0 < timeout <= TIMEOUT_MAX:
        shown = f"{timeout:g}" if isinstance(timeout, float) else repr(timeout)
        raise UsageError(f"--timeout must be a number of seconds above 0, found {shown}")


def _base(path: Path, data: Dataset) -> Base | None:
    """The seed and alpha that labels in that folder do not mention, where it holds such a run."""
    manifest = {}
    with suppress(RunFolderError):  # it is said when the folder is opened
        manifest = RunFolder(path).manifest() or {}
    found = manifest.get("plan")
    if not isinstance(found, dict) or found.get("digest") != data.digest:
        return None  # nothing, or a folder that is refused when it is opened
    seed, alpha = manifest.get("seed"), manifest.get("alpha")
    return Base(seed, alpha) if isinstance(seed, int) and isinstance(alpha, float) else None


def _widened(plan: Plan, earlier: Earlier) -> Plan:
    """The plan with the threats that were asked about before: they are proved again, for nothing"""
    before = [Threat(name) for name in earlier.threats if name in {t.value for t in Threat}]
    return replace(plan, threats=tuple(dict.fromkeys([*before, *plan.threats])))
