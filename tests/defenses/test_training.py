"""What the defenses train: isolation, distributions, agreement with slower ways to the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge as SklearnRidge

from harness.datasets.base import Dataset, checked
from harness.defense import Defense, Evidence, Task
from harness.defenses.bagging import Bagging
from harness.defenses.feature_flip import FeatureFlip
from harness.defenses.label_flip import LabelFlip
from harness.errors import UsageError
from harness.features import tensors
from harness.features.raw import Raw
from harness.learners.base import Learner
from harness.plugins.lookup import features_of, learner_of
from harness.plugins.registry import Registry
from harness.results.cells import shape_of
from harness.threats import Threat


class Alone(Task):
    """One block of base models on a data set, with a fixed seed."""

    def __init__(self, data: Dataset, registry: Registry, models: int, seed: int = 0) -> None:
        self.shape = shape_of(data)
        self.x_train, self.y_train, self.x_test = data.x_train, data.y_train, data.x_test
        self.models, self.device = range(models), torch.device("cpu")
        self._registry, self._seed = registry, seed

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self._seed)

    def features(
        self, spec: str, rows: NDArray[np.int64] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        made = features_of(self._registry, spec, self.shape.example)
        x = made.compute(self.x_train)
        return x if rows is None else x[rows], made.compute(self.x_test)

    def images(self, rows: NDArray[np.int64] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        x = tensors.images(self.x_train)
        return x if rows is None else x[rows], tensors.images(self.x_test)

    def learner(self, spec: str) -> Learner:
        return learner_of(self._registry, spec)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def advance(self, models: int) -> None:
        pass


def made(defense: type[Defense[Any]], **params: Any) -> Any:
    return defense(defense.Params.model_validate(params))


def with_training(data: Dataset, x: NDArray[Any], y: NDArray[Any]) -> Dataset:
    return Dataset(data.name, x, y, data.x_test, data.y_test, data.label_names)


@pytest.mark.parametrize(
    ("learner", "features_"),
    [
        ("ridge", "raw"),
        ("ridge", "hog"),
        ("logistic", "raw"),
        ("naive-bayes", "binarised"),
        ("cnn(epochs=1)", "raw"),
        ("1nn", "hog"),
        ("sklearn.tree.DecisionTreeClassifier", "binarised"),
    ],
)
def test_a_base_model_of_bagging_sees_its_own_examples_and_nothing_else(
    tiny: Dataset, registry: Registry, learner: str, features_: str
) -> None:
    """Isolation, on which Theorem 1 rests: everything outside the subsamples becomes noise."""
    bagging = made(Bagging, k=4, n_models=6, learner=learner, features=features_, exact=False)
    votes = bagging.gather(Alone(tiny, registry, 6))["votes"]
    drawn = np.random.default_rng(0).integers(tiny.n_train, size=(6, 4))
    outside = np.setdiff1d(np.arange(tiny.n_train), drawn)
    assert outside.size > 80
    x, y = tiny.x_train.copy(), tiny.y_train.copy()
    x[outside] = np.random.default_rng(1).integers(0, 256, x[outside].shape)
    y[outside] = 1 - y[outside]
    poisoned = bagging.gather(Alone(with_training(tiny, x, y), registry, 6))["votes"]
    assert np.array_equal(votes, poisoned)
    y[drawn[0]] = 1 - y[drawn[0]]
    reached = bagging.gather(Alone(with_training(tiny, x, y), registry, 6))["votes"]
    assert not np.array_equal(votes, reached)


def test_the_votes_are_those_of_ridge_regressions_one_by_one(
    tiny: Dataset, registry: Registry
) -> None:
    bagging = made(Bagging, k=9, n_models=15, learner="ridge(penalty=0.5)", features="raw")
    votes = bagging.gather(Alone(tiny, registry, 15))["votes"]
    x, x_test = (part.numpy() for part in Alone(tiny, registry, 1).features("raw"))
    expected = np.zeros_like(votes)
    for drawn in np.random.default_rng(0).integers(tiny.n_train, size=(15, 9)):
        model = SklearnRidge(alpha=0.5).fit(x[drawn], 2.0 * tiny.y_train[drawn] - 1)
        predicted = (model.predict(x_test) > 0).astype(int)
        expected[np.arange(len(x_test)), predicted] += 1
    assert np.array_equal(votes, expected)


def test_counts_have_the_distribution_of_noisy_copies(
    tiny: Dataset, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naive Bayes from sampled counts against naive Bayes on explicit noisy copies."""
    counted: list[torch.Tensor] = []
    from harness.learners.naive_bayes import NaiveBayes

    original = NaiveBayes.from_counts

    def remember(self: NaiveBayes, ones: torch.Tensor, members: torch.Tensor) -> Any:
        counted.append(torch.cat([ones.double(), members[..., None].double()], dim=2))
        return original(self, ones, members)

    monkeypatch.setattr(NaiveBayes, "from_counts", remember)
    m = 1500
    defense = made(FeatureFlip, n_models=m)
    task = Alone(tiny, registry, m)
    x, _ = task.features("binarised")
    rng = np.random.default_rng(5)
    defense._fit_counts(NaiveBayes(0.3), x, tiny.y_train, m, rng)
    sampled = counted.pop().flatten(1)
    for _ in range(m):
        defense._fit_copy(NaiveBayes(0.3), x, tiny.y_train, rng)
    copied = torch.cat(counted).flatten(1)
    # Two samples of m: means differ by a few standard errors at most, and so do (co)variances.
    error = (sampled.var(0) / m + copied.var(0) / m).sqrt()
    assert ((sampled.mean(0) - copied.mean(0)).abs() < 5 * error).all()
    one, other = torch.cov(sampled.T), torch.cov(copied.T)
    scale = (one.diagonal()[:, None] * one.diagonal()).sqrt()
    assert ((one - other).abs() < 0.2 * scale).all()
    assert ((one - one.diagonal().diag()).abs() > 0.3 * scale).any()


