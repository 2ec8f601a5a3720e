"""Radii of label sequences: every operation on short ones, and the numbers that are known."""

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from harness.defenses.neighbours import radii
from harness.defenses.neighbours.ranking import Ranking
from harness.threats import Threat

Sequence = tuple[int, ...]
"""Labels of the training examples, the nearest first."""


def predicted(labels: Sequence, k: int, c: int) -> int:
    votes = [labels[:k].count(label) for label in range(c)]
    return votes.index(max(votes))


def operations(labels: Sequence, threat: Threat, c: int) -> Iterator[Sequence]:
    """What one poisoning can make of a sequence."""
    for i in range(len(labels) + 1):
        if threat in (Threat.INSERT, Threat.ANY):
            yield from ((*labels[:i], new, *labels[i:]) for new in range(c))
        if i == len(labels):
            continue
        rest = labels[:i] + labels[i + 1 :]
        if threat in (Threat.DELETE, Threat.ANY):
            yield rest
        if threat is Threat.LABEL_FLIP:
            yield from ((*labels[:i], new, *labels[i + 1 :]) for new in range(c))
        if threat in (Threat.MODIFY, Threat.ANY):
            for j, new in itertools.product(range(len(labels)), range(c)):
                yield (*rest[:j], new, *rest[j:])


@cache
def made(labels: Sequence, threat: Threat, c: int) -> frozenset[Sequence]:
    return frozenset(operations(labels, threat, c))


def withstood(labels: Sequence, k: int, c: int, threat: Threat, most: int) -> int:
    """The largest r <= ``most`` for which no r operations change what is predicted."""
    a, reached = predicted(labels, k, c), {labels}
    for r in range(most):
        reached = set().union(*(made(one, threat, c) for one in reached))
        if any(predicted(one, k, c) != a for one in reached):
            return r
    return most


def proved(labels: Sequence, k: int, c: int, threat: Threat) -> int:
    """As the defense: distances that rise by one, in an order that is not theirs."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    y = np.array(labels)[shuffled]
    ranked = Ranking(y, c).by(shuffled.astype(np.float32))
    votes = radii.nearest(ranked, k)
    a = int(votes.argmax())
    assert a == predicted(labels, k, c)
    if threat is Threat.INSERT:
        return radii.withstands_insertions(ranked, k, a)
    if threat is Threat.DELETE:
        return radii.withstands_deletions(ranked, k, a)
    return (int(radii.leads(votes[:, None], a)[0]) - 1) // 2


@pytest.mark.parametrize("threat", list(Threat))
@pytest.mark.parametrize(("c", "longest", "most"), [(2, 5, 3), (3, 4, 2)])
def test_every_operation_on_every_sequence(threat: Threat, c: int, longest: int, most: int) -> None:
    lengths = range(1, longest + 1)
    for labels in (s for n in lengths for s in itertools.product(range(c), repeat=n)):
        for k in range(1, len(labels) + 3):
            tried = min(most, len(labels)) if threat is Threat.DELETE else most
            found = withstood(labels, k, c, threat, tried)
            assert min(proved(labels, k, c, threat), tried) == found, (labels, k)


@pytest.mark.parametrize(("k", "modify", "insert", "delete"), [(5, 1, 1, 4), (9, 2, 3, 3)])
def test_known_numbers(k: int, modify: int, insert: int, delete: int) -> None:
    labels = tuple(map(int, "001020100110201"))
    assert proved(labels, k, 3, Threat.MODIFY) == modify
    assert proved(labels, k, 3, Threat.ANY) == modify
    assert proved(labels, k, 3, Threat.LABEL_FLIP) == modify
    assert proved(labels, k, 3, Threat.INSERT) == insert
    assert proved(labels, k, 3, Threat.DELETE) == delete
