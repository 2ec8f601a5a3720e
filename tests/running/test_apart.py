"""Cells in processes of their own: with --timeout nothing that a cell does can hold up the run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from harness.certificates import ESTIMATE, Kind
from harness.cli.program import program
from harness.datasets.base import Dataset
from harness.errors import RunFolderError
from harness.plugins.registry import Registry, load_registry
from harness.proofs.curves import Curve
from harness.results.cells import Cell, CellResult, Plan
from harness.results.folder import open_run
from harness.results.reader import load_run
from harness.results.store import EvidenceStore
from harness.running.apart import Told
from harness.running.keeping import Keeping
from harness.running.plan import make_plan
from harness.running.runner import Runner
from harness.threats import Threat

SOURCE = Path(__file__).parents[1] / "rascals" / "rascals.py"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the misbehaving plugin as it is when it is installed."""
    folder = tmp_path / "site"
    about = folder / "rascals-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(SOURCE, folder)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rascals\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[harness]\nrascal = rascals\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "rascals", raising=False)
    return folder


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, int, int]] = []
        self.models = 0
        self.notes: list[str] = []

    def start(self, cell: str, total: int, done: int) -> None:
        self.starts.append((cell, total, done))

    def advance(self, models: int) -> None:
        self.models += models

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(
    data: Dataset, path: Path, *selections: str, timeout: float | None = 100, **fields: Any
) -> list[CellResult]:
    registry = fields.get("registry") or load_registry()
    plan = make_plan(registry, selections, data, threats=[Threat.ANY], alpha=0.01, seed=0)
    listener = fields.get("listener") or Listener()
    with open_run(path, plan.identity(), fresh=False) as folder:
        return Runner(plan, folder, registry, torch.device("cpu"), listener, timeout).run()


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def gone(pid: int) -> bool:
    """Whether the process has ended, or does within ten seconds."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # ended; nobody has asked for its status
            return True
        time.sleep(0.01)
    return False


def test_a_plugin_that_is_edited_while_it_runs(site: Path, tiny: Dataset, tmp_path: Path) -> None:
    """Its next process would import other code than the key of its evidence names."""
    registry = load_registry()
    plan = make_plan(registry, ["rascal"], tiny, threats=[Threat.ANY], alpha=0.01, seed=0)
    with (site / "rascals.py").open("a") as file:
        file.write("EDITED = True\n")
    with open_run(tmp_path / "run", plan.identity(), fresh=False) as folder:
        runner = Runner(plan, folder, registry, torch.device("cpu"), Listener(), 100)
        (result,) = runner.run()
    assert str(result.error).startswith("its code changed since this run began")
    assert not (tmp_path / "run" / "evidence").exists()


def test_cells_that_hang_or_die_fail_alone(site: Path, tiny: Dataset, tmp_path: Path) -> None:
    ways = ["regex", "swallow", "leave", "killed"]
    results = run(
        tiny, tmp_path / "run", *(f"rascal[does={way}]" for way in ways), "rascal", timeout=2
    )
    assert [result.error for result in results] == [
        "timed out after 2 s (--timeout)",
        "timed out after 2 s (--timeout)",
        "its process ended by itself (exit status 7)",
        "its process died (signal 9)",
        None,
    ]
    curve = results[-1].proved[0].curve
    assert curve is not None
    assert curve.max_radius == 1
    assert len(list((tmp_path / "run" / "failures").iterdir())) == 4
    # Where the regular expression hung is told, even though Python never came to run again.
    logs = [path.read_text() for path in (tmp_path / "run" / "logs").iterdir()]
    (told,) = [log for log in logs if "it was here" in log and "in <lambda>" in log]
    assert "rascals.py" in told


def test_a_timed_out_cell_goes_on_with_more_time(site: Path, tiny: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "now"
    selection = f"rascal[does=wait_for,path={path},n_models=3]"
    (first,) = run(tiny, tmp_path / "run", selection, timeout=1.5)
    assert first.error == "timed out after 1.5 s (--timeout)"
    assert gone(int(path.with_suffix(".pid").read_text()))
    path.touch()
    listener = Listener()
    (second,) = run(tiny, tmp_path / "run", selection, listener=listener)
    assert second.error is None
    assert listener.starts == [(second.cell.label, 3, 2)]
    assert listener.models == 1
    assert not list((tmp_path / "run" / "failures").iterdir())


@pytest.mark.parametrize("selection", ["rascal[n_models=5]", "rascal[bound=true]"])
def test_the_result_is_that_of_a_cell_in_this_process(
    site: Path, tiny: Dataset, tmp_path: Path, selection: str
) -> None:
    (here,) = run(tiny, tmp_path / "here", selection, timeout=None)
    listener = Listener()
    (apart,) = run(tiny, tmp_path / "apart", selection, listener=listener)
    assert here.error is apart.error is None
    assert apart.cell.defense is not None
    assert apart.n_models == here.n_models == listener.models
    assert apart.peak_rss_mb > 10
    assert apart.calibration_s is not None
    one, other = here.proved[0], apart.proved[0]
    assert one.certificate is not None
    assert other.certificate is not None
    assert other.certificate.method == one.certificate.method
    assert other.certificate.guarantee == one.certificate.guarantee
    assert other.certificate.kind == one.certificate.kind
    assert one.curve is not None
    assert other.curve is not None
    for r in range(12):
        assert other.curve.at(r) == one.curve.at(r)


def test_curves_have_the_same_bytes_with_and_without(tiny_npz: Path, tmp_path: Path) -> None:
    def files(name: str, *more: str) -> tuple[bytes, bytes, list[str]]:
        out = tmp_path / name
        done = harness(
            "run", "-d", "bagging[n_models=30,k=5,features=raw]", "-d", "dp[n_models=20]",
            "-d", "label-flip[features=raw]", "--dataset", f"npz:{tiny_npz}", "--output", out,
            *more,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert not (out / "logs").exists()
        kinds = load_run(out).summary["kind"].tolist()
        assert set(kinds) == {"pointwise", "expected-accuracy", ""}
        return (out / "curves.csv").read_bytes(), (out / "certificates.npz").read_bytes(), kinds

    assert files("here") == files("apart", "--timeout", "300")


def test_what_is_written_past_python_goes_to_the_log(
    site: Path, tiny: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    (result,) = run(tiny, tmp_path / "run", "rascal[does=write]", listener=listener)
    assert result.error is None
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert set(log.read_text().splitlines()) == {
        "from print", "from stderr", "from below", "from a child"
    }  # fmt: skip
    assert listener.notes == [f"rascal[does=write] wrote 4 lines: {log}"]
    assert capfd.readouterr() == ("", "")


def test_processes_that_a_cell_started_end_with_it(
    site: Path, tiny: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    (result,) = run(tiny, tmp_path / "run", f"rascal[does=leave_behind,path={path}]", timeout=1)
    assert result.error == "timed out after 1 s (--timeout)"
    assert gone(int(path.read_text()))


def test_a_process_that_can_no_longer_say_anything(
    site: Path, tiny: Dataset, tmp_path: Path
) -> None:
    (result,) = run(tiny, tmp_path / "run", "rascal[does=close_all]")
    assert result.error == "its process ended by itself (exit status 1)"


def test_a_defense_that_cannot_be_sent(tiny: Dataset, tmp_path: Path, registry: Registry) -> None:
    plan = make_plan(registry, ["bagging[n_models=5,k=3,features=raw]"], tiny,
                     threats=[Threat.ANY], alpha=0.01, seed=0)  # fmt: skip
    bagging = plan.cells[0]

    class Local(type(bagging.defense)):  # type: ignore[misc] # a class that no module has
        pass

    local = Cell("local", "local", "x 1.0", Local(bagging.defense.params), "key")
    both = Plan(tiny, 0, (Threat.ANY,), 0.01, (local, bagging))
    with open_run(tmp_path, both.identity(), fresh=False) as folder:
        bad, good = Runner(both, folder, registry, torch.device("cpu"), Listener(), 100).run()
    assert good.error is None
    assert bad.error is not None
    assert bad.error.startswith("cannot run in a process of its own, as --timeout needs it: ")
    assert "Local" in bad.error


def test_a_defense_that_the_process_cannot_find(site: Path, tiny: Dataset, tmp_path: Path) -> None:
    registry = load_registry()
    (site / "rascals.py").unlink()
    shutil.rmtree(site / "__pycache__", ignore_errors=True)
    (result,) = run(tiny, tmp_path / "run", "rascal", registry=registry)
    assert result.error is not None
    assert "cannot run in a process of its own" in result.error
    assert "No module named 'rascals'" in result.error


def test_an_interrupt_of_the_cell_ends_the_run(site: Path, tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "run", "rascal[does=interrupt]", "rascal")
    assert not list((tmp_path / "run").rglob("evidence/*.npz"))


def test_a_folder_that_cannot_be_written_ends_the_run(
    site: Path, tiny: Dataset, tmp_path: Path
) -> None:
    run(tiny, tmp_path / "run", "rascal")
    shutil.rmtree(tmp_path / "run" / "evidence")
    (tmp_path / "run" / "evidence").touch()
    with pytest.raises(RunFolderError, match="cannot write"):
        run(tiny, tmp_path / "run", "rascal")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_the_cell_ends_with_the_run(
    site: Path, tiny_npz: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    path = tmp_path / "never"
    running = subprocess.Popen(
        [
            sys.executable, "-m", "harness", "run", "-d", f"rascal[does=wait_for,path={path}]",
            "--dataset", f"npz:{tiny_npz}", "--output", tmp_path / "run", "--timeout", "1000",
        ],
        env=os.environ | {"PYTHONPATH": str(site)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    pid = path.with_suffix(".pid")
    while not (pid.exists() and pid.read_text()) and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, sent)  # as the terminal does: to all of its processes
    _, errors = running.communicate()
    assert running.returncode == (130 if sent is signal.SIGINT else -sent)
    assert gone(int(pid.read_text()))
    if sent is signal.SIGINT:
        assert "interrupted; finished blocks are kept; go on with: harness run" in errors
        assert "Traceback" not in errors


def test_the_command_line_reports_the_others(site: Path, tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = harness(
        "sweep", "-d", "rascal[does=leave|nothing]", "--threat", "any",
        "--dataset", f"npz:{tiny_npz}", "--output", out, "--timeout", "100",
    )  # fmt: skip
    assert result.exit_code == 3, result.output
    assert "failed: rascal[does=leave]: its process ended by itself" in result.stderr
    cells = json.loads((out / "manifest.json").read_text())["cells"]
    assert [cell["status"] for cell in cells] == ["failed", "finished"]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none(value: str) -> None:
    result = harness("run", "--timeout", value)
    assert result.exit_code == 2
    wanted = f"--timeout must be a number of seconds above 0, found {value}"
    assert result.stderr.strip() == f"harness: {wanted}"


def test_the_option_is_documented() -> None:
    for command in ("run", "sweep"):
        assert "--timeout SECONDS" in harness(command, "--help").output


def test_a_certificate_that_stayed_behind_has_its_curve() -> None:
    curve = Curve(np.array([0, 5, 9]), np.array([0.9, 0.4, 0.0]), 0.95, 0.02, 4, 8)
    told = Told("method", Threat.ANY, ESTIMATE, Kind.EXPECTED_ACCURACY, curve)
    assert told.kind == Kind.EXPECTED_ACCURACY
    labels = np.zeros(10, dtype=np.int64)
    assert told.certified_accuracy(labels, np.array([0, 4, 5, 8, 9])).tolist() == [
        0.9, 0.9, 0.4, 0.4, 0.0
    ]  # fmt: skip
    assert (told.clean_accuracy(labels), told.last_radius(labels), told.abstained) == (
        0.95, 8, 0.02
    )  # fmt: skip


SCRIPT = """
import harness
import numpy as np
from harness.certificates import DETERMINISTIC, PointwiseCertificate

