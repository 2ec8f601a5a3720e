"""What a defense writes and changes stays with it; the terminal and other cells never notice."""

import asyncio
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness import hookimpl
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.base import Dataset
from harness.defense import Arrays, Defense, Evidence, Parameters, Task, certify_field
from harness.errors import UsageError
from harness.plugins.registry import PluginManager, Registry
from harness.results.cells import CellResult
from harness.results.folder import open_run
from harness.running.containment import LIMIT, CellLog, contained, describe
from harness.running.plan import make_plan
from harness.running.progress import PlainProgress, show_progress
from harness.running.runner import Runner
from harness.threats import Threat


def test_a_log_keeps_everything_that_fits() -> None:
    log = CellLog(limit=10)
    assert not log
    for part in (b"ab\n", b"cdef", b"ghi"):
        log.write(part)
    assert (log.content(), log.lines) == (b"ab\ncdefghi", 2)
    log.write(b"")
    assert log.content() == b"ab\ncdefghi"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_log_that_is_full_keeps_both_ends(size: int) -> None:
    written = b"".join(b"%06d\n" % i for i in range(1000))
    log = CellLog(limit=40)
    for start in range(0, len(written), size):
        log.write(written[start : start + size])
    assert log.content() == written[:20] + b"\n[6,960 bytes left out]\n" + written[-20:]
    assert log.lines == 1000


def inside(write: Callable[[], object]) -> str:
    log = CellLog()
    with contained(log):
        write()
    return log.content().decode()


def lines_of(*messages: str) -> str:
    return "".join(f"{message}\n" for message in messages)


def test_every_way_to_write_ends_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        print("one")
        print("two \udc80", file=sys.stderr)
        sys.stdout.buffer.write(b"three\n")
        sys.stdout.writelines(["four\n", "five"])

    before = sys.stdin, sys.stdout, sys.stderr
    assert inside(write) == lines_of("one", "two \\udc80", "three", "four") + "five"
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.containment")
    yield logger
    logger.handlers.clear()


def test_log_messages_end_in_the_log(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a plugin does when it is imported: the handler knows the terminal.
    logger.addHandler(logging.StreamHandler(sys.stderr))

    def write() -> None:
        logger.warning("through an old handler")
        logger.addHandler(logging.StreamHandler())
        logger.error("through both")

    assert inside(write) == lines_of("through an old handler", "through both", "through both")
    assert capsys.readouterr() == ("", "")
    logger.error("afterwards")
    assert capsys.readouterr().err == lines_of("afterwards", "afterwards")


def test_the_root_logger_stays_the_programs() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level

    def write() -> None:
        logging.basicConfig(level=logging.DEBUG, force=True, format="%(message)s")
        logging.debug("in detail")
        logging.disable()

    assert inside(write) == lines_of("in detail")
    assert (root.handlers, root.level) == before
    assert root.manager.disable == 0


def test_warnings_by_the_thousand_end_in_the_log(
    recwarn: pytest.WarningsRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        warnings.simplefilter("always")
        for i in range(10_000):
            warnings.warn(f"number {i}", stacklevel=1)

    filters = list(warnings.filters)
    log = inside(write)
    assert "UserWarning: number 0\n" in log
    assert "UserWarning: number 9999\n" in log
    assert warnings.filters == filters
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")


def test_standard_input_is_empty() -> None:
    def read() -> None:
        assert sys.stdin.read() == ""
        with pytest.raises(EOFError):
            input()

    inside(read)


def test_settings_are_as_before(tmp_path: Path) -> None:
    def change() -> None:
        os.chdir(tmp_path)
        np.seterr(all="raise")
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(torch.get_num_threads() + 1)
        sys.stdout = io.StringIO()

    def settings() -> tuple[object, ...]:
        return (
            Path.cwd(), np.geterr(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.get_num_threads(), sys.stdout,
        )  # fmt: skip

    before = settings()
    inside(change)
    assert settings() == before


class BadError(Exception):
    def __str__(self) -> str:
        raise ValueError("no message")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\n  b\tc"), "ValueError: a b c"),
        (ValueError(), "ValueError"),
        (UsageError("one\nline"), "one line"),
        (BadError(), "BadError, whose message cannot be shown (ValueError)"),
        (ValueError("\x1b[31mred\x07 \udc80"), "ValueError: \\x1b[31mred\\x07 \\udc80"),
        (ValueError("Zürich ≥ 1"), "ValueError: Zürich ≥ 1"),
        (ValueError("x" * 10**6), f"ValueError: {'x' * 1000}..."),
    ],
)
def test_an_error_in_one_line(error: Exception, text: str) -> None:
    assert describe(error) == text


def recurse(n: int = 0) -> int:
    return recurse(n + 1) + 1


def fail(error: BaseException) -> None:
    raise error


WAYS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "print": lambda: [print("line", i) for i in range(100_000)],
    "warn": lambda: warnings.warn("a warning", stacklevel=1),
    "recurse": recurse,
    "memory": lambda: fail(MemoryError()),
    "exit": lambda: sys.exit("enough"),
    "cancel": lambda: fail(asyncio.CancelledError()),
    "bad": lambda: fail(BadError()),
    "interrupt": lambda: [print("last words"), fail(KeyboardInterrupt())],
    "dtype": lambda: torch.set_default_dtype(torch.float64),
}


