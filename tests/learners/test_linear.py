"""Ridge and logistic regression against scikit-learn in float64."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge

from harness.learners import linear, logistic
from harness.learners.linear import LinearModels
from harness.learners.logistic import Logistic
from harness.learners.ridge import Ridge


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


def subsamples(digits, models, k, n_labels):
    x, y = digits
    x, y = x[y < n_labels], y[y < n_labels]
    index = np.random.default_rng(0).integers(len(x), size=(models, k))
    return x[index], y[index]


def scores(models, x):
    """Scores (m, e, s) in float64 arithmetic."""
    weights, intercepts = models.weights.double().numpy(), models.intercepts.double().numpy()
    return x @ weights.transpose(0, 2, 1) + intercepts[:, None]


def fit(learner, x, y, n_labels):
    tensor = torch.from_numpy(x).float()
    return learner.fit(tensor, torch.from_numpy(y), n_labels, np.random.default_rng(0))


@pytest.mark.parametrize("n_labels", [2, 3, 10])
@pytest.mark.parametrize("k", [10, 50, 64, 65, 300], ids="k={}".format)
@pytest.mark.parametrize("penalty", [0.001, 0.02, 30.0])
def test_ridge_is_scikit_learns(digits, n_labels, k, penalty):
    x, y = subsamples(digits, 3, k, n_labels)
    ours = fit(Ridge(penalty=penalty), x, y, n_labels)
    for i in range(3):
        targets = 2.0 * y[i] - 1 if n_labels == 2 else np.eye(n_labels)[y[i]]
        theirs = SklearnRidge(alpha=penalty).fit(x[i], targets).predict(digits[0])
        expected = theirs.reshape(len(theirs), -1).copy()
        if n_labels > 2:
            expected[:, ~np.isin(np.arange(n_labels), y[i])] = -np.inf
        np.testing.assert_allclose(scores(ours, digits[0])[i], expected, atol=2e-3)


@pytest.mark.parametrize("k", [12, 64, 65, 300], ids="k={}".format)
@pytest.mark.parametrize("penalty", [0.001, 0.02, 100.0])
def test_binary_logistic_is_scikit_learns(digits, k, penalty):
    x, y = subsamples(digits, 3, k, 2)
    flipped = np.random.default_rng(1).random(y.shape) < 0.1  # so that they cannot be separated
    y = np.where(flipped, 1 - y, y)
    ours = scores(fit(Logistic(penalty=penalty), x, y, 2), digits[0])
    for i in range(3):
        theirs = LogisticRegression(C=1 / penalty, solver="newton-cg", tol=1e-9).fit(x[i], y[i])
        np.testing.assert_allclose(
            ours[i, :, 0], theirs.decision_function(digits[0]), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("n_labels", [3, 10])
@pytest.mark.parametrize("k", [40, 150], ids="k={}".format)
@pytest.mark.parametrize("penalty", [0.02, 1.0, 100.0])
def test_multinomial_logistic_is_scikit_learns(digits, n_labels, k, penalty):
    x, y = subsamples(digits, 2, k, n_labels)
    ours = scores(fit(Logistic(penalty=penalty), x, y, n_labels), digits[0])
    for i in range(2):
        theirs = LogisticRegression(C=1 / penalty, solver="newton-cg", tol=1e-9).fit(x[i], y[i])
        found, expected = ours[i][:, theirs.classes_], theirs.decision_function(digits[0])
        found = found - found.mean(1, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("d", [1, 30], ids=["primal", "dual"])
def test_logistic_stays_finite_when_nothing_holds_it_back(n_labels, d):
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(n_labels), 5)[None]
    x = 50.0 * y[..., None] + rng.normal(size=(1, y.size, d))
    models = fit(Logistic(penalty=1e-9), x, y, n_labels)
    assert models.weights.isfinite().all()
    assert (models.predict(torch.from_numpy(x[0]).float()) == torch.from_numpy(y)).all()


@pytest.mark.parametrize("d", [3, 60], ids=["primal", "dual"])
def test_logistic_gets_there_where_full_newton_steps_diverge(d):
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(60, 40, d))
    x = (signs * np.exp(3 * rng.normal(size=signs.shape))).astype(np.float32).astype(float)
    y = (x[..., 0] + 10 * rng.normal(size=x.shape[:2]) > 0).astype(np.int64)
    models = fit(Logistic(penalty=0.01), x, y, 2)
    ours = np.einsum("mkd,md->mk", x, models.weights[:, 0].double()) + models.intercepts.numpy()
    # The intercept is free, so at the minimum the probabilities add up to the count of label 1.
    np.testing.assert_allclose(expit(ours).sum(1), y.sum(1), atol=0.02)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_logistic_model_does_not_wait_for_the_others(digits, n_labels):
    x, y = subsamples(digits, 4, 40, n_labels)
    others = y.copy()
    others[1:] = np.random.default_rng(1).integers(n_labels, size=others[1:].shape)
    easy, hard = x.copy(), x.copy()
    easy[1:] = 0
    hard[1:] *= 30
    alone = fit(Logistic(), easy, y, n_labels)
    company = fit(Logistic(), hard, others, n_labels)
    assert torch.equal(alone.weights[0], company.weights[0])
    assert torch.equal(alone.intercepts[0], company.intercepts[0])


def test_conjugate_gradients_stop_for_each_system_alone():
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.normal(size=(2, 12, 12)))
    right = torch.from_numpy(rng.normal(size=(2, 12, 1)))
    plain = torch.eye(12).double().expand(2, -1, -1)
    solutions = []
    for scale in (0.0, 1.0):
        matrix = plain + root @ root.mT * torch.tensor([0.1, scale])[:, None, None]
        solutions.append(logistic._conjugate_gradients(lambda v, a=matrix: a @ v, right, plain))
    assert torch.equal(solutions[0][0], solutions[1][0])
    exact = torch.linalg.solve(matrix, right)
    assert torch.allclose(solutions[1], exact, atol=1e-2 * float(exact.abs().max()))


@pytest.mark.parametrize("learner", [Ridge(), Logistic()], ids=["ridge", "logistic"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_hopeless_features_leave_a_model_that_answers(learner, n_labels):
    """Where all features coincide, the labels' shares decide, and a tie goes to the smaller."""
    y = np.array([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]])
    for x in (np.full((2, 5, 4), 0.3), np.zeros((2, 5, 4))):
        predicted = fit(learner, x, y, n_labels).predict(torch.zeros(3, 4))
        assert predicted.tolist() == [[1, 1, 1], [0, 0, 0]]
    tie = fit(learner, np.zeros((1, 4, 2)), np.array([[1, 0, 1, 0]]), n_labels)
    assert tie.predict(torch.ones(1, 2)).tolist() == [[0]]
    signs = np.random.default_rng(0).choice([-3e38, 3e38, 1.0], size=(2, 5, 4))
    huge = fit(learner, np.abs(signs), y, n_labels), fit(learner, signs, y, n_labels)
    for models in huge:
        assert models.weights.isfinite().all()
        assert models.predict(torch.zeros(3, 4)).unique().tolist() in ([0], [1], [0, 1])


