"""Votes of neighbours: what they prove, how long that takes, and scikit-learn beside it.

``python tests/benchmarks/neighbours.py [--json] [--data-root FOLDER] [--cifar10 DATASET]`` proves
with ``knn`` on MNIST 1/7, in a process of its own. With a ``FOLDER`` that has MNIST's files, it
does so on MNIST too, in turn with scikit-learn, which fits and predicts, without any proof, on the
same features and with as many neighbours. ``DATASET``, such as ``npz:FILE``, holds features of
CIFAR-10 that a pretrained network made.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAIR, MNIST, CIFAR = "knn[k=5001]", "knn[k=4000]", "knn[k=5000,features=raw]"
ROUNDS = 3
AT = (0, 50, 100, 200, 500, 1000, 1500)


def cell(selection: str, dataset: str, data_root: str | None) -> dict[str, Any]:
    """Seconds of a cell under all threats, peak memory and certified accuracies; for a process of
    its own.
    """
    import harness
    from harness.threats import Threat

    run = harness.run(
        selection, dataset=dataset, data_root=data_root, threats=list(Threat), store="off"
    )
    (told,) = run.manifest["cells"]
    summary = run.summary
    at: dict[str, dict[int, float]] = {}
    for threat, curve in run.curves.groupby("threat"):
        known = curve.set_index("r")["certified_accuracy"]
        at[str(threat)] = {r: float(known.get(r, 0.0)) for r in AT}
    return {
        "features_s": sum(told["features"].values()),
        "own_s": float(summary.train_s[0] + summary.predict_s[0] + summary.certify_s.sum()),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "at": at,
    }


def rival(k: str, dataset: str, data_root: str | None) -> dict[str, Any]:
    """Seconds of scikit-learn's brute force on the same features, with all processors."""
    from sklearn.neighbors import KNeighborsClassifier

    from harness.features.hog import Hog
    from harness.plugins.registry import load_dataset, load_registry

    data = load_dataset(load_registry(), dataset, data_root and Path(data_root))
    x, x_test = (Hog().compute(part).numpy() for part in (data.x_train, data.x_test))
    start = time.perf_counter()
    model = KNeighborsClassifier(int(k), algorithm="brute", n_jobs=-1).fit(x, data.y_train)
    accuracy = (model.predict(x_test) == data.y_test).mean()
    return {"own_s": time.perf_counter() - start, "accuracy": float(accuracy)}


def apart(*arguments: str | None) -> dict[str, Any]:
    """What a child process says."""
    words = [sys.executable, __file__, "--child", json.dumps(arguments)]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def median(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the seconds, the most memory; what is proved is the same in all rounds."""
    made = dict(found[0])
    for key in made:
        if key.endswith("_s"):
            made[key] = statistics.median(one[key] for one in found)
    if "peak_gb" in made:
        made["peak_gb"] = max(one["peak_gb"] for one in found)
    return made


def measure(data_root: str | None, cifar10: str | None, rounds: int) -> dict[str, Any]:
    sides: dict[str, tuple[str | None, ...]] = {"pair": ("cell", PAIR, "mnist17", None)}
    if data_root:
        sides["mnist"] = ("cell", MNIST, "mnist", data_root)
        sides["rival"] = ("rival", "4000", "mnist", data_root)
    if cifar10:
        sides["cifar10"] = ("cell", CIFAR, cifar10, None)
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, words in sides.items():
            taken[name].append(apart(*words))
    return {name: median(found) for name, found in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data-root")
    parser.add_argument("--cifar10", metavar="DATASET")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, what, dataset, data_root = json.loads(options.child)
        side = {"cell": cell, "rival": rival}[kind]
        print(json.dumps(side(what, dataset, data_root)))
        return
    found = measure(options.data_root, options.cifar10, options.rounds)
    print(json.dumps(found, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
