"""Labels of clusters against every assignment, and radii against every labelling of small sets."""

import itertools

import numpy as np
import pytest

from harness.proofs.assignment import agreements, labels_and_radii


def tally(clusters: tuple[int, ...], labels: tuple[int, ...], m: int, c: int) -> np.ndarray:
    counts = np.zeros((m, c), np.int64)
    for cluster, label in zip(clusters, labels, strict=True):
        counts[cluster, label] += 1
    return counts


def best(counts: np.ndarray, cluster: int, label: int) -> int:
    """The largest agreement of all assignments that give the cluster that label: all are tried."""
    m, c = counts.shape
    every = itertools.permutations(range(c)) if m == c else itertools.product(range(c), repeat=m)
    others = [g for g in range(m) if g != cluster]
    agreed = [
        (sum(int(counts[g, given[g]]) for g in range(m)), given)
        for given in every
        if given[cluster] == label
    ]
    if m == c:
        return max(total for total, _ in agreed)
    # The other clusters agree as much as they can, whatever this one is called.
    rest = sum(int(counts[g].max()) for g in others)
    return max(total for total, _ in agreed) - rest


def meaning(counts: np.ndarray) -> list[int]:
    m, c = counts.shape
    tables = [[best(counts, g, label) for label in range(c)] for g in range(m)]
    return [row.index(max(row)) for row in tables]


@pytest.mark.parametrize(("m", "c"), [(2, 2), (3, 3), (4, 4), (5, 5), (3, 2), (5, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_agreements_are_those_of_all_assignments(m: int, c: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 9, (m, c))
    found = agreements(counts)
    for g, label in itertools.product(range(m), range(c)):
        assert found[g, label] == best(counts, g, label)
    assert labels_and_radii(counts)[0].tolist() == meaning(counts)


CASES = [((0, 0, 0, 0, 1, 1, 1), 2, 2), ((0, 0, 0, 1, 1, 2, 2), 3, 2), ((0, 0, 1, 1, 2, 2), 3, 3)]


@pytest.mark.parametrize(("clusters", "m", "c"), CASES)
def test_radii_against_all_labellings(clusters: tuple[int, ...], m: int, c: int) -> None:
    """Never too large for any labelling; exact but for three labels matched one to one."""
    every = list(itertools.product(range(c), repeat=len(clusters)))
    means = {labels: meaning(tally(clusters, labels, m, c)) for labels in every}
    array = np.array(every)
    for labels in every[:: max(1, len(every) // 60)]:
        predicted, radii = labels_and_radii(tally(clusters, labels, m, c))
        flips = (array != np.array(labels)).sum(axis=1)
        for g in range(m):
            turned = np.array([means[other][g] != predicted[g] for other in every])
            needed = int(flips[turned].min(initial=len(clusters) + 1))
            assert radii[g] < needed
            assert (m == c > 2) or radii[g] == min(needed - 1, len(clusters))


def test_where_clusters_are_classes_half_of_the_labels_have_to_flip() -> None:
    labels, radii = labels_and_radii(np.array([[0, 500], [500, 0]]))
    assert (labels.tolist(), radii.tolist()) == ([1, 0], [499, 500])


def test_labels_may_be_coded_in_any_order() -> None:
    """A published mistake: labels in another coding than the code expects. Only ties go by code."""
    counts = np.array([[9, 2, 4], [1, 8, 3], [5, 5, 6]])
    order = np.array([2, 0, 1])
    labels, radii = labels_and_radii(counts)
    again, same = labels_and_radii(counts[:, order])
    assert order[again].tolist() == labels.tolist()
    assert np.abs(same - radii).max() <= 1
