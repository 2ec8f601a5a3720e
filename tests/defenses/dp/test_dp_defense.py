"""The defense as the runner sees it, on a small task of its own."""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import norm

from harness.certificates import ESTIMATE
from harness.defense import Evidence, Shape, Task
from harness.defenses.dp import (
    DifferentialPrivacy,
    DifferentialPrivacyParameters,
    batched,
)
from harness.errors import DataError
from harness.running.keys import evidence_key
from harness.testing import check_defense
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


def test_certificates_share_their_training(tiny):
    only = {"certificate", "probabilities", "split", "bound", "adjacency"}
    assert DifferentialPrivacyParameters.certify_only() == only
    keys = {
        evidence_key("dp", defense(certificate=name, **changes), tiny, 0, "", "")
        for name in ("ma", "gdp", "pointwise")
        for changes in ({}, {"probabilities": "mean", "split": "per-example", "adjacency": "paper"})
    }
    assert len(keys) == 1
    assert evidence_key("dp", defense(examples="centred"), tiny, 0, "", "") not in keys


def all_certificates(arrays, threat, n_labels=2, **changes):
    return {
        name: defense(certificate=name, **changes).certify(
            evidence_for(arrays, n_labels), threat, 0.001
        )
        for name in ("ma", "gdp", "pointwise")
    }


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("sample_rate", [1.0, 0.3])
def test_three_certificates_from_one_training(n_labels, sample_rate):
    changes = {"n_models": 200, "sample_rate": sample_rate, "epsilon": 0.5, "accountant": "auto"}
    task = Blobs(n_labels, range(200))
    arrays = defense(**changes).gather(task)
    assert ("curve_epsilon" in arrays) == (sample_rate < 1)
    for threat in Threat:
        found = all_certificates(arrays, threat, n_labels, **changes)
        kinds = {name: one.guarantee.kind for name, one in found.items()}
        assert kinds == {"ma": "estimate", "gdp": "probabilistic", "pointwise": "probabilistic"}
        clean = {
            one.clean_accuracy(task.truth) for name, one in found.items() if name != "pointwise"
        }
        assert len(clean) == 1, "gdp reports the models' mean accuracy, not its lower bound"
        r = np.arange(0, 40)
        accuracy = {n: one.certified_accuracy(task.truth, r) for n, one in found.items()}
        assert (accuracy["gdp"][0] < accuracy["ma"][0]) and accuracy["gdp"][0] > 0.7
        last = {name: one.last_radius(task.truth) for name, one in found.items()}
        assert last["gdp"] >= last["pointwise"] >= 1
        way = "gaussian-dp" + "-or-accounted-curve" * (sample_rate < 1)
        assert found["gdp"].method == f"{way}:expected-accuracy"
        assert found["pointwise"].method == f"{way}:pointwise"


def votes_of(*rows, sigma=100.0, steps=25, sample_rate=1.0, never_clipped=1):
    return {
        "votes": np.array(rows),
        "noise_multiplier": np.array(sigma),
        "steps": np.array(steps),
        "sample_rate": np.array(sample_rate),
        "never_clipped": np.array(never_clipped),
    }


def test_pointwise_radii_by_hand():
    """Two labels: r cost mu < Phi^-1(p_l), where p_l^N = alpha / (e c) for a vote of all models."""
    arrays = votes_of([1000, 0], [0, 1000], [500, 500], [501, 499])
    mu = 25**0.5 / 100
    for threat, cost in {"insert": 1, "delete": 1, "modify": 2, "any": 2, "label-flip": 1}.items():
        dp = defense(certificate="pointwise")
        found = dp.certify(evidence_for(arrays), Threat(threat), 0.001)
        reach = norm.ppf((0.001 / 8) ** (1 / 1000)) / (mu * cost)
        assert found.radii.tolist() == [int(reach), int(reach), -1, -1]
        assert found.predictions.tolist() == [0, 1, 0, 0]
        assert str(found.guarantee) == "probabilistic (alpha=0.001 per defense)"
    alone = defense(certificate="pointwise", split="per-example")
    found = alone.certify(evidence_for(arrays), Threat.INSERT, 0.001)
    assert found.radii[0] == int(norm.ppf((0.001 / 2) ** (1 / 1000)) / mu)
    assert str(found.guarantee) == "probabilistic (alpha=0.001 per example)"


