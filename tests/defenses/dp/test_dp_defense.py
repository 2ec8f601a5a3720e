"""The defense as the runner sees it, on a small task of its own."""

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harness.certificates import ESTIMATE
from harness.defense import Evidence, Shape, Task
from harness.defenses.dp import (
    DifferentialPrivacy,
    DifferentialPrivacyParameters,
    batched,
)
from harness.errors import UsageError
from harness.threats import Threat


class Blobs(Task):
    """Gaussian blobs with well-separated means, as float features."""

    def __init__(self, n_labels, models, n=600, e=80):
        rng = np.random.default_rng(0)
        means = 6 * np.eye(n_labels, 4)
        labels = rng.integers(n_labels, size=n + e)
        x = (means[labels] + rng.standard_normal((n + e, 4))).astype(np.float32)
        self.x_train, self.x_test = x[:n], x[n:]
        self.y_train, self.truth = labels[:n], labels[n:]
        self.shape = Shape(n, e, n_labels, (4,))
        self.models = models
        self.device = torch.device("cpu")
        self.advanced = 0
        self.phases = set()

    def rng(self):
        return np.random.default_rng([1, self.models.start])

    def features(self, name):
        assert name == "raw"
        return torch.from_numpy(self.x_train), torch.from_numpy(self.x_test)

    def images(self):
        raise NotImplementedError

    def learner(self, spec):
        raise NotImplementedError

    @contextmanager
    def phase(self, name):
        self.phases.add(name)
        yield

    def advance(self, models):
        self.advanced += models


def defense(**changes):
    values = {"n_models": 30, "features": "raw", "epsilon": 2.0, "accountant": "rdp"}
    return DifferentialPrivacy(DifferentialPrivacyParameters(**(values | changes)))


def evidence_for(arrays, n_labels=2):
    return Evidence(arrays, 600, n_labels, 4)


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("changes", [{}, {"sample_rate": 0.3}, {"engine": "opacus", "n_models": 4}])
def test_from_training_to_certificate(n_labels, changes):
    dp = defense(**changes)
    models = dp.params.n_models
    task = Blobs(n_labels, range(models))
    arrays = dp.gather(task)
    assert task.advanced == models
    assert task.phases == {"train", "predict"}
    assert arrays["votes"].shape == (80, n_labels)
    assert arrays["votes"].dtype == np.int64
    assert (arrays["votes"].sum(1) == models).all()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert arrays["never_clipped"] == (n_labels == 2)
    certificate = dp.certify(evidence_for(arrays, n_labels), Threat.ANY, 0.001)
    assert certificate.guarantee == dp.guarantee(0.001) == ESTIMATE
    assert certificate.clean_accuracy(task.truth) > 0.9
    curve = certificate.certified_accuracy(task.truth, np.arange(4))
    assert curve[0] == certificate.clean_accuracy(task.truth)
    assert (np.diff(curve) < 0)[curve[:-1] > 0].all()
    assert certificate.last_radius(task.truth) >= 0


