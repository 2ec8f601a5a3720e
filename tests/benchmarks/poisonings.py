"""Poisons small training sets for real, trains every defense on them, and looks for contradictions.

``python tests/benchmarks/poisonings.py [--json]`` prints a table: for each defense how many
poisonings it was trained on, how often a certificate excluded one, and how often that was wrong.
The sets have two to four labels, one of them rare or absent; the poisonings are those of the
conformance suite, with more pairs and replacements, and nothing is left out where training is slow.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

FEW_PARTS = [
    f"{name}[n_models={n_models}{options}]"
    for name, options, counts in (
        ("dpa", "", (2, 3, 5)),
        ("dpa", ",hash=content,learner=1nn,features=raw", (2, 3, 5)),
        ("dpa", ",election=run-off,learner=logistic", (2, 3, 5)),
        ("finite-aggregation", ",spread=2,election=run-off", (5, 7, 9)),
        ("ss-dpa", "", (2, 3, 5)),
    )
    for n_models in counts
]
OTHERS = [
    "dpa[n_models=5,features=raw,learner=sklearn.neighbors.KNeighborsClassifier(n_neighbors=3)]",
    "bagging[k=2,n_models=400]",
    "bagging[k=2,n_models=400,learner=logistic,features=raw]",
    "bagging[k=3,n_models=400,learner=naive-bayes,features=binarised]",
    "bagging[k=2,learner=1nn]",
    "bagging[k=3,learner=1nn,features=raw]",
    "dp[certificate=pointwise,epsilon=2,steps=1,examples=centred,n_models=400]",
    "dp[certificate=pointwise,epsilon=2,steps=1,examples=centred,n_models=400,features=raw]",
    "label-flip[q=0.1]",
    "label-flip[q=0.1,features=raw,certificate=kl]",
    "feature-flip[n_models=400]",
    "knn[k=5]",
    "knn[k=9,features=raw,metric=manhattan]",
    "rnn[radius=0.6]",
    "rnn[radius=4,features=raw]",
]
COMPOSED = 100
TARGETS = 6


def main() -> int:
    from threadpoolctl import threadpool_limits

    from harness.errors import UsageError
    from harness.plugins.registry import load_registry
    from harness.testing.bench import make_bench
    from harness.testing.campaign import Campaign
    from harness.testing.data import border_dataset

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the totals alone, as JSON")
    options = parser.parse_args()
    registry = load_registry()
    sets = [
        border_dataset(),
        border_dataset(floats=True),
        border_dataset((0, 2), (1,), 3),
        border_dataset((1, 3), (2,), 4, floats=True),
    ]
    total: Counter[str] = Counter()
    lines = [
        "| defense | trained on | excluded by a certificate | contradicted |",
        "|---|---|---|---|",
    ]
    for selection in (*FEW_PARTS, *OTHERS):
        found: Counter[str] = Counter()
        for data in sets:
            try:
                bench = make_bench(selection, data, registry)
            except UsageError:  # feature-flip is for two labels
                continue
            with threadpool_limits(1):
                one = Campaign(bench, TARGETS, COMPOSED, seconds=math.inf).run()
            found.update(
                trained=one.trained,
                singles=one.singles,
                attacked=sum(one.attacked.values()),
                contradictions=len(one.contradictions),
                unanswered=len(one.unanswered),
            )
            for text in (*(c.text for c in one.contradictions), *one.unanswered):
                print(text, file=sys.stderr)
        total.update(found)
        counts = [found[key] for key in ("trained", "attacked", "contradictions")]
        lines.append(f"| `{selection}` | " + " | ".join(f"{n:,}" for n in counts) + " |")
        print(lines[-1], file=sys.stderr)
    for key in ("trained", "singles", "attacked", "contradictions", "unanswered"):
        total[key] += 0
    if options.json:
        print(json.dumps(total))
        return 0
    print("\n".join(lines))
    return int(total["contradictions"] + total["unanswered"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