def test_a_tie_goes_to_the_smaller_label():
    weights = torch.zeros(2, 3, 4)
    intercepts = torch.tensor([[0.0, 1.0, 1.0], [2.0, 2.0, -torch.inf]])
    assert LinearModels(weights, intercepts).predict(torch.ones(1, 4)).tolist() == [[1], [0]]
    binary = LinearModels(torch.zeros(1, 1, 4), torch.zeros(1, 1))
    assert binary.predict(torch.ones(1, 4)).tolist() == [[0]]


@pytest.mark.parametrize("n_labels", [2, 4])
def test_predicting_in_chunks_is_predicting_at_once(digits, monkeypatch, n_labels):
    x, y = subsamples(digits, 3, 30, n_labels)
    models = fit(Ridge(), x, y, n_labels)
    x_test = torch.from_numpy(digits[0][:500]).float()
    whole = models.predict(x_test)
    monkeypatch.setattr(linear, "SCORES_AT_ONCE", 3 * n_labels * 7)
    assert torch.equal(models.predict(x_test), whole)
    assert models.predict(x_test[:0]).shape == (3, 0)


@pytest.mark.parametrize("k", [30, 100], ids=["dual", "primal"])
def test_a_penalty_below_rounding_still_gives_a_model(k):
    rng = np.random.default_rng(0)
    few = rng.normal(size=(20, k, 3))
    x = 100 * few @ rng.normal(size=(20, 3, 40))
    y = (few[..., 0] > 0).astype(np.int64)
    models = fit(Ridge(penalty=1e-30), x, y, 2)
    own = np.stack([models.predict(torch.from_numpy(x[i]).float())[i] for i in range(20)])
    assert ((own == y).mean(1) > 0.85).all()
