"""Which changes turn most votes: examples that reach several base models, chosen greedily."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.defenses.partition.attack_chains import Chain

IntArray = NDArray[np.int64]


def rows_in_turn(found: Mapping[int, Chain], gains: IntArray) -> list[tuple[int, list[int]]]:
    """The models with the cheapest chains first, and the rows that each needs beside the earlier.

    A model costs the rows of its chain that have not been taken yet, for one and the same example
    may be in several chains; what counts is its gain (m,) per row.
    """
    needs = {i: {change.row for change in chain} for i, chain in found.items()}
    users = defaultdict(list)
    for i, own in needs.items():
        for row in own:
            users[row].append(i)
    models = np.array(sorted(needs), np.int64)
    place = {int(i): j for j, i in enumerate(models)}
    left = np.array([len(needs[i]) for i in place], np.float64)
    taken: set[int] = set()
    turn = []
    for _ in models:
        best = int((left / gains[models]).argmin())
        model = int(models[best])
        rows = [c.row for c in found[model] if c.row not in taken]
        rows = list(dict.fromkeys(rows))
        taken.update(rows)
        for row in rows:
            for user in users[row]:
                left[place[user]] -= 1
        left[best] = np.inf
        turn.append((model, rows))
    return turn


def examples_in_turn(reached: IntArray, needed: IntArray, gains: IntArray) -> list[int]:
    """Examples, the one with which most votes turn first, then what is best after it, and so on.

    ``reached`` (K, G): the models that each of K examples reaches. An example may come several
    times in a row. ``needed`` (m,): how many of them in a model turn it, 0 where none do or there
    is no use; ``gains`` (m,): what that yields. Ends when all are turned that can be.
    """
    missing, chosen = needed.copy(), list[int]()
    while True:
        best, times = 0.0, 0
        for t in np.unique(missing[missing > 0]).tolist():
            worth = np.where((missing > 0) & (missing <= t), gains, 0) / t
            most = float(worth[reached].sum(axis=1).max(initial=0.0))
            if most > best:
                best, times = most, t
        if not times:
            return chosen
        worth = np.where((missing > 0) & (missing <= times), gains, 0) / times
        total, used = worth[reached].sum(axis=1), set[int]()
        for k in np.flatnonzero(total == best).tolist():
            models = reached[k].tolist()
            if used.isdisjoint(models):  # else it is worth less by now
                used.update(models)
                chosen += [k] * times
        some = np.array(sorted(used), np.int64)
        missing[some] = np.maximum(missing[some] - times, 0)
