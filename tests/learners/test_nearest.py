"""Nearest neighbours: one by one in Python's whole numbers, and the contract of learners."""

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.learners.nearest import NearestNeighbour

RNG = np.random.default_rng(3)


def one_by_one(x, y, present, x_test, step, cut):
    """The rule in its own words, with Python's whole numbers."""

    def grid(row):
        return [max(-cut, min(cut, round(float(value) / step))) for value in row]

    labels = []
    for test in x_test:
        ranked = [
            (sum((a - b) ** 2 for a, b in zip(grid(test), grid(row), strict=True)), int(label))
            for row, label, counts in zip(x, y, present, strict=True)
            if counts
        ]
        labels.append(min(ranked)[1] if ranked else 0)
    return labels


@pytest.mark.parametrize("step", [2**-10, 0.5])
@pytest.mark.parametrize("spread", [1.0, 20_000.0])
def test_labels_are_those_of_a_search_one_by_one(step, spread):
    x = torch.from_numpy(RNG.normal(0, spread, (4, 9, 3))).float()
    y = torch.from_numpy(RNG.integers(0, 4, (4, 9)))
    x_test = torch.from_numpy(RNG.normal(0, spread, (25, 3))).float()
    present = torch.from_numpy(RNG.random((4, 9)) < 0.7)
    present[3] = False
    models = NearestNeighbour(step).fit(x, y, 4, RNG, present)
    expected = [
        one_by_one(*model, x_test, step, 2**24) for model in zip(x, y, present, strict=True)
    ]
    predicted = models.predict(x_test)
    assert predicted.dtype == torch.int64
    assert predicted.tolist() == expected


def test_the_smallest_label_wins_among_the_nearest():
    x = torch.tensor([[[1.0], [-1.0], [1.0], [3.0]]])
    learner, y = NearestNeighbour(), torch.tensor([[2, 1, 3, 0]])
    assert learner.fit(x, y, 4, RNG).predict(torch.tensor([[0.0], [0.5], [3.0]])).tolist() == [
        [1, 2, 0]
    ]


@pytest.mark.parametrize("d", [1, 128, 784])
def test_a_distance_depends_on_its_two_examples_alone(d):
    """Rounded matrix products differ in their last bits by size and position; these may not."""
    x, x_test = torch.rand(200, d), torch.rand(31, d)
    y = torch.zeros(200, dtype=torch.int64)
    learner = NearestNeighbour()
    together = learner.keys(x, y, x_test, 2)
    for i in (0, 57, 199):
        for j in (0, 30):
            alone = learner.keys(x[i : i + 1], y[:1], x_test[j : j + 1], 2)
            assert alone[0, 0] == together[j, i]


@pytest.mark.parametrize("d", [1, 784, 4095, 4096, 100_000])
@pytest.mark.parametrize("n_labels", [2, 10, 5000])
def test_the_largest_distance_is_exact(d, n_labels):
    far = torch.full((1, d), 1e30)
    far[0, ::3] *= -1
    key = NearestNeighbour().keys(far, torch.tensor([n_labels - 1]), -far, n_labels).item()
    squared, label = divmod(key, n_labels)
    assert label == n_labels - 1
    reach, none_left = divmod(squared, d)
    assert none_left == 0 and round(reach**0.5) ** 2 == reach
    assert squared <= 2**53 and key < 2**63
    one_bit_less = 2 ** (53 if n_labels < 512 else 62 - n_labels.bit_length()) / 8
    assert squared >= one_bit_less, "no more is cut off than needed"


def test_many_test_examples_are_cut_up(monkeypatch):
    x, y = torch.rand(2, 10, 4), torch.from_numpy(RNG.integers(0, 3, (2, 10)))
    models, x_test = NearestNeighbour().fit(x, y, 3, RNG), torch.rand(50, 4)
    whole = models.predict(x_test)
    monkeypatch.setattr("harness.learners.nearest._KEYS", 70)
    assert torch.equal(models.predict(x_test), whole)


def test_what_it_cannot_do_is_said():
    with pytest.raises(UsageError, match="1nn: step=0 is not allowed"):
        NearestNeighbour(step=0)
    with pytest.raises(UsageError, match="flat features"):
        NearestNeighbour().fit(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2).long(), 2, RNG)