class NoisyParameters(Parameters):
    does: str = "nothing"
    proves: str = certify_field("nothing")


class Noisy(Defense[NoisyParameters]):
    """Does as its parameters say."""

    name = "noisy"
    title = paper = "noisy"
    Params = NoisyParameters

    def covers(self) -> frozenset[Threat]:
        return frozenset({Threat.ANY})

    def gather(self, task: Task) -> Arrays:
        WAYS[self.params.does]()
        return {"votes": np.zeros((task.shape.n_test, 2))}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        WAYS[self.params.proves]()
        zeros = np.zeros(len(evidence["votes"]), dtype=np.int64)
        return PointwiseCertificate("noisy", threat, DETERMINISTIC, zeros, zeros)


class Notes:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, cell: str, total: int, done: int) -> None:
        pass

    def advance(self, models: int) -> None:
        pass

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def noisy() -> Registry:
    manager = PluginManager()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_defenses=hookimpl(lambda: [Noisy]))
    manager.register(own, "noisy", "noisy 1.0")
    return manager.registry()


def run(
    registry: Registry, data: Dataset, path: Path, *selections: str, progress: Any = None
) -> list[CellResult]:
    plan = make_plan(registry, selections, data, threats=[Threat.ANY], alpha=0.01, seed=0)
    with open_run(path, plan.identity(), fresh=False) as folder:
        return Runner(plan, folder, registry, torch.device("cpu"), progress or Notes()).run()


def logs(path: Path) -> list[str]:
    return sorted(file.read_text() for file in path.glob("logs/*"))


