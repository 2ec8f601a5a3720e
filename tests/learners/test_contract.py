"""What base.py asks of every learner, the batched ones and an estimator alike."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from harness.errors import UsageError
from harness.learners.cnn import Cnn
from harness.learners.kernel import Kernel
from harness.learners.logistic import Logistic
from harness.learners.modules import TorchModule
from harness.learners.naive_bayes import NaiveBayes
from harness.learners.pipeline import Pipeline
from harness.learners.ridge import Ridge
from harness.learners.spec import resolve

sys.path.append(str(Path(__file__).parent))  # where a user's modules lie

LEARNERS = {
    "ridge": Ridge(),
    "logistic": Logistic(),
    "kernel": Kernel(),
    "kernel poly": Kernel(kernel="poly", degree=2),
    "cnn": Cnn(epochs=2),
    "torch": TorchModule("modules_of_a_user:linear", epochs=15, rate=0.01, images=False),
    "torch, one by one": TorchModule(
        "modules_of_a_user.dropping", epochs=15, rate=0.01, batch=20, images=False
    ),
    "naive-bayes": NaiveBayes(),
    "pipeline": resolve(
        "pipeline(sklearn.preprocessing.StandardScaler, sklearn.tree.ExtraTreeClassifier)",
        {"pipeline": Pipeline},
    ),
    "tree": resolve("sklearn.tree.ExtraTreeClassifier(max_depth=4)", {}),
}


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long()


def drawn(digits, learner, models, k, n_labels, seed=0):
    """Subsamples x (m, k, ...), labels (m, k) and test features (e, ...) that ``learner`` takes."""
    x, y = digits
    x, y = x[y < n_labels], y[y < n_labels]
    if learner.images:
        x = x.view(-1, 1, 8, 8)
    index = np.random.default_rng(seed).integers(len(x), size=(models, k))
    return x[index], y[index], x[:200]


def predict(learner, x, y, x_test, n_labels, present=None):
    models = learner.fit(x, y, n_labels, np.random.default_rng(5), present)
    predicted = models.predict(x_test)
    assert predicted.shape == (len(x), len(x_test))
    assert predicted.dtype == torch.int64
    return predicted


@pytest.fixture(params=LEARNERS)
def learner(request):
    return LEARNERS[request.param]


@pytest.fixture(params=[2, 5])
def n_labels(request):
    return request.param


@pytest.mark.parametrize("k", [20, 90], ids="k={}".format)
def test_a_model_sees_its_own_examples_alone(digits, learner, n_labels, k):
    x, y, x_test = drawn(digits, learner, 4, k, n_labels)
    before = predict(learner, x, y, x_test, n_labels)
    noise = np.random.default_rng(9)
    x[1:] = torch.from_numpy(noise.normal(0, 100, size=x[1:].shape)).float()
    y[1:] = torch.from_numpy(noise.integers(n_labels, size=y[1:].shape))
    after = predict(learner, x, y, x_test, n_labels)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1:], after[1:])


def test_the_same_inputs_give_the_same_labels_and_stay_as_they_are(digits, learner, n_labels):
    x, y, x_test = drawn(digits, learner, 3, 25, n_labels)
    x_before, y_before = x.clone(), y.clone()
    assert torch.equal(
        predict(learner, x, y, x_test, n_labels), predict(learner, x, y, x_test, n_labels)
    )
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


def test_the_global_generators_are_left_alone(digits, learner):
    x, y, x_test = drawn(digits, learner, 2, 15, 3)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    predict(learner, x, y, x_test, 3)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_it_learns(digits, learner, n_labels):
    x, y, x_test = drawn(digits, learner, 3, 60, n_labels)
    if learner.images:
        learner = Cnn(epochs=20, rate=0.003)
    truth = digits[1][digits[1] < n_labels][:200]
    assert (predict(learner, x, y, x_test, n_labels) == truth).float().mean() > 0.6


def test_a_model_with_one_label_predicts_it(digits, learner, n_labels):
    x, y, x_test = drawn(digits, learner, 3, 12, n_labels)
    y[0], y[1] = 0, n_labels - 1
    predicted = predict(learner, x, y, x_test, n_labels)
    assert (predicted[0] == 0).all()
    assert (predicted[1] == n_labels - 1).all()


def test_a_label_that_was_never_seen_is_never_predicted(digits, learner):
    x, y, x_test = drawn(digits, learner, 3, 30, 5)
    y = torch.where((y == 0) | (y == 3), 2, y)
    predicted = predict(learner, x, y, torch.cat([x_test, -x_test, x_test * 50]), 5)
    assert set(predicted.unique().tolist()) <= {1, 2, 4}


def test_one_example_a_model(digits, learner, n_labels):
    x, y, x_test = drawn(digits, learner, 6, 1, n_labels)
    assert (predict(learner, x, y, x_test, n_labels) == y).all()


def test_padding_changes_nothing_and_an_empty_part_predicts_the_smallest_label(
    digits, learner, n_labels
):
    x, y, x_test = drawn(digits, learner, 4, 30, n_labels)
    sizes = torch.tensor([30, 8, 0, 17])
    present = torch.arange(30) < sizes[:, None]
    before = predict(learner, x, y, x_test, n_labels, present)
    assert (before[2] == 0).all()
    # The first part grows and is poisoned; the others are padded with something else.
    wider = torch.cat([x, -8 * torch.ones_like(x[:, :7])], dim=1)
    labels = torch.cat([y, y[:, :7]], dim=1)
    present = torch.arange(37) < torch.tensor([37, 8, 0, 17])[:, None]
    wider[1:][~present[1:]] = 3.0
    labels[0] = (labels[0] + 1) % n_labels
    labels[1:][~present[1:]] = n_labels - 1
    after = predict(learner, wider, labels, x_test, n_labels, present)
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


def test_absent_examples_count_for_nothing(digits, learner, n_labels):
    x, y, x_test = drawn(digits, learner, 1, 30, n_labels)
    present = torch.zeros(1, 30, dtype=torch.bool)
    present[0, ::2] = True
    masked = predict(learner, x, y, x_test, n_labels, present)
    assert torch.equal(masked, predict(learner, x[:, ::2], y[:, ::2], x_test, n_labels))


@pytest.mark.parametrize("name", ["ridge", "logistic", "kernel", "kernel poly"])
def test_a_model_alone_predicts_what_it_predicts_in_a_batch(digits, name, n_labels):
    learner = LEARNERS[name]
    x, y, x_test = drawn(digits, learner, 120, 40, n_labels)
    batch = predict(learner, x, y, x_test, n_labels)
    for i in (0, 60, 119):
        alone = predict(learner, x[i : i + 1], y[i : i + 1], x_test, n_labels)
        assert torch.equal(alone[0], batch[i])


def test_blocks_are_fixed_by_the_sizes_and_fit_in_memory(learner):
    for k, d in ((1, 1), (50, 784), (50, 128), (20_000, 3072)):
        assert 1 <= learner.models_per_block(k, d) <= 500
    assert learner.models_per_block(10_000, 784) < learner.models_per_block(10, 784)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Ridge(penalty=0), "ridge: penalty=0 is not allowed; wanted a number > 0"),
        (lambda: Ridge(penalty=float("nan")), "ridge: penalty=nan"),
        (lambda: Ridge(penalty="much"), "ridge: penalty='much'"),
        (lambda: Logistic(penalty=-1.0), "logistic: penalty=-1.0"),
        (lambda: Logistic(steps=0), "logistic: steps=0 is not allowed; wanted an integer >= 1"),
        (lambda: Logistic(steps=True), "logistic: steps=True"),
        (lambda: Kernel(kernel="cubic"), "kernel: kernel='cubic' is not allowed; wanted 'rbf' or"),
        (lambda: Kernel(gamma=0), "kernel: gamma=0 is not allowed; wanted a number > 0"),
        (lambda: Kernel(coef0=-1), "kernel: coef0=-1 is not allowed; wanted a number >= 0"),
        (lambda: Kernel(degree=11), "kernel: degree=11 is not allowed; .*>= 1, <= 10"),
        (lambda: Kernel(penalty=0), "kernel: penalty=0 is not allowed"),
        (lambda: Cnn(epochs=1.5), "cnn: epochs=1.5"),
        (lambda: Cnn(rate=float("inf")), "cnn: rate=inf"),
    ],
)
def test_values_that_are_not_allowed_are_named(build, message):
    with pytest.raises(UsageError, match=message):
        build()


LARGE = 2.0**40


@pytest.mark.parametrize("k", [4, 60], ids="k={}".format)
def test_extreme_neighbours_change_nothing_and_extreme_examples_are_answered(
    digits, learner, n_labels, k
):
    x, y, x_test = drawn(digits, learner, 4, k, n_labels)
    before = predict(learner, x, y, x_test, n_labels)
    x[1] = LARGE
    x[2] = torch.where(torch.arange(x[2].numel()).view(x[2].shape) % 2 == 0, LARGE, -LARGE)
    x[3, 0] = 1e15
    after = predict(learner, x, y, x_test, n_labels)
    assert torch.equal(before[0], after[0])
    assert (after >= 0).all() and (after < n_labels).all()


def test_a_model_whose_steps_overflow_is_left_where_it_is_whoever_else_goes_on():
    """Newton's step of A overflows; whether another model was still active once decided on it."""
    a = torch.tensor([[[-6.4e15, -1.3e16], [-1.8e15, -5.3e15]]])
    labels = torch.tensor([[0, 1]])
    x_test = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    others = [torch.zeros(1, 2, 2), torch.tensor([[[0.3, -1.0], [0.1, 0.7]]])]
    votes = []
    for other, y in zip(others, (labels * 0, labels), strict=True):
        both = torch.cat([a, other])
        models = Logistic().fit(both, torch.cat([labels, y]), 2, np.random.default_rng(0))
        votes.append(models.predict(x_test)[0].tolist())
        assert models.intercepts.isfinite().all()
    assert votes[0] == votes[1]
