"""The evidence store: what a second run costs, and many processes that fill one store at once.

``python tests/benchmarks/evidence.py [--json]`` runs the default comparison into two folders, with
the store and without one in turn, then twenty processes at once that train the same cells into one
store, half of which are killed, and looks whether what is left there is whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.results.store import EvidenceStore

PROCESSES = 20
CELLS = ("bagging[n_models=2000,features=raw]", "feature-flip[n_models=2000]")


def command(output: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "harness", "run", *options, "--output", str(output)]


def timed(words: list[str], store: str) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(
        words,
        env=os.environ | {"HARNESS_STORE": store},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, done.stderr


def second_run(folder: Path, rounds: int = 3) -> dict[str, Any]:
    """Seconds of the default comparison without a store and with a filled one, in turn."""
    timed(command(folder / "first"), str(folder / "store"))
    without, stored, trained = [], [], 0
    for i in range(rounds):
        without.append(timed(command(folder / f"without-{i}"), "off")[0])
        seconds, told = timed(command(folder / f"with-{i}"), str(folder / "store"))
        stored.append(seconds)
        lines = [line for line in told.splitlines() if " base models" in line]
        trained += sum("from before" not in line for line in lines)
    names = ("curves.csv", "certificates.npz")
    runs = ["first", *(f"{how}-{i}" for how in ("with", "without") for i in range(rounds))]
    same = all(len({(folder / run / name).read_bytes() for run in runs}) == 1 for name in names)
    return {
        "without_s": statistics.median(without),
        "with_s": statistics.median(stored),
        "trained": trained,
        "same_bytes": same,
    }


def crowd(folder: Path) -> dict[str, Any]:
    """What is left in a store that many processes filled at once, some of them killed."""
    options = [word for cell in CELLS for word in ("-d", cell)] + ["--threat", "any"]
    timed(command(folder / "alone", *options), str(folder / "alone-store"))
    environment = os.environ | {"HARNESS_STORE": str(folder / "crowd-store")}
    environment |= {"OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            command(folder / f"crowd-{i}", *options),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for i in range(PROCESSES)
    ]
    chance = random.Random(0)
    store = EvidenceStore(folder / "crowd-store")
    while not store.entries():  # until somebody has trained something
        time.sleep(0.1)
    for process in running[::2]:
        time.sleep(chance.random() / 2)
        process.kill()
    finished = sum(process.wait() == 0 for process in running)
    broken: list[Path] = []
    reference = EvidenceStore(folder / "alone-store")
    left = EvidenceStore(folder / "crowd-store", broken.append)
    same = 0
    for entry in reference.entries():
        stem = f"{entry.name}-{entry.key}"
        for path in (reference.path / stem).glob("*.npz"):
            index, start, stop = map(int, path.stem.split("-"))
            one, other = (at.get(stem, index, range(start, stop)) for at in (reference, left))
            assert one is not None
            same += other is not None and all(
                one.arrays[key].tobytes() == other.arrays[key].tobytes() for key in one.arrays
            )
    curves = {
        (folder / f"crowd-{i}" / "curves.csv").read_bytes()
        for i, process in enumerate(running)
        if process.returncode == 0
    }
    return {
        "processes": PROCESSES,
        "killed": PROCESSES - finished,
        "damaged": len(broken),
        "blocks": sum(entry.blocks for entry in reference.entries()),
        "same_blocks": same,
        "same_curves": curves == {(folder / "alone" / "curves.csv").read_bytes()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        found = second_run(Path(path)) | crowd(Path(path))
    if chosen.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:12} {value}")


if __name__ == "__main__":
    main()