def test_feature_flip_votes_well_and_alike_with_either_learner(
    tiny: Dataset, registry: Registry
) -> None:
    for learner in ("naive-bayes", "ridge(penalty=1)"):
        defense = made(FeatureFlip, n_models=20, beta=0.1, learner=learner)
        votes = defense.gather(Alone(tiny, registry, 20))["votes"]
        assert votes.sum(1).tolist() == [20] * tiny.n_test
        assert np.mean(votes.argmax(1) == tiny.y_test) > 0.9


def test_feature_flip_counts_values(tiny: Dataset) -> None:
    votes = np.array([[100_000, 0], [0, 100_000], [50_000, 50_000]])
    evidence = Evidence({"votes": votes}, 10_000, 2, 1)
    flip = made(FeatureFlip, beta=0.45)
    labels = flip.certify(evidence, Threat.LABEL_FLIP, 0.001).radii
    modified = flip.certify(evidence, Threat.MODIFY, 0.001).radii
    assert labels[0] > 50
    assert modified.tolist() == [labels[0] // 2, labels[1] // 2, -1]
    published = made(FeatureFlip, beta=0.45, certificate="kl")
    assert 0 < published.certify(evidence, Threat.LABEL_FLIP, 0.001).radii[0] <= labels[0]
    assert flip.covers() == {Threat.MODIFY, Threat.LABEL_FLIP}


def test_label_flip_predicts_and_certifies(tiny: Dataset, registry: Registry) -> None:
    defense = made(LabelFlip, features="raw", q=0.1, penalty=1)
    arrays = defense.gather(Alone(tiny, registry, 1))
    evidence = Evidence(arrays, tiny.n_train, 2, 64)
    exact = defense.certify(evidence, Threat.LABEL_FLIP, 0.001)
    published = made(LabelFlip, features="raw", q=0.1, penalty=1, certificate="kl").certify(
        evidence, Threat.LABEL_FLIP, 0.001
    )
    assert np.mean(exact.predictions == tiny.y_test) > 0.9
    assert (exact.radii >= published.radii).all()
    assert (exact.radii > published.radii).any()
    assert exact.radii.max() <= tiny.n_train
    assert str(exact.guarantee) == "deterministic"


def test_the_influence_gives_the_scores_of_ridge_regression(tiny: Dataset) -> None:
    from harness.proofs.influence import ridge_influence

    x, x_test = (Raw().compute(part).double() for part in (tiny.x_train, tiny.x_test))
    influence = ridge_influence(x, x_test, 3.0)(slice(0, None)).numpy()

    def phi(part: torch.Tensor) -> NDArray[Any]:
        return np.hstack([part.numpy(), np.ones((len(part), 1))])

    model = SklearnRidge(alpha=3.0, fit_intercept=False).fit(phi(x), tiny.y_train)
    assert influence @ tiny.y_train == pytest.approx(model.predict(phi(x_test)), abs=1e-9)


def test_feature_flip_needs_two_labels(tiny: Dataset) -> None:
    shape = shape_of(tiny)
    made(FeatureFlip).check(shape)
    with pytest.raises(UsageError, match=r"two labels; this one has 10"):
        made(FeatureFlip).check(type(shape)(100, 10, 10, (8, 8)))


def test_label_flip_refuses_noise_that_leaves_nothing_of_the_labels(tiny: Dataset) -> None:
    shape = shape_of(tiny)
    made(LabelFlip, q=0.49).check(shape)
    made(LabelFlip, q=0.89).check(type(shape)(100, 10, 10, (8, 8)))
    with pytest.raises(UsageError, match=r"q=0\.5 is not allowed; with 2 labels .* below 0\.5"):
        made(LabelFlip, q=0.5).check(shape)
    with pytest.raises(UsageError, match=r"q=0\.9 is not allowed; with 10 labels .* below 0\.9"):
        made(LabelFlip, q=0.9).check(type(shape)(100, 10, 10, (8, 8)))


def test_label_flip_tells_three_labels_apart(registry: Registry) -> None:
    """Its prediction is that of one-against-all ridge regression on the labels as they are."""
    rng = np.random.default_rng(2)
    y, y_test = np.arange(150) % 3, np.arange(40) % 3
    centres = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    x, x_test = (centres[part] + rng.normal(0, 0.7, (len(part), 2)) for part in (y, y_test))
    data = checked("three", x, y, x_test, y_test)
    defense = made(LabelFlip, features="raw", q=0.3, penalty=0.01)
    defense.check(shape_of(data))
    evidence = Evidence(defense.gather(Alone(data, registry, 1)), 150, 3, 2)
    proved = defense.certify(evidence, Threat.LABEL_FLIP, 0.001)

    def phi(part: NDArray[Any]) -> NDArray[Any]:
        return np.hstack([part, np.ones((len(part), 1))])

    model = SklearnRidge(alpha=1.5, fit_intercept=False).fit(phi(x), np.eye(3)[y])
    assert np.array_equal(proved.predictions, model.predict(phi(x_test)).argmax(1))
    assert np.mean(proved.predictions == y_test) > 0.9
    assert np.mean(proved.radii >= 3) > 0.5


def test_splits_of_alpha(tiny: Dataset) -> None:
    evidence = Evidence({"votes": np.tile([[95, 5]], (40, 1))}, 10_000, 2, 64)

    def radius(split: str) -> int:
        certificate = made(Bagging, k=10, split=split).certify(evidence, Threat.ANY, 0.001)
        return int(certificate.radii[0])

    assert radius("paper") < radius("per-example")
    assert str(made(Bagging, split="per-example").guarantee(0.01)).endswith("per example)")
