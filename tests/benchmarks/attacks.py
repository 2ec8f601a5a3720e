"""Attacks on MNIST 1/7 with default options: what they reach, and what does not hold is refuted.

``python tests/benchmarks/attacks.py [--json] [NAME...]``. ``bagging``: 100 test examples under
insert, seconds and the median of what is reached beside that of what is proved. The others are
defenses that claim more than holds (``tests/attacking/unsound.py``): run under all their threats
and attacked with no option at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

sys.path.insert(0, str(Path(__file__).parents[1] / "attacking"))

UNSOUND = {
    "radii one too large": ("OneTooLarge", {}),
    "a hash that reads places": ("ByPlace", {}),
    "a label in the hash, label-flip at 1": ("LabelInHash", {}),
    "features centred on the training set": ("CentredParts", {}),
}
BAGGING = "bagging[k=10]"


def bagging() -> dict[str, Any]:
    import harness

    with tempfile.TemporaryDirectory() as path:
        run = harness.run(BAGGING, threats="insert", output=Path(path) / "run", store="off")
        start = time.perf_counter()
        found = harness.attack(run, examples=100, store="off")
        took = time.perf_counter() - start
    rows = found.table[found.table["chosen"] == "sampled"]
    best = rows.groupby("example").agg({"proved": "first", "reached": "min"})
    proved, reached = best["proved"].median(), best["reached"].median()
    return {
        "seconds": took,
        "examples": int(best["reached"].count()),
        "proved": float(proved),
        "reached": float(reached),
    }


def unsound(name: str) -> dict[str, Any]:
    import unsound as defenses

    import harness

    kind_name, parameters = UNSOUND[name]
    kind = getattr(defenses, kind_name)
    made = kind(kind.Params(**parameters))
    with tempfile.TemporaryDirectory() as path:
        run = harness.run([made], output=Path(path) / "run", store="off")
        start = time.perf_counter()
        found = harness.attack(run, defenses=kind, store="off")
        took = time.perf_counter() - start
    return {
        "seconds": took,
        "attacks": sum(row.trainings > 0 for row in found.rows),
        "refuted": [
            f"{row.threat}, example {row.example}: proved {row.proved}, {row.attack} {row.reached}"
            for row in found.refuted
            if hasattr(row, "example")
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    names = options.names or ["bagging", *UNSOUND]
    found = {}
    for name in names:
        found[name] = bagging() if name == "bagging" else unsound(name)
        if not options.json:
            print(name, json.dumps(found[name]), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
