"""Scores of all labels: what a run-off between two of them reads."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import one_hot

from harness.learners.base import Models
from harness.learners.cnn import Cnn
from harness.learners.estimator import EstimatorLearner
from harness.learners.kernel import Kernel
from harness.learners.logistic import Logistic
from harness.learners.naive_bayes import NaiveBayes
from harness.learners.ridge import Ridge
from harness.learners.spec import resolve

LEARNERS = {
    "ridge": Ridge(),
    "logistic": Logistic(),
    "kernel": Kernel(),
    "kernel poly": Kernel(kernel="poly", degree=2),
    "cnn": Cnn(epochs=2),
    "naive-bayes": NaiveBayes(),
    "probabilities": resolve("sklearn.tree.ExtraTreeClassifier(max_depth=4)", {}),
    "decisions": resolve("sklearn.linear_model.SGDClassifier(max_iter=20)", {}),
    "one against one": resolve("sklearn.svm.SVC(decision_function_shape='ovo')", {}),
}


class OnlyLabels:
    """An estimator that has no scores at all."""

    def fit(self, x, y):
        self.labels = np.unique(y)
        return self

    def predict(self, x):
        return self.labels[(x.sum(1) > x.sum(1).mean()).astype(int)]


LEARNERS["nothing but labels"] = EstimatorLearner(OnlyLabels, "only labels")


@pytest.fixture(params=LEARNERS)
def learner(request):
    return LEARNERS[request.param]


def fitted(learner, models, k, n_labels, seen=None):
    images, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long()
    x, y = x[y < n_labels], y[y < n_labels]
    if learner.images:
        x = x.view(-1, 1, 8, 8)
    index = np.random.default_rng(2).integers(len(x), size=(models, k))
    trained = y[index] if seen is None else torch.tensor(seen)[y[index] % len(seen)]
    return learner.fit(x[index], trained, n_labels, np.random.default_rng(4)), x[:150]


@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_the_first_of_the_largest_scores_is_the_prediction(learner, n_labels):
    models, x = fitted(learner, 3, 40, n_labels)
    scores = models.scores(x, n_labels)
    assert scores.shape == (3, 150, n_labels)
    assert scores.dtype == torch.float32
    assert torch.equal(scores.argmax(dim=2), models.predict(x))
    assert len(models.predict(x).unique()) > 1


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "nothing but labels"])
def test_labels_never_seen_are_never_preferred_to_seen_ones(name):
    models, x = fitted(LEARNERS[name], 3, 40, 5, seen=[1, 2, 4])
    scores = models.scores(x, 5)
    assert (scores[..., [0, 3]].amax(dim=2) <= scores[..., [1, 2, 4]].amin(dim=2)).all()


@pytest.mark.parametrize("name", ["ridge", "logistic", "kernel", "cnn", "naive-bayes"])
def test_a_seen_label_always_has_a_finite_score(name):
    models, x = fitted(LEARNERS[name], 2, 60, 4)
    assert models.scores(x, 4).isfinite().all()


def test_ridge_scores_are_those_of_the_linear_model():
    models, x = fitted(Ridge(), 2, 50, 3)
    expected = torch.einsum("msd,ed->mes", models.weights, x) + models.intercepts[:, None]
    assert torch.allclose(models.scores(x, 3), expected, atol=1e-5)
    binary, x = fitted(Ridge(), 2, 50, 2)
    of_one = (binary.weights[:, 0] @ x.T) + binary.intercepts
    assert torch.allclose(binary.scores(x, 2), torch.stack([-of_one, of_one], 2), atol=1e-5)


def test_probabilities_and_decisions_of_estimators_are_passed_on():
    tree, x = fitted(LEARNERS["probabilities"], 1, 60, 4)
    expected = tree.fitted[0].predict_proba(x.numpy())
    assert np.allclose(tree.scores(x, 4)[0].numpy(), expected)
    linear, x = fitted(LEARNERS["decisions"], 1, 60, 4)
    expected = linear.fitted[0].decision_function(x.numpy())
    assert np.allclose(linear.scores(x, 4)[0].numpy(), expected, atol=1e-4)
    binary, x = fitted(LEARNERS["decisions"], 1, 60, 2)
    expected = binary.fitted[0].decision_function(x.numpy())
    assert np.allclose(binary.scores(x, 2)[0, :, 1].numpy(), expected, atol=1e-4)


def test_models_without_scores_rank_their_label_first():
    class Constant(Models):
        def predict(self, x):
            return torch.tensor([[2, 0, 1]])

    scores = Constant().scores(torch.zeros(3, 4), 3)
    assert scores.tolist() == [[[0, 0, 1], [1, 0, 0], [0, 1, 0]]]
    assert scores.dtype == torch.float32


def test_an_estimator_that_cannot_give_scores_ranks_its_label_first():
    class Broken(OnlyLabels):
        classes_ = np.arange(3)

        def predict_proba(self, x):
            raise RuntimeError("no probabilities today")

    models, x = fitted(EstimatorLearner(Broken, "broken thing"), 1, 30, 3)
    assert torch.equal(models.scores(x, 3), one_hot(models.predict(x), 3).float())
