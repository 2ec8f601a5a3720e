"""Exact, white-box and collective certificates beside those that they are to beat, in one run.

``python tests/benchmarks/exact.py [--json] [--cifar10 DATASET] [--neighbours]`` proves on MNIST
1/7. ``DATASET``, such as ``npz:FILE``, holds features of CIFAR-10 that a pretrained network made:
there the models of ``dpa`` disagree, and one attacker does less than one for each test example.
``--neighbours`` adds the collective certificate of ``knn``, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

PARTS = "ss-dpa[n_models=300]"
LABELS = ["exact-ridge", "matched-clusters", PARTS, f"{PARTS[:-1]},certificate=white-box]"]
AT = (500, 1000, 6000)


def labels() -> dict[str, Any]:
    """Under label-flip: certified accuracy, medians, and where white-box radii are below counted
    ones.
    """
    import harness

    run = harness.run(LABELS, dataset="mnist17", threats="label-flip", store="off")
    names = list(run.summary.defense)
    found: dict[str, Any] = {
        name: {r: at(run.curves[run.curves.defense == name], r) for r in AT} for name in names
    }
    counted, white = (run.certificates(n, "label-flip")["radius"].to_numpy() for n in names[2:])
    found["medians"] = [float(np.median(counted)), float(np.median(white))]
    found["less"] = int((white < counted).sum())
    return found


def together(selection: str, dataset: str, threat: str) -> dict[str, Any]:
    """A pointwise curve and the collective one: at the r where the former keeps about a half, the
    largest difference, and the seconds of the latter.
    """
    import harness

    body = selection.removesuffix("]")
    collective = f"{body}{',' if '[' in body else '['}certificate=collective]"
    run = harness.run([selection, collective], dataset=dataset, threats=threat, store="off")
    one, other = (run.curves[run.curves.defense == name] for name in run.summary.defense)
    every = sorted({*one.r, *other.r})
    gain = {r: at(other, r) - at(one, r) for r in every}
    half = int(run.summary.median_radius[0])
    best = max(gain, key=lambda r: gain[r])
    return {
        "half": [half + 1, at(one, half + 1), at(other, half + 1)],
        "most": [int(best), at(one, best), at(other, best)],
        "least_gain": min(gain.values()),
        "certify_s": float(run.summary.certify_s[1]),
    }


def at(curve: Any, r: int) -> float:
    """The value of a step function at r."""
    before = curve[curve.r <= r]
    return float(before.certified_accuracy.iloc[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cifar10", metavar="DATASET")
    parser.add_argument("--neighbours", action="store_true")
    options = parser.parse_args()
    found = {"labels": labels(), "dpa": together("dpa", "mnist17", "insert")}
    if options.cifar10:
        cell = "dpa[n_models=500,features=raw]"
        found["dpa, CIFAR-10"] = together(cell, options.cifar10, "insert")
    if options.neighbours:
        found["knn"] = together("knn[k=5001]", "mnist17", "label-flip")
    print(json.dumps(found, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
