"""Whatever a learner does with some examples, every base model answers."""

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.learners.base import FIXED_LABEL, NO_LABEL, Learner, Models
from harness.learners.fitting import ConstantModels, fit_all
from harness.learners.spec import resolve


class FirstLabel(Models):
    def __init__(self, labels, when):
        self.labels, self.when = labels, when

    def predict(self, x):
        if self.when == "predict" and (self.labels == 3).any():
            raise ZeroDivisionError("three")
        predicted = self.labels[:, None].expand(-1, len(x))
        return torch.where(predicted == 3, 7, predicted) if self.when == "label" else predicted


class Fragile(Learner):
    """Fails, at one time or another, on a model whose first label is 3."""

    name = summary = "fragile"

    def __init__(self, when, error=ZeroDivisionError):
        self.when, self.error = when, error

    def fit(self, x, y, n_labels, rng, present=None):
        if self.when == "fit" and (y[:, 0] == 3).any():
            raise self.error("three")
        return FirstLabel(y[:, 0], self.when)


X = torch.zeros(4, 2, 1)
Y = torch.tensor([[1, 2], [3, 0], [2, 1], [1, 1]])
ASKED = torch.zeros(5, 1)


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("fit", "ZeroDivisionError: three"),
        ("predict", "ZeroDivisionError: three"),
        ("label", f"ValueError: {NO_LABEL}"),
    ],
)
def test_one_that_fails_votes_for_the_fixed_label_and_the_others_for_theirs(when, why):
    learner = Fragile(when)
    models = fit_all(learner, X, Y, 4, np.random.default_rng(0))
    for _ in range(2):
        assert models.predict(ASKED)[:, 0].tolist() == [1, FIXED_LABEL, 2, 1]
        assert models.scores(ASKED, 4).argmax(2)[:, 0].tolist() == [1, FIXED_LABEL, 2, 1]
    assert learner.unfitted[why] == 1
    assert learner.unfitted["examples of one label alone"] == 1
    alone = fit_all(learner, X[1:2], Y[1:2], 4, np.random.default_rng(0))
    assert (alone.predict(ASKED) == FIXED_LABEL).all()


def test_models_without_examples_are_constant():
    learner = Fragile("never")
    models = fit_all(learner, X[:, :0], Y[:, :0], 4, np.random.default_rng(0))
    assert models == ConstantModels(4)
    assert learner.unfitted == {"no examples": 4}


@pytest.mark.parametrize("error", [UsageError, OSError, ImportError])
def test_what_says_nothing_about_the_examples_is_raised(error):
    with pytest.raises(error):
        fit_all(Fragile("fit", error), X, Y, 4, np.random.default_rng(0))


def test_an_estimator_that_asks_for_too_much_memory_is_one_that_cannot_be_fitted():
    """It counts up to the largest value: an image of 3e38 asks for terabytes."""
    learner = resolve("sklearn.naive_bayes.CategoricalNB", {})
    x = torch.arange(12.0).view(2, 6, 1)
    x[1, 0] = 2.0**40
    y = torch.tensor([[0, 1, 0, 1, 1, 1], [0, 1, 0, 1, 1, 1]])
    predicted = fit_all(learner, x, y, 2, np.random.default_rng(0)).predict(x[0])
    assert predicted[0].tolist() == [0, 1, 0, 1, 1, 1]
    assert (predicted[1] == FIXED_LABEL).all()
    (why,) = learner.unfitted.keys() - {"examples of one label alone"}
    assert "Unable to allocate" in why