def test_radii_end_at_n():
    arrays = votes_of([1000, 0], sigma=1e9)
    for threat in Threat:
        found = defense(certificate="pointwise").certify(evidence_for(arrays), threat, 0.001)
        assert found.radii.tolist() == [600]
        expected = defense(certificate="gdp").certify(evidence_for(arrays), threat, 0.001)
        assert expected.last_radius(np.array([0])) == 600


@pytest.mark.parametrize("name", ["ma", "gdp", "pointwise"])
def test_the_published_convention_doubles_what_a_modification_costs(name):
    arrays = votes_of([1000, 0], [900, 100], sigma=200.0)
    labels = np.zeros(2, int)
    ours, published = (
        defense(certificate=name, adjacency=way, epsilon=0.02).certify(
            evidence_for(arrays), Threat.MODIFY, 0.001
        )
        for way in ("add-remove", "paper")
    )
    assert published.method == f"{ours.method}:one-unit-a-modification"
    last = [one.last_radius(labels) for one in (ours, published)]
    assert last[0] == last[1] // 2 > 0


PROOFS = [
    {"certificate": "pointwise"},
    {"certificate": "pointwise", "split": "per-example"},
    {"certificate": "gdp"},
]


@pytest.mark.parametrize("changes", [*PROOFS, {"certificate": "ma"}], ids=str)
def test_the_published_convention_is_never_more_than_an_estimate(changes):
    published = defense(adjacency="paper", **changes)
    assert published.guarantee(0.001) == ESTIMATE
    arrays = votes_of([1000, 0], [900, 100])
    for threat in Threat:
        assert published.certify(evidence_for(arrays), threat, 0.001).guarantee == ESTIMATE
    if changes in PROOFS:
        assert defense(**changes).guarantee(0.001).kind == "probabilistic"


@pytest.mark.parametrize("name", ["gdp", "pointwise"])
def test_the_published_convention_conforms_as_an_estimate(registry, name):
    report = check_defense(f"dp[certificate={name},adjacency=paper,steps=2]", registry=registry)
    assert "alpha means what the guarantee says" in report.held
    assert "larger alpha never certifies less" in report.skipped


@pytest.mark.parametrize("name", ["ma", "gdp", "pointwise"])
def test_a_softmax_that_is_said_never_to_clip_is_refused(name):
    arrays = votes_of([1000, 0, 0], never_clipped=1)
    with pytest.raises(DataError, match="never_clipped must be 0 where votes has 3 labels"):
        defense(certificate=name).certify(evidence_for(arrays, 3), Threat.LABEL_FLIP, 0.001)


def test_with_sampling_no_flip_costs_more_than_without():
    """Given who is sampled, it moves a sum by one clip; the curve of pairs may prove still more."""
    curve = {"curve_epsilon": np.array([0.1]), "curve_delta": np.array([1e-6])}
    full, part = (
        defense(certificate="pointwise").certify(evidence_for(arrays), Threat.LABEL_FLIP, 0.001)
        for arrays in (votes_of([1000, 0]), votes_of([1000, 0], sample_rate=0.9) | curve)
    )
    assert part.radii[0] == full.radii[0] > 0


def test_label_flips_cost_two_pointwise_where_they_are_not_known_to_cost_one():
    one, two = (
        defense(certificate="pointwise")
        .certify(evidence_for(votes_of([1000, 0], never_clipped=known)), Threat.LABEL_FLIP, 0.001)
        .radii[0]
        for known in (1, 0)
    )
    assert two == one // 2 > 0


