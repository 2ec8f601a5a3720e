"""Pipelines of scikit-learn's: each base model's own steps, on its own examples."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from harness.errors import UsageError
from harness.learners.base import FIXED_LABEL
from harness.learners.fitting import fit_all
from harness.learners.pipeline import Pipeline
from harness.learners.spec import canonical, resolve
from harness.specs.grammar import Spec, parse

REGISTRY = {"pipeline": Pipeline}
SCALER = "sklearn.preprocessing.StandardScaler"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
PIPE = f"pipeline({SCALER}, {LOGISTIC}(C=0.1))"


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    index = np.random.default_rng(0).integers(len(images), size=(3, 40))
    return torch.from_numpy(images[index]).float(), torch.from_numpy(labels[index])


@pytest.mark.parametrize(
    ("text", "make"),
    [
        (PIPE, lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1))),
        (
            f"pipeline({SCALER}, sklearn.decomposition.PCA(n_components=5), sklearn.svm.SVC)",
            lambda: make_pipeline(StandardScaler(), PCA(5), SVC()),
        ),
    ],
)
def test_each_model_is_the_pipeline_on_its_own_examples(digits, text, make):
    x, y = digits
    learner = resolve(text, REGISTRY)
    models = learner.fit(x, y, 10, np.random.default_rng(0))
    predicted, scores = models.predict(x[0]), models.scores(x[0], 10)
    together = make().fit(x.flatten(0, 1).numpy(), y.flatten().numpy())
    differs = 0
    for i in range(3):
        alone = make().fit(x[i].numpy(), y[i].numpy())
        assert predicted[i].tolist() == alone.predict(x[0].numpy()).tolist()
        decided = torch.from_numpy(alone.decision_function(x[0].numpy())).double()
        assert torch.allclose(scores[i][:, alone.classes_].double(), decided, atol=1e-5)
        differs += (together.predict(x[0].numpy()) != predicted[i].numpy()).sum()
    assert differs > 0
    assert learner.unfitted == {}


def test_a_model_is_moved_by_no_other_models_examples(digits):
    x, y = digits
    before = resolve(PIPE, REGISTRY).fit(x, y, 10, np.random.default_rng(0)).predict(x[0])
    other = x.clone()
    other[1:] *= 1e6
    after = resolve(PIPE, REGISTRY).fit(other, y, 10, np.random.default_rng(0)).predict(x[0])
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_random_states_of_steps_come_from_the_generator(digits):
    text = (
        "pipeline(sklearn.random_projection.GaussianRandomProjection(n_components=4), "
        "sklearn.ensemble.RandomForestClassifier(n_estimators=2, random_state=7))"
    )
    fits = [
        resolve(text, REGISTRY).fit(*digits, 10, np.random.default_rng(seed)).fitted
        for seed in (0, 0, 1)
    ]
    states = [[model[0].random_state for model in fit] for fit in fits]
    assert len(set(states[0])) == 3
    assert states[0] == states[1] != states[2]
    assert isinstance(fits[0][0][1], RandomForestClassifier)
    assert all(model[1].random_state == 7 for fit in fits for model in fit)


def test_what_cannot_be_fitted_votes_for_the_fixed_label(digits):
    x, y = digits[0].clone(), digits[1]
    learner = resolve("pipeline(sklearn.decomposition.PCA(n_components=41), sklearn.svm.SVC)",
                      REGISTRY)  # fmt: skip
    models = fit_all(learner, x, y, 10, np.random.default_rng(0))
    assert (models.predict(x[0]) == FIXED_LABEL).all()
    assert sum(learner.unfitted.values()) == 3
    assert any("n_components=41" in why for why in learner.unfitted)
    one = resolve(PIPE, REGISTRY)
    x[0, 0, 0] = math.inf
    models = one.fit(x, y, 10, np.random.default_rng(0))
    fine = one.fit(digits[0], y, 10, np.random.default_rng(0))
    assert (models.predict(digits[0][0])[0] == FIXED_LABEL).all()
    assert torch.equal(models.predict(digits[0][0])[1:], fine.predict(digits[0][0])[1:])
    assert sum(one.unfitted.values()) == 1


def test_its_code_is_that_of_all_steps():
    assert resolve(PIPE, REGISTRY).behind == (StandardScaler, LogisticRegression)


def test_its_name_is_that_of_all_steps():
    text = f" pipeline ( {SCALER}( with_std = True ),{LOGISTIC}( C=0.1, ) )"
    assert canonical(text, REGISTRY) == PIPE
    assert canonical(PIPE, REGISTRY) == PIPE
    assert str(parse("learner", PIPE)) == resolve(PIPE, REGISTRY).label == PIPE
    steps = (Spec(SCALER), Spec(LOGISTIC, {"C": 0.1}))
    assert parse("learner", PIPE) == Spec("pipeline", {}, steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipeline", r"learner 'pipeline' has fewer than two steps; wanted transformers and, last"),
        (f"pipeline({LOGISTIC})", "has fewer than two steps"),
        (f"pipeline({SCALER}, ridge)", "the step 'ridge' is no import path; wanted transformers"),
        (f"pipeline({SCALER}, {PIPE})", "the step 'pipeline' is no import path"),
        (f"pipeline({SCALER}, 1nn)", r"wanted name or name\(key=value, \.\.\.\)"),
        (f"pipeline({SCALER}, naive-bayes)", r"wanted name or name\(key=value, \.\.\.\)"),
        (f"pipeline({LOGISTIC}, {LOGISTIC})",
         "'sklearn.linear_model.LogisticRegression' is not a class with fit and transform"),
        (f"pipeline({SCALER}, {SCALER})", f"'{SCALER}' is not a class with fit and predict"),
        (f"pipeline(sklearn.manifold.TSNE, {LOGISTIC})", "TSNE' is not a class with fit and trans"),
        (f"pipeline({SCALER}, sklearn.linear_model.Ridge)", "is a regressor; wanted a classifier"),
        (f"pipeline({SCALER}(with_sdt=True), {LOGISTIC})",
         f"parameter of learner {SCALER}: 'with_sdt'; did you mean with_std"),
        (f"pipeline({SCALER}, {LOGISTIC}(C=-1))", "The 'C' parameter of LogisticRegression must"),
        (f"pipeline({SCALER}(with_std=3), {LOGISTIC})", "The 'with_std' parameter"),
        (f"pipeline({SCALER}({SCALER}), {LOGISTIC})", "takes parameters as key=value alone"),
        (f"{LOGISTIC}({SCALER})", "takes parameters as key=value alone"),
        (f"pipeline({SCALER}, {LOGISTIC}, memory='x')",
         "learner pipeline has no parameters; found 'memory'"),
        (f"pipeline(memory=1, {SCALER}, {LOGISTIC})", r"wanted name or name\(key=value"),
        (f"pipeline({SCALER}, no_such_module.Thing)", "No module named 'no_such_module'"),
        (f"pipeline({SCALER}(), __import__('os').getcwd())", r"wanted name or name\(key=value"),
        (f"pipeline({SCALER}, {LOGISTIC}(C=open('x')))", "C is not a plain value"),
        (f"pipeline({SCALER}, {LOGISTIC}(C=1, C=2))", "wanted"),
        (f"pipeline(*{SCALER}, {LOGISTIC})", "wanted name or name"),
        (f"pipeline({SCALER}, {LOGISTIC}(**x))", "wanted each parameter once"),
        (f"pipeline(({SCALER}), [{LOGISTIC}])", "wanted name or name"),
        (f"pipeline({SCALER}, {LOGISTIC}", "is not a name"),
    ],
)  # fmt: skip
def test_a_pipeline_that_cannot_be(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        resolve(text, REGISTRY)
    assert "\n" not in str(caught.value)