@pytest.mark.parametrize("engine", ["batched", "opacus"])
def test_the_same_block_twice_gives_the_same_votes_and_another_block_others(engine):
    dp = defense(engine=engine, epsilon=0.05, n_models=3)
    first, again, other = (
        dp.gather(Blobs(2, models))["votes"] for models in (range(3), range(3), range(3, 6))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_both_engines_agree_in_the_mean():
    accuracies = []
    for engine, models in (("batched", 300), ("opacus", 12)):
        task = Blobs(2, range(models))
        dp = defense(engine=engine, n_models=models, epsilon=1.0)
        p = dp.gather(task)["votes"][np.arange(80), task.truth] / models
        accuracies.append(p.mean())
    assert abs(accuracies[0] - accuracies[1]) < 0.03


def test_blocks_cover_the_models_and_merging_adds_the_votes():
    dp = defense(n_models=1100)
    shape = Blobs(2, range(1)).shape
    assert [len(block) for block in dp.blocks(shape, None)] == [500, 500, 100]
    small = defense(n_models=25, engine="opacus")
    assert [len(block) for block in small.blocks(shape, None)] == [10, 10, 5]
    parts = [dp.gather(Blobs(2, models)) for models in (range(20), range(20, 50))]
    merged = dp.merge(parts)
    assert np.array_equal(merged["votes"], parts[0]["votes"] + parts[1]["votes"])
    for key in ("noise_multiplier", "steps", "sample_rate", "never_clipped"):
        assert merged[key] == parts[0][key] == parts[1][key]


def spent(dp, threat, n_labels=2, sample_rate=1.0):
    """How many units one poisoned example costs, read off the certificate's own bound."""
    arrays = {
        "votes": np.full((5, n_labels), 10),
        "noise_multiplier": np.array(3.0),
        "steps": np.array(20),
        "sample_rate": np.array(sample_rate),
        "never_clipped": np.array(int(n_labels == 2)),
    }
    certificate = dp.certify(evidence_for(arrays, n_labels), threat, 0.001)
    epsilon, delta = dp.params.epsilon, dp.params.delta
    b = delta / np.expm1(epsilon)
    value = certificate.bound(np.full(5, 0.9), 1)
    return -np.log((value + b) / (0.9 + b)) / epsilon


@pytest.mark.parametrize(
    ("threat", "units"),
    [
        (Threat.INSERT, 1),
        (Threat.DELETE, 1),
        (Threat.MODIFY, 2),
        (Threat.ANY, 2),
        (Threat.LABEL_FLIP, 1),
    ],
)
def test_what_each_threat_costs(threat, units):
    dp = defense(epsilon=0.1, bound="accuracy")
    assert threat in dp.covers()
    assert spent(dp, threat) == pytest.approx(units)
    published = defense(epsilon=0.1, bound="accuracy", adjacency="paper")
    assert spent(published, threat) == pytest.approx(1)


def test_a_flipped_label_costs_two_with_sampling_or_with_softmax():
    dp = defense(epsilon=0.1, bound="accuracy")
    assert spent(dp, Threat.LABEL_FLIP, sample_rate=0.5) == pytest.approx(2)
    assert spent(dp, Threat.LABEL_FLIP, n_labels=3) == pytest.approx(2)


def test_the_method_says_which_convention_and_which_bound():
    arrays = defense().gather(Blobs(2, range(5)))
    methods = {
        (bound, adjacency): defense(bound=bound, adjacency=adjacency)
        .certify(evidence_for(arrays), Threat.MODIFY, 0.001)
        .method
        for bound in ("accuracy", "error", "max")
        for adjacency in ("add-remove", "paper")
    }
    assert len(set(methods.values())) == 6
    for (_, adjacency), method in methods.items():
        assert ("one-unit-a-modification" in method) == (adjacency == "paper")


def test_certificates_share_their_training():
    assert DifferentialPrivacyParameters.certify_only() == {"certificate", "bound", "adjacency"}


def test_the_defaults_are_the_published_setting():
    p = DifferentialPrivacyParameters()
    assert (p.n_models, p.epsilon, p.delta, p.sample_rate) == (1000, 0.3, 1e-5, 1.0)
    assert (p.engine, p.features, p.adjacency, p.bound) == ("batched", "hog", "add-remove", "max")
    for field in DifferentialPrivacyParameters.model_fields.values():
        assert field.description


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_models", 0),
        ("epsilon", 0.0),
        ("epsilon", float("inf")),
        ("delta", 0.0),
        ("delta", 1.0),
        ("sample_rate", 0.0),
        ("sample_rate", 1.5),
        ("steps", 0),
        ("learning_rate", 0.0),
        ("clip", 0.0),
        ("engine", "jax"),
        ("accountant", "gdp"),
        ("certificate", "none"),
        ("bound", "none"),
        ("adjacency", "replace"),
    ],
)
def test_values_out_of_bounds_are_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        DifferentialPrivacyParameters(**{name: value})


def test_features_that_do_not_fit_are_refused():
    shape = Blobs(2, range(1)).shape
    with pytest.raises(UsageError, match="hog"):
        defense(features="hog").check(shape)
    with pytest.raises(UsageError, match="hgo"):
        defense(features="hgo").check(shape)
    defense().check(shape)


def test_the_divisor_is_the_declared_size_not_the_one_at_hand(monkeypatch):
    used = []

    def spy(x, y, n_labels, mechanism, steps):
        used.append((len(x), mechanism.expected_batch))
        return train(x, y, n_labels, mechanism, steps)

    train = batched.train
    monkeypatch.setattr(batched, "train", spy)
    task = Blobs(2, range(2))
    defense(sample_rate=0.3).gather(task)
    task.x_train = np.concatenate([task.x_train, task.x_train[:200]])
    task.y_train = np.concatenate([task.y_train, task.y_train[:200]])
    defense(sample_rate=0.3).gather(task)
    assert used == [(600, 180.0), (800, 180.0)]


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, harness.defenses.dp.defense; "
        "sys.exit(bool({'torch', 'opacus'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