def test_gdp_from_the_mean_is_an_estimate_and_needs_no_alpha():
    arrays = votes_of([1000, 0], [900, 100])
    dp = defense(certificate="gdp", probabilities="mean")
    one, other = (dp.certify(evidence_for(arrays), Threat.INSERT, alpha) for alpha in (0.5, 1e-9))
    assert one.guarantee == dp.guarantee(0.5) == ESTIMATE
    labels, r = np.zeros(2, int), np.array([0, 3])
    assert (one.certified_accuracy(labels, r) == other.certified_accuracy(labels, r)).all()
    wanted = norm.cdf(norm.ppf(0.95) - r * 5 / 100)
    assert one.certified_accuracy(labels, r) == pytest.approx(wanted)


def test_gdp_from_confidence_by_hand():
    arrays = votes_of([1000, 0], [1000, 0])
    found = defense(certificate="gdp").certify(evidence_for(arrays), Threat.MODIFY, 0.001)
    r = np.array([0, 1, 10])
    wanted = norm.cdf(norm.ppf((0.001 / 2) ** (1 / 1000)) - 2 * r * 5 / 100)
    assert found.certified_accuracy(np.zeros(2, int), r) == pytest.approx(wanted)
    assert found.clean_accuracy(np.zeros(2, int)) == 1
    assert found.certified_accuracy(np.ones(2, int), r).tolist() == [0, 0, 0]


def test_other_peoples_votes_need_all_that_certifying_reads():
    arrays = votes_of([1000, 0])
    named = {*DifferentialPrivacy.needs, *DifferentialPrivacy.takes}
    assert named == {*arrays, "n_train", "curve_epsilon", "curve_delta"}
    assert "noise_multiplier" in DifferentialPrivacy.needs
    pointwise = defense(certificate="pointwise")
    full = pointwise.certify(evidence_for(arrays), Threat.LABEL_FLIP, 0.001).radii
    for name in arrays:
        lacking = {key: value for key, value in arrays.items() if key != name}
        if name in DifferentialPrivacy.needs:
            with pytest.raises(KeyError, match=name):
                pointwise.certify(evidence_for(lacking), Threat.ANY, 0.001)
        else:  # what is not said is never assumed in the certificate's favour
            radii = pointwise.certify(evidence_for(lacking), Threat.LABEL_FLIP, 0.001).radii
            assert (radii <= full).all()


def test_centred_examples_change_what_is_trained():
    plain, other = (
        defense(epsilon=0.5, examples=kind).gather(Blobs(2, range(40)))["votes"]
        for kind in ("bounded", "centred")
    )
    assert not np.array_equal(plain, other)
    truth = Blobs(2, range(1)).truth
    assert other[np.arange(80), truth].mean() > 30


def test_the_defaults_are_the_published_setting():
    p = DifferentialPrivacyParameters()
    assert (p.n_models, p.epsilon, p.delta, p.sample_rate) == (1000, 0.3, 1e-5, 1.0)
    assert (p.engine, p.features, p.adjacency, p.bound) == ("batched", "auto", "add-remove", "max")
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
        ("probabilities", "none"),
        ("split", "none"),
        ("examples", "none"),
        ("adjacency", "replace"),
    ],
)
def test_values_out_of_bounds_are_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        DifferentialPrivacyParameters(**{name: value})


def test_the_divisor_is_the_declared_size_not_the_one_at_hand(monkeypatch):
    used = []

    def spy(x, y, mechanism, steps, *, never_clipped):
        used.append((len(x), mechanism.expected_batch, never_clipped))
        return train(x, y, mechanism, steps, never_clipped=never_clipped)

    train = batched.train
    monkeypatch.setattr(batched, "train", spy)
    task = Blobs(2, range(2))
    defense(sample_rate=0.3).gather(task)
    task.x_train = np.concatenate([task.x_train, task.x_train[:200]])
    task.y_train = np.concatenate([task.y_train, task.y_train[:200]])
    defense(sample_rate=0.3).gather(task)
    task.shape = replace(task.shape, n_train=800)
    defense(sample_rate=0.3).gather(task)
    assert used == [(600, 180.0, True), (800, 180.0, True), (800, 180.0, True)]


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, harness.defenses.dp.defense; "
        "sys.exit(bool({'torch', 'opacus'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