print("the script runs")

class Mine(harness.Defense[harness.Parameters]):
    "Predicts the first label."
    name = "mine"
    title = paper = "mine"
    Params = harness.Parameters

    def covers(self):
        return frozenset({harness.Threat.ANY})

    def gather(self, task):
        return {"votes": np.zeros((task.shape.n_test, 2), dtype=np.int64)}

    def certify(self, evidence, threat, alpha):
        zeros = np.zeros(len(evidence["votes"]), dtype=np.int64)
        return PointwiseCertificate("mine", threat, DETERMINISTIC, zeros, zeros)

def main():
    y = np.arange(40) % 2
    data = harness.Dataset.from_arrays(y[:, None] / 2, y, y[:10, None] / 2, y[:10])
    run = harness.run(
        DEFENSE, dataset=data, threats="any", timeout=300, store="off", on_error="keep"
    )
    print(run.failures)
"""


@pytest.mark.parametrize(
    ("defense", "call", "printed"),
    [
        # What is installed needs nothing of the script, which is not run again.
        ("'dpa[n_models=5,features=raw]'", "main()", "the script runs\n{}\n"),
        ("Mine", "if __name__ == '__main__': main()", "the script runs\nthe script runs\n{}\n"),
        ("Mine", "main()", 'stands below: if __name__ == "__main__":'),
    ],
)
def test_a_script_without_a_guard(tmp_path: Path, defense: str, call: str, printed: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("DEFENSE", defense) + call + "\n")
    done = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
    if printed.startswith("the script"):
        assert sorted(done.stdout.splitlines()) == sorted(printed.splitlines())


def test_waiting_for_another_process_is_no_time_of_the_cell(
    tiny: Dataset, tmp_path: Path, store: Path
) -> None:
    timeout, held = 15.0, 20.0
    registry = load_registry()
    text = "bagging[k=5,n_models=20,features=raw]"
    plan = make_plan(registry, [text], tiny, threats=[Threat.ANY], alpha=0.01, seed=0)
    has_it = Event()

    def other() -> None:  # a lock is let go of by the thread that took it
        release = EvidenceStore(store).open().hold(plan.cells[0].blocks_stem, lambda: None)
        has_it.set()
        time.sleep(held)
        release()

    listener = Listener()
    thread = Thread(target=other)
    thread.start()
    has_it.wait()
    start = time.monotonic()
    with open_run(tmp_path / "run", plan.identity(), fresh=False) as folder:
        keeping = Keeping(folder, store, note=listener.note)
        device = torch.device("cpu")
        runner = Runner(plan, folder, registry, device, listener, timeout, keeping)
        (result,) = runner.run()
    thread.join()
    assert result.error is None
    assert time.monotonic() - start > timeout
    assert listener.notes[0] == "another process trains the same base models: waiting for it"
    assert listener.models == 20
