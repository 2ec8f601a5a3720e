"""Blocks on the workers of a Dask cluster: the same results, whatever happens to the workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import dask
import pytest
from distributed import Client, Future, LocalCluster

import harness
from harness.datasets.base import Dataset
from harness.datasets.npy import Npy
from harness.errors import CellFailed, ClusterError
from harness.running.cluster import connecting
from harness.running.quiet import Quiet
from harness.running.session import Session

RASCALS = Path(__file__).parents[2] / "rascals" / "rascals.py"


@dataclass
class Site:
    """A folder with the misbehaving plugin, as it is when it is installed; workers have it too."""

    folder: Path

    def install(self, version: str = "1.0", more: str = "") -> None:
        about = self.folder / "rascals-1.0.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        (self.folder / "rascals.py").write_text(RASCALS.read_text() + more)
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: rascals\nVersion: {version}\n"
        )
        (about / "entry_points.txt").write_text("[harness]\nrascal = rascals\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Client]]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.install()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site.folder)
        # Set before the workers start, which have it from here.
        patch.setenv("PYTHONPATH", str(site.folder))
        patch.setenv("HARNESS_STORE", "off")
        with (
            dask.config.set(
                {
                    "distributed.scheduler.allowed-failures": 2,
                    "distributed.deploy.lost-worker-timeout": "5s",
                }
            ),
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60
            ) as cluster,
            Client(cluster) as client,
        ):
            yield site, client
    sys.modules.pop("rascals", None)


@pytest.fixture
def client(shared: tuple[Site, Client]) -> Iterator[Client]:
    client = shared[1]
    while len(client.nthreads()) < 2:
        client.cluster.scale(2)  # one that was killed while it started does not come back
        time.sleep(0.1)
    yield client
    while client.cluster.scheduler.tasks:  # nothing of the run is left behind
        time.sleep(0.01)
    assert not [name for name in client.cluster.scheduler.worker_plugins if "harness" in name]


@pytest.fixture
def site(shared: tuple[Site, Client]) -> Iterator[Site]:
    shared[0].install()
    yield shared[0]
    shared[0].install()


def curves(run: harness.Run) -> bytes:
    return (run.folder / "curves.csv").read_bytes()


def finished(run: harness.Run) -> list[str]:
    return run.curves.defense.unique().tolist()


def gone(pid: int) -> bool:
    """Whether the process has ended, or does within ten seconds."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def pid_in(path: Path) -> int:
    """The process whose number a block writes there, once it does."""
    told = path.with_suffix(".pid")
    while not told.exists() or not told.read_text():
        time.sleep(0.01)
    return int(told.read_text())


def test_the_same_bytes_as_in_this_process(client: Client, tiny: Dataset) -> None:
    cells = ["bagging[n_models=300,k=5]", "dpa[n_models=5]", "rascal[n_models=7]"]
    there = harness.run(cells, dataset=tiny, client=client)
    assert curves(there) == curves(harness.run(cells, dataset=tiny))
    assert any(note.startswith("2 workers; dashboard: ") for note in there.notes)


def test_examples_stay_in_files_that_workers_share(
    client: Client, tiny_npy: Path, tiny_npz: Path
) -> None:
    cell = "bagging[n_models=600,k=5]"  # two blocks
    there = harness.run(cell, dataset=f"npy:{tiny_npy}", client=client, store="off")
    here = harness.run(cell, dataset=f"npz:{tiny_npz}", store="off")
    assert curves(there) == curves(here)
    data = Npy().load(str(tiny_npy), None)
    (tiny_npy / "x_train.npy").rename(tiny_npy / "elsewhere.npy")
    with pytest.raises(ClusterError, match=r"^worker tcp://\S+: npy:\S+: x_train is not to be had"):
        harness.run(cell, dataset=data, client=client, store="off")


