import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

from harness.errors import UsageError
from harness.learners import kernel
from harness.learners.kernel import Kernel

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x).float() / 16, torch.from_numpy(y).long()


@pytest.mark.parametrize("n_labels", [2, 10])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"gamma": 0.3, "penalty": 1.0},
        {"kernel": "poly"},
        {"kernel": "poly", "gamma": 2.0, "degree": 2, "coef0": 0.0, "penalty": 0.5},
    ],
)
def test_labels_and_scores_are_those_of_scikit_learn_one_against_all(digits, parameters, n_labels):
    x, y = digits[0][digits[1] < n_labels], digits[1][digits[1] < n_labels]
    drawn = np.random.default_rng(1).integers(len(x), size=(4, 30))
    models = Kernel(**parameters).fit(x[drawn], y[drawn], n_labels, RNG)
    predicted, scores = models.predict(x[:300]), models.scores(x[:300], n_labels)
    theirs = {"kernel": "rbf", "coef0": 1.0, **parameters}
    alpha = theirs.pop("penalty", 0.02)
    for i, own in enumerate(drawn):
        labels = np.unique(y[own])
        targets = (y[own].numpy()[:, None] == labels).astype(float)
        rival = KernelRidge(alpha=alpha, **theirs).fit(x[own].double().numpy(), targets)
        values = rival.predict(x[:300].double().numpy())
        assert (predicted[i].numpy() == labels[values.argmax(1)]).all()
        assert np.allclose(scores[i][:, labels].numpy(), values, atol=1e-6)


def test_predicting_in_parts_changes_nothing(digits, monkeypatch):
    x, y = digits
    models = Kernel().fit(x[:60].view(2, 30, 64), y[:60].view(2, 30), 10, RNG)
    whole = models.predict(x[:100]), models.scores(x[:100], 10)
    monkeypatch.setattr(kernel, "AT_ONCE", 640)
    assert torch.equal(models.predict(x[:100]), whole[0])
    assert torch.allclose(models.scores(x[:100], 10), whole[1])


def test_far_from_all_examples_the_smallest_label_that_was_seen_wins():
    x = torch.tensor([[[0.0], [1.0], [2.0]]])
    models = Kernel(gamma=1.0).fit(x, torch.tensor([[2, 1, 2]]), 4, RNG)
    assert models.predict(torch.tensor([[1e6], [0.0], [1.0]])).tolist() == [[1, 2, 1]]


def test_kernels_that_overflow_still_answer():
    x = torch.full((1, 2, 3), 2.0**40)
    models = Kernel(kernel="poly", degree=10, gamma=1e30).fit(x, torch.tensor([[1, 2]]), 4, RNG)
    assert models.predict(torch.zeros(2, 3)).tolist() == [[1, 1]]


def test_a_score_that_only_float64_tells_from_another_stays_the_larger():
    scores = torch.tensor([[0.5, 0.5 + 1e-12, 0.1], [0.5, 0.5, 0.1]], dtype=torch.float64)
    assert kernel._ranked(scores).argmax(1).tolist() == [1, 0]
    assert kernel._ranked(scores * 1e300).argmax(1).tolist() == [1, 0]


def test_images_are_refused():
    with pytest.raises(UsageError, match="kernel needs flat features, not images"):
        Kernel().fit(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, dtype=torch.int64), 2, RNG)