def test_cells_that_raise_anything_fail_alone(
    noisy: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    ways = ["recurse", "memory", "exit", "cancel", "bad", "warn"]
    results = run(noisy, tiny, tmp_path, *(f"noisy[does={way}]" for way in ways), "noisy")
    assert [result.error for result in results] == [
        "RecursionError: maximum recursion depth exceeded",
        "MemoryError",
        "SystemExit: enough",
        "CancelledError",
        "BadError, whose message cannot be shown (ValueError)",
        "UserWarning: a warning",  # because pytest makes errors of them
        None,
    ]
    failures = [file.read_text() for file in tmp_path.glob("failures/*")]
    assert len(failures) == 6
    assert all("Traceback" in text for text in failures)
    assert logs(tmp_path) == []


def test_a_cell_that_prints_has_a_log_and_a_note(
    noisy: Registry, tiny: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    progress = Notes()
    loud, quiet = run(noisy, tiny, tmp_path, "noisy[does=print]", "noisy", progress=progress)
    assert loud.error is quiet.error is None
    (file,) = tmp_path.glob("logs/*")
    assert file.name == f"noisy-{loud.cell.key}.txt"
    assert progress.notes == [f"noisy[does=print] wrote 100,000 lines: {file}"]
    text = file.read_text()
    assert LIMIT < len(text) < LIMIT + 50
    assert text.startswith("line 0\n")
    assert text.endswith("line 99999\n")
    assert "bytes left out]\n" in text
    assert capfd.readouterr() == ("", "")
    run(noisy, tiny, tmp_path, "noisy[does=print]", "noisy")  # trains nothing, writes nothing
    assert logs(tmp_path) == []


def test_cells_that_share_their_evidence_have_their_own_logs(
    noisy: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    progress = Notes()
    cells = ["noisy[does=print]", "noisy[does=print,proves=print]", "noisy"]
    run(noisy, tiny, tmp_path, *cells, progress=progress)
    assert len(logs(tmp_path)) == 2
    assert all(Path(note.rpartition(": ")[2]).exists() for note in progress.notes)
    bad, good = run(noisy, tiny, tmp_path / "other", "noisy[proves=bad]", "noisy")
    assert (bad.cell.key, good.error) == (good.cell.key, None)
    assert len(list(tmp_path.glob("other/failures/*"))) == 1


def test_an_interrupt_passes_and_the_log_is_kept(
    noisy: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(noisy, tiny, tmp_path, "noisy[does=interrupt]", "noisy")
    assert logs(tmp_path) == [lines_of("last words")]


def test_a_failure_that_was_mended_leaves_nothing(
    noisy: Registry, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same code both times: what a defense uses is part of what its evidence is kept under.
    monkeypatch.setitem(WAYS, "luck", lambda: os.environ.get("LUCK") or fail(MemoryError()))
    assert run(noisy, tiny, tmp_path, "noisy[does=luck]")[0].error
    assert len(list(tmp_path.glob("failures/*"))) == 1
    monkeypatch.setenv("LUCK", "good")
    assert run(noisy, tiny, tmp_path, "noisy[does=luck]")[0].error is None
    assert list(tmp_path.glob("failures/*")) == []


def test_a_cell_does_not_change_the_next_ones(
    noisy: Registry, tiny: Dataset, tmp_path: Path
) -> None:
    bagging = "bagging[n_models=20,k=5,features=raw]"
    _, after = run(noisy, tiny, tmp_path / "after", "noisy[does=dtype]", bagging)
    (alone,) = run(noisy, tiny, tmp_path / "alone", bagging)
    assert after.error is None
    one, other = after.proved[0].certificate, alone.proved[0].certificate
    assert isinstance(one, PointwiseCertificate)
    assert isinstance(other, PointwiseCertificate)
    assert np.array_equal(one.radii, other.radii)


@pytest.mark.parametrize(
    "selection",
    [
        "bagging[n_models=10]",
        "dp[n_models=5]",
        "dp[n_models=1,engine=opacus,steps=2]",
        "label-flip",
        "feature-flip[n_models=5]",
        "dpa[n_models=5]",
        "ss-dpa[n_models=5]",
        "finite-aggregation[n_models=5]",
    ],
)
def test_built_in_defenses_write_nothing(
    registry: Registry, tiny: Dataset, tmp_path: Path, selection: str
) -> None:
    progress = Notes()
    (result,) = run(registry, tiny, tmp_path, selection, progress=progress)
    assert result.error is None
    assert progress.notes == []


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_while_a_cell_runs(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    log = CellLog()
    with show_progress() as progress:
        assert isinstance(progress, PlainProgress) != terminal
        with contained(log):
            progress.start("the cell", 10, 0)
            print("from the plugin")
            progress.advance(10)
            progress.finish("the cell", 1.0, "broken" if not terminal else None)
            progress.note("a note")
    shown = capsys.readouterr().err
    assert "the cell" in shown
    assert "a note" in shown
    assert "from the plugin" not in shown
    assert log.content() == b"from the plugin\n"
