import warnings

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from harness.errors import UsageError
from harness.learners.base import FIXED_LABEL
from harness.learners.estimator import EstimatorLearner


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    index = np.random.default_rng(0).integers(len(images), size=(3, 40))
    return torch.from_numpy(images[index]).float(), torch.from_numpy(labels[index])


def fit(factory, digits, rng=None):
    x, y = digits
    return EstimatorLearner(factory, "thing").fit(x, y, 10, rng or np.random.default_rng(0))


def test_each_model_is_the_estimator_on_its_own_examples(digits):
    x, y = digits
    predicted = fit(lambda: KNeighborsClassifier(3), digits).predict(x[0])
    for i in range(3):
        alone = KNeighborsClassifier(3).fit(x[i].numpy(), y[i].numpy()).predict(x[0].numpy())
        assert predicted[i].tolist() == alone.tolist()


def test_random_states_come_from_the_generator_and_differ(digits):
    forest = lambda: RandomForestClassifier(2)  # noqa: E731
    one = [m.random_state for m in fit(forest, digits).fitted]
    assert len(set(one)) == 3
    assert one == [m.random_state for m in fit(forest, digits).fitted]
    assert one != [m.random_state for m in fit(forest, digits, np.random.default_rng(1)).fitted]


def test_nested_random_states_are_set_and_a_given_one_is_kept(digits):
    pipe = fit(lambda: make_pipeline(DecisionTreeClassifier()), digits).fitted[0]
    assert isinstance(pipe[0].random_state, int)
    fixed = fit(lambda: DecisionTreeClassifier(random_state=7), digits).fitted
    assert [m.random_state for m in fixed] == [7, 7, 7]


class Noisy(BaseEstimator):
    def fit(self, x, y):
        warnings.warn("did not converge", ConvergenceWarning, stacklevel=1)
        self.label = y[0]
        return self

    def predict(self, x):
        warnings.warn("odd", UserWarning, stacklevel=1)
        return np.full(len(x), self.label)


def test_warnings_are_silenced_and_the_filters_put_back(digits):
    filters = list(warnings.filters)
    fit(Noisy, digits).predict(digits[0][0])
    assert warnings.filters == filters


class Broken(Noisy):
    def fit(self, x, y):
        raise ValueError("no luck\nand a second line")


class Mute(Noisy):
    def predict(self, x):
        raise RuntimeError


class Regressor(Noisy):
    def predict(self, x):
        return np.full(len(x), 0.5)


class Short(Noisy):
    def predict(self, x):
        return np.zeros(1)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Broken, "ValueError: no luck"),
        (Mute, "RuntimeError"),
        (Regressor, "does not predict labels that it was given, one for each example"),
        (Short, "does not predict labels that it was given, one for each example"),
    ],
)
def test_a_model_that_fails_predicts_the_fixed_label_and_is_counted_once(digits, wrong, why):
    x, y = digits
    learner = EstimatorLearner(wrong, "thing")
    models = learner.fit(x, y, 10, np.random.default_rng(0))
    for _ in range(2):
        assert (models.predict(x[0]) == FIXED_LABEL).all()
        assert (models.scores(x[0], 10).argmax(2) == FIXED_LABEL).all()
    assert learner.unfitted == {why: 3}


class Picky(Noisy):
    def fit(self, x, y):
        if y[0] == 6:
            raise ValueError("not these")
        return super().fit(x, y)


def test_a_model_that_fails_leaves_the_others_as_they_are(digits):
    x, y = digits[0], digits[1].clone()
    y[:, 0] = torch.tensor([3, 6, 4])
    predicted = fit(Picky, (x, y)).predict(x[0])
    assert predicted[:, 0].tolist() == [3, FIXED_LABEL, 4]


@pytest.mark.parametrize("error", [OSError, ImportError])
def test_trouble_of_the_machine_is_no_vote(digits, error):
    class Starved(Noisy):
        def fit(self, x, y):
            raise error

    class Forgetful(Noisy):
        def predict(self, x):
            raise error

    with pytest.raises(error):
        fit(Starved, digits)
    with pytest.raises(error):
        fit(Forgetful, digits).predict(digits[0][0])


def test_one_label_never_reaches_the_estimator(digits):
    models = fit(Broken, (digits[0], torch.full((3, 40), 6)))
    assert (models.predict(digits[0][0]) == 6).all()


def test_images_are_refused(digits):
    with pytest.raises(UsageError, match="thing needs flat features"):
        fit(Noisy, (torch.zeros(3, 40, 1, 8, 8), digits[1]))