def test_a_block_whose_worker_is_killed_is_trained_again(
    client: Client, tiny: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "now"

    def kill() -> None:
        os.kill(pid_in(path), signal.SIGKILL)
        path.touch()

    killer = Thread(target=kill)
    killer.start()
    cell = f"rascal[does=wait_for,path={path},n_models=5]"
    there = harness.run(cell, dataset=tiny, client=client)
    killer.join()
    assert curves(there) == curves(harness.run(cell, dataset=tiny))


def test_a_result_that_died_with_its_worker_is_waited_for(
    client: Client, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event that a block is done comes before a worker's death that takes its result away."""
    asked = set()
    done = Future.done

    def lost_at_first(future: Future) -> bool:
        first = future.key not in asked
        asked.add(future.key)
        return done(future) and not first

    monkeypatch.setattr(Future, "done", lost_at_first)
    there = harness.run("rascal[n_models=3]", dataset=tiny, client=client, timeout=60)
    assert len(asked) == 3
    monkeypatch.undo()
    assert curves(there) == curves(harness.run("rascal[n_models=3]", dataset=tiny))


def test_a_block_that_kills_its_workers_fails_its_cell_alone(client: Client, tiny: Dataset) -> None:
    with pytest.raises(CellFailed) as failed:
        harness.run(["rascal[does=killed,n_models=3]", "rascal"], dataset=tiny, client=client)
    assert failed.value.failures == {
        "rascal[does=killed,n_models=3]": "block 2 killed its worker 3 times"
    }
    assert failed.value.exit_code == 3
    assert finished(failed.value.run) == ["rascal"]


def test_time_limits_hold_there_too(client: Client, tiny: Dataset) -> None:
    cells = ["rascal[does=regex,n_models=2]", "rascal"]
    with pytest.raises(CellFailed) as failed:
        harness.run(cells, dataset=tiny, client=client, timeout=8)
    assert failed.value.failures == {cells[0]: "timed out after 8 s (--timeout)"}
    assert finished(failed.value.run) == ["rascal"]


def test_interrupting_ends_what_workers_do(client: Client, tiny: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "never"
    pids = []

    def interrupt() -> None:
        pids.append(pid_in(path))
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        harness.run(f"rascal[does=wait_for,path={path}]", dataset=tiny, client=client)
    assert gone(pids[0])


def test_what_a_block_writes_is_in_the_log_of_its_cell(
    client: Client, tiny: Dataset, tmp_path: Path
) -> None:
    run = harness.run("rascal[does=write]", dataset=tiny, client=client, output=tmp_path / "run")
    (log,) = (run.folder / "logs").iterdir()
    assert sorted(log.read_text().split()) == ["from", "from", "print", "stderr"]


def test_an_exception_is_the_cells_with_its_traceback(client: Client, tiny: Dataset) -> None:
    with pytest.raises(CellFailed) as failed:
        harness.run("rascal[does=unheard]", dataset=tiny, client=client)
    assert list(failed.value.failures.values()) == ["KeyError: 'unheard'"]
    (details,) = (failed.value.run.folder / "failures").iterdir()
    assert "in gather" in details.read_text()


def carried_out(session: Session, client: Client) -> str:
    """What ends the run before a block is trained."""
    with pytest.raises(ClusterError) as error:
        session.carry_out(Quiet(), [])
    assert error.value.exit_code == 3
    (line,) = str(error.value).splitlines()
    return line


def test_a_worker_with_another_version_of_a_plugin(
    client: Client, site: Site, tiny: Dataset
) -> None:
    session = harness.plan("rascal", dataset=tiny, client=client)
    site.install(version="2.0")
    line = carried_out(session, client)
    assert line.startswith("worker tcp://")
    assert line.endswith(": it has rascals 2.0, and the run's is rascals 1.0")


def test_a_worker_with_other_code_of_a_plugin(
    client: Client, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.plan("rascal", dataset=tiny)  # imports it
    monkeypatch.setitem(sys.modules["rascals"].WAYS, "swallow", lambda: None)
    line = carried_out(harness.plan("rascal", dataset=tiny, client=client), client)
    assert "the code of rascal, or a library under it, is not what it is in the run" in line


def test_a_worker_with_another_version_of_the_package(
    client: Client, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = harness.plan("bagging", dataset=tiny, client=client)
    here = harness.__version__
    monkeypatch.setattr(harness, "__version__", "99")
    line = carried_out(session, client)
    assert line.endswith(f" has poisoning-harness {here}, and 99 is here")


def test_workers_of_its_own_keep_the_memory_that_they_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both thresholds of glibc: with one alone, every larger tensor is mapped anew."""
    sizes = {"MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**25}
    for name in sizes:  # which Dask sets in this process for workers that it starts, and then keeps
        monkeypatch.delenv(name, raising=False)
    with connecting.connected(connecting.Where(workers=1), print) as (own, _):
        for name, size in sizes.items():
            assert list(own.run(os.environ.get, name).values()) == [str(size)]


def test_workers_of_several_threads(tiny: Dataset) -> None:
    with Client(n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        there = harness.run("bagging[n_models=300,k=5]", dataset=tiny, client=client)
    assert any("of several threads, of which one trains at a time" in one for one in there.notes)
    assert curves(there) == curves(harness.run("bagging[n_models=300,k=5]", dataset=tiny))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "http://127.0.0.1:9"])
def test_no_scheduler_is_one_line(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(connecting, "_ANSWER_S", 1)
    with pytest.raises(ClusterError) as error:
        harness.run("bagging", dataset=tiny, scheduler=address)
    assert str(error.value).startswith(f"no scheduler answers at {address!r} (")
    assert len(str(error.value).splitlines()) == 1


SCRIPT = """
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.defense import Defense, Parameters
from harness.threats import Threat
import harness, sys

class Mine(Defense):
    "Votes at random."
    name = title = paper = "mine"
    Params = Parameters

    def covers(self):
        return frozenset({{Threat.ANY}})

    def gather(self, task):
        return {{"votes": task.rng().integers(0, 2, (task.shape.n_test, 2))}}

    def certify(self, evidence, threat, alpha):
        votes = evidence["votes"]
        gap = abs(votes[:, 0] - votes[:, 1])
        return PointwiseCertificate("gap", threat, DETERMINISTIC, votes.argmax(1), gap)

if {guard}:
    try:
        run = harness.run(Mine, dataset="npz:" + sys.argv[1], workers=1, store="off")
    except harness.errors.ClusterError as error:
        sys.exit(str(error))
    assert run.curves.equals(harness.run(Mine, dataset="npz:" + sys.argv[1], store="off").curves)
"""


@pytest.mark.parametrize("guard", ['__name__ == "__main__"', "True"])
def test_what_a_script_defines(tmp_path: Path, tiny_npz: Path, guard: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=guard))
    done = subprocess.run(
        [sys.executable, script, tiny_npz], capture_output=True, text=True, check=False
    )
    if guard == "True":
        assert done.returncode == 1
        line = done.stderr.splitlines()[-1]
        assert line.startswith("workers could not be started: ")
        assert line.endswith(f'{script} does must stand below: if __name__ == "__main__":')
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_a_lost_scheduler_ends_the_run_and_what_was_finished_is_kept(
    tiny: Dataset, tmp_path: Path, site: Site
) -> None:
    file, path = tmp_path / "scheduler.json", tmp_path / "now"
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    words += ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    words = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard"]
    words += ["--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"]
    worker = subprocess.Popen(words, stderr=subprocess.DEVNULL)

    def lose() -> None:
        pid_in(path)
        scheduler.kill()

    Thread(target=lose).start()
    cell = f"rascal[does=wait_for,path={path},n_models=3]"
    store = tmp_path / "kept"
    try:
        while not file.exists():
            time.sleep(0.01)
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
            pytest.raises(ClusterError, match="lost the scheduler at tcp://127"),
        ):
            harness.run(cell, dataset=tiny, scheduler=str(file), store=store)
    finally:
        worker.kill()
        scheduler.kill()
        scheduler.wait()
        worker.wait()
    path.touch()
    again = Quiet()
    harness.run(cell, dataset=tiny, store=store, progress=again)
    assert len(list(store.rglob("*.npz"))) == 3
