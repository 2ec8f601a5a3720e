"""A comparison from what was asked for to the finished folder: planned first, then carried out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING

import numpy as np

from harness.datasets.base import Dataset
from harness.errors import RunFolderError, UsageError
from harness.plugins.registry import load_dataset, load_registry
from harness.plugins.suites import ALPHA, DATASET, DEFAULT, SEED, THREATS, Suite, load_suite
from harness.results.earlier import Earlier, read_earlier
from harness.results.folder import RunFolder, open_run
from harness.results.store import EvidenceStore, store_path
from harness.results.writer import write_manifest, write_results
from harness.running.keeping import Keeping
from harness.running.machine import choose_device
from harness.running.plan import Base, Wanted, make_plan
from harness.running.runner import Runner
from harness.threats import Threat, parse_threats

if TYPE_CHECKING:
    import torch

    from harness.plugins.registry import Registry
    from harness.results.cells import CellResult, Plan
    from harness.running.task import Progress

_TRAINED_AGAIN = (
    "its code, a library or the device changed since it was trained here; training it again"
)


class Quiet:
    """Shows no progress and keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, cell: str, total: int, done: int) -> None:
        """Shows nothing."""

    def advance(self, models: int) -> None:
        """Shows nothing."""

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        self.notes.append(text)


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
        identity = self.plan.identity()
        where = store_path(self.store)
        if self.store is not None and where is not None:
            EvidenceStore(where).open()  # before anything is written or removed for the run
        with open_run(path, identity, fresh=self.fresh, widen=True) as folder:
            earlier = read_earlier(folder)
            plan = _widened(self.plan, earlier)
            kept = earlier.without({cell.label for cell in plan.cells})
            self._tell(folder, plan, kept, progress.note)
            write_manifest(folder, plan, self.device, command, earlier)
            keeping = Keeping(folder, where, self.store is not None, self.fresh, progress.note)
            runner = Runner(
                plan, folder, self.registry, self.device, progress, self.timeout, keeping
            )
            results = runner.run()
            write_results(folder, plan, results, self.device, command, earlier)
        return Outcome(path, results, kept.labels, scratch)

    def words(self) -> list[str]:
        """A command that does the same, as far as one can name its defenses and its data."""
        plan = self.plan
        words = ["harness", "run"]
        for cell in plan.cells:
            words += ["-d", cell.label]
        words += ["--dataset", plan.dataset.name]
        for threat in plan.threats:
            words += ["--threat", threat.value]
        words += ["--alpha", f"{plan.alpha:g}", "--seed", str(plan.seed)]
        return words + (["--device", str(self.device)] if self.device.type != "cpu" else [])

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
    plan = make_plan(
        registry,
        cells,
        data,
        threats=parsed,
        alpha=(suite.alphas if suite else ALPHA) if alpha is None else alpha,
        seed=(suite.seeds if suite else SEED) if seed is None else seed,
        base=None if fresh or output is None else _base(output, data),
        device=chosen.type,
        lenient=suite is not None and not defenses,
        suite=suite.name if suite and not defenses else None,
    )
    return Session(registry, plan, chosen, output, fresh, timeout, store)


def check_timeout(timeout: float | None) -> None:
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
