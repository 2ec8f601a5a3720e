"""Bagging from ``npy:`` with a training set that is larger than memory: seconds and memory.

``python tests/benchmarks/mapped.py [--json] [--folder FOLDER]`` writes ten million examples of 512
numbers (20 GB) into a temporary folder, in FOLDER if there is not enough space in the usual place,
and removes it in the end. A process for each round runs N = 1,000, k = 50 on it: the whole of
``harness run``, from the import to the report. It says how many of its seconds went into the digest
and how much memory it used, of its own and with the pages of files that it had mapped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import numpy as np

N, D, E, LABELS, ROUNDS = 10_000_000, 512, 2000, 10, 3
CELL = "bagging[n_models=1000,k=50,features=raw]"
_AT_ONCE = 100_000
_EVERY_S = 0.02


def write(folder: Path, n: int) -> None:
    """The training and test set: noise around a point for each label."""
    rng = np.random.default_rng(0)
    centres = rng.random((LABELS, D), np.float32) / 4
    for part, size in (("train", n), ("test", E)):
        y = rng.integers(LABELS, size=size)
        np.save(folder / f"y_{part}.npy", y)
        x = np.lib.format.open_memmap(folder / f"x_{part}.npy", "w+", np.float32, (size, D))
        for start in range(0, size, _AT_ONCE):
            some = rng.random((min(_AT_ONCE, size - start), D), np.float32)
            some += centres[y[start : start + _AT_ONCE]]
            x[start : start + len(some)] = some
        x.flush()
        del x
    declared = {"label_set": np.arange(LABELS), "range": [0, 1.25], "n_public": n}
    for key, value in declared.items():
        np.save(folder / f"{key}.npy", value)


def child(folder: Path) -> dict[str, float]:
    """What a run on the data set in that folder takes; for a process of its own."""
    peaks, over = {"VmHWM": 0.0, "RssAnon": 0.0}, Event()
    watch = Thread(target=_watch, args=(peaks, over))
    watch.start()
    start = time.perf_counter()
    import harness
    from harness.datasets.base import Dataset

    inner, took = Dataset._digest, [0.0]

    def digest(data: Dataset) -> str:
        begin = time.perf_counter()
        found = inner(data)
        took[0] += time.perf_counter() - begin
        return found

    Dataset._digest = digest  # type: ignore[method-assign]
    run = harness.run(CELL, dataset=f"npy:{folder}", threats="any", store="off")
    total = time.perf_counter() - start
    over.set()
    watch.join()
    accuracy = float(run.curves.set_index("r").certified_accuracy[0])
    return {
        "digest_s": took[0],
        "beyond_s": total - took[0],
        "anonymous_gb": peaks["RssAnon"] / 1e9,
        "resident_gb": peaks["VmHWM"] / 1e9,
        "accuracy": accuracy,
    }


def _watch(peaks: dict[str, float], over: Event) -> None:
    while not over.wait(_EVERY_S):
        for line in Path("/proc/self/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in peaks:
                peaks[key] = max(peaks[key], int(value.split()[0]) * 1024.0)


def measure(n: int, rounds: int, where: Path | None) -> dict[str, float]:
    """Medians of seconds, the largest memory, over the rounds."""
    free = shutil.disk_usage(where or tempfile.gettempdir()).free
    if free < 1.1 * n * D * 4:
        raise SystemExit(f"{n * D * 4 / 1e9:.0f} GB are needed, and {free / 1e9:.0f} GB are free")
    with tempfile.TemporaryDirectory(dir=where) as path:
        write(Path(path), n)
        found = []
        for _ in range(rounds):
            command = [sys.executable, __file__, "--child", path]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, cwd=path,
                env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
            )  # fmt: skip
            found.append(json.loads(done.stdout.splitlines()[-1]))
    sums = {
        key: statistics.median if key.endswith("_s") or key == "accuracy" else max
        for key in found[0]
    }
    return {key: way([one[key] for one in found]) for key, way in sums.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    for name, default in (("examples", N), ("rounds", ROUNDS)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child)))
        return
    found = measure(options.examples, options.rounds, options.folder)
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
