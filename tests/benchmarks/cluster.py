"""Blocks on the workers of a Dask cluster beside the same in one process, and beside Dask alone.

``python tests/benchmarks/cluster.py [--json] [--runs 50] [--models 40]`` measures on two workers
of one thread: a cell of the convolutional network, against this process with two threads, in turn;
2,000 blocks that do nothing, against 2,000 tasks of Dask that do nothing; and runs in each of which
a worker is killed at a random moment, which must leave what a run leaves that nobody disturbs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from distributed import Client, LocalCluster

RASCALS = Path(__file__).parents[1] / "rascals" / "rascals.py"
ROUNDS, BLOCKS = 3, 2000
WORKERS = ("--workers", "2")
KILLED = ("bagging[n_models=4000,features=raw]", "feature-flip[n_models=4000]", "dpa[n_models=500]")


def command(output: Path, cells: tuple[str, ...], *options: str) -> list[str]:
    selected = [word for cell in cells for word in ("-d", cell)]
    words = [sys.executable, "-m", "harness", "run", *selected, *options]
    return [*words, "--threat", "any", "--store", "off", "--output", str(output)]


def timed(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return time.perf_counter() - start


def network(folder: Path, models: int) -> dict[str, Any]:
    """Wall seconds of one CNN cell in this process and on two workers, in turn."""
    cell = (f"bagging[learner=cnn,k=50,n_models={models}]",)
    walls: list[tuple[float, float]] = []
    for i in range(ROUNDS):
        here, there = folder / f"here-{i}", folder / f"there-{i}"
        walls.append((timed(command(here, cell)), timed(command(there, cell, *WORKERS))))
    files = {path.read_bytes() for path in folder.glob("*here-*/curves.csv")}
    files |= {path.read_bytes() for path in folder.glob("there-*/curves.csv")}
    return {
        "models": models,
        "here_s": statistics.median(one for one, _ in walls),
        "workers_s": statistics.median(one for _, one in walls),
        "ratio": statistics.median(b / a for a, b in walls),
        "same": len(files) == 1,
    }


def install(site: Path) -> None:
    """The plugin whose blocks do nothing, as it is when it is installed."""
    about = site / "rascals-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "rascals.py").write_text(RASCALS.read_text())
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rascals\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[harness]\nrascal = rascals\n")


def nothing(i: int) -> int:
    """A task of Dask that does nothing."""
    return i


def trivial(folder: Path) -> dict[str, Any]:
    """Seconds of 2,000 trivial blocks in a cluster that is up, and of as many tasks of Dask."""
    import harness

    install(folder / "site")
    sys.path.insert(0, str(folder / "site"))
    os.environ["PYTHONPATH"] = str(folder / "site")
    blocks, tasks = [], []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(nothing, range(10)))
        for i in range(ROUNDS):
            start = time.perf_counter()
            run = harness.run(
                f"rascal[n_models={BLOCKS}]", threats="any", store="off", client=client
            )
            blocks.append(time.perf_counter() - start)
            assert not run.failures
            start = time.perf_counter()
            client.gather(client.map(nothing, range(i * BLOCKS, (i + 1) * BLOCKS), pure=False))
            tasks.append(time.perf_counter() - start)
    return {"blocks_s": statistics.median(blocks), "tasks_s": statistics.median(tasks)}


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes in which its blocks are trained: those below the nannies."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
        return [one for one in below if any("spawn_main" in word for word in one.cmdline())]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def killed(folder: Path, runs: int) -> dict[str, Any]:
    """Runs with a worker killed at a random moment: how many left the same curves."""
    chance = random.Random(0)
    whole = folder / "whole"
    length = timed(command(whole, KILLED, *WORKERS))
    wanted = (whole / "curves.csv").read_bytes()
    same = hit = tried = 0
    while hit < runs:
        output = folder / f"killed-{tried}"
        tried += 1
        process = subprocess.Popen(
            command(output, KILLED, *WORKERS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0, length))
        workers = workers_of(process)
        if process.poll() is None and workers:
            chance.choice(workers).send_signal(signal.SIGKILL)
            hit += 1
        done = process.wait() == 0
        same += done and (output / "curves.csv").read_bytes() == wanted
    return {"runs": tried, "hit": hit, "same": same, "undisturbed_s": length}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--models", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        found = {
            "network": network(folder, options.models),
            "trivial": trivial(folder),
            "killed": killed(folder, options.runs),
        }
    print(json.dumps(found, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
