"""Deliberately wrong defenses: each is caught, with the property, an example, the usual cause."""

import subprocess
import sys
import time
import unittest
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field

from harness.certificates import (
    DETERMINISTIC,
    AccuracyCertificate,
    Guarantee,
    PointwiseCertificate,
)
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Lookup,
    Parameters,
    Shape,
    Task,
    certify_field,
    count_field,
    even_blocks,
)
from harness.defenses.bagging import certified_poisoning_size
from harness.errors import UsageError
from harness.learners.base import Models
from harness.learners.ridge import Ridge
from harness.plugins.registry import Registered, Registry, load_registry
from harness.proofs.confidence import simuem
from harness.testing import ConformanceError, DefenseConformance, check_defense, tiny_dataset
from harness.testing.conformance import PROPERTIES
from harness.threats import Threat


class MoodyModels(Models):
    def __init__(self, models: Models, mood: int) -> None:
        self.models, self.mood = models, mood

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return (self.models.predict(x) + self.mood) % 2


class MoodyRidge(Ridge):
    """What a model predicts depends on all the models that are fitted with it."""

    name = "moody"

    def fit(self, x, y, n_labels, rng, present=None):
        mood = int((255 * x).round().sum()) % 2
        return MoodyModels(super().fit(x, y, n_labels, rng, present), mood)


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = load_registry()
    learners = {**found.learners.entries, "moody": Registered(MoodyRidge, "moody 1.0")}
    return replace(found, learners=replace(found.learners, entries=learners))


class SoundParameters(Parameters):
    k: int = Field(3, ge=1, description="examples of a base model")
    n_models: int = count_field(24, ge=1, description="base models")
    split: Literal["paper", "per-example"] = certify_field("paper", description="of alpha")


class Sound(Defense[SoundParameters]):
    """Bagging as a plugin's author would write it; every wrong defense spoils one method of it."""

    name = title = paper = "sound"
    Params = SoundParameters
    isolated = True
    learner = "ridge"

    def covers(self) -> frozenset[Threat]:
        return frozenset(Threat)

    def inputs(self, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
        return task.features("raw")

    def draw(self, task: Task) -> Any:
        return task.rng().integers(task.shape.n_train, size=(len(task.models), self.params.k))

    def votes(self, task: Task) -> np.ndarray[Any, Any]:
        x, x_test = self.inputs(task)
        drawn, c = self.draw(task), task.shape.n_labels
        models = task.learner(self.learner).fit(x[drawn], task.labels()[drawn], c, task.rng())
        return np.eye(c, dtype=np.int64)[models.predict(x_test).numpy()].sum(0)

    def gather(self, task: Task) -> Arrays:
        return {"votes": self.votes(task)}

    def radii(self, evidence: Evidence, threat: Threat, alpha: float) -> Any:
        bounds = simuem(evidence["votes"], alpha, split=self.params.split)
        return certified_poisoning_size(
            bounds.p_lower, bounds.p_upper, evidence.n_train, self.params.k, threat
        )

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        return PointwiseCertificate(
            "sound",
            threat,
            self.guarantee(alpha),
            evidence["votes"].argmax(1),
            self.radii(evidence, threat, alpha),
        )


class LeaksTheMean(Sound):
    def inputs(self, task):
        x, x_test = super().inputs(task)
        return x - x.mean(0), x_test - x.mean(0)


class LeaksTheMeanWithOneExample(LeaksTheMean):
    def draw(self, task):
        return super().draw(task)[:, :1]


class LeaksTheRange(Sound):
    def inputs(self, task):
        x, x_test = super().inputs(task)
        return x / x.max(), x_test / x.max()


class LeaksIntoThePrediction(Sound):
    def inputs(self, task):
        x, x_test = super().inputs(task)
        return x, x_test - x.mean(0)


class LeaksBetweenModels(Sound):
    learner = "moody"


class LeaksIntoTheVotes(Sound):
    def gather(self, task):
        return {"votes": self.votes(task) + int(task.x_train.sum()) % 97}


class DealsOutASortedSet(Sound):
    """Every example is in some sample; in which one, its rank decides."""

    def draw(self, task):
        n, m = task.shape.n_train, len(task.models)
        order = np.argsort(task.x_train.reshape(n, -1).sum(1), kind="stable")
        return order[: n - n % m].reshape(m, -1)


class ChoosesTheFeaturesFromAll(Sound):
    """One example more or less changes no choice; many do."""

    def inputs(self, task):
        x, x_test = super().inputs(task)
        chosen = x.median(0).values > 0.15
        return x[:, chosen], x_test[:, chosen]


class FitsByItself(Sound):
    """Nearest mean without task.learner: seen from outside only."""

    def votes(self, task):
        x, y = task.x_train.reshape(task.shape.n_train, -1) / 255.0, task.y_train
        x_test = task.x_test.reshape(task.shape.n_test, -1) / 255.0
        c, votes = task.shape.n_labels, 0
        for rows in self.draw(task):
            labels = np.unique(y[rows])
            means = [self.mean(x, y, rows[y[rows] == label], label) for label in labels]
            away = np.stack([((x_test - mean) ** 2).sum(1) for mean in means])
            votes = votes + np.eye(c, dtype=np.int64)[labels[away.argmin(0)]]
        return votes

    def mean(self, x, y, rows, label):
        return x[rows].mean(0)

    def gather(self, task):
        return {"votes": self.votes(task)}


class FitsByItselfToAll(FitsByItself):
    def gather(self, task):
        weight = int(task.x_train.astype(np.int64).sum())
        return {"votes": self.votes(task) * 10**7 + weight}


class SeedsFromTheClock(Sound):
    def draw(self, task):
        rng = np.random.default_rng(time.time_ns())
        return rng.integers(task.shape.n_train, size=(len(task.models), self.params.k))


class DrawsFromNumpysGlobalState(Sound):
    def draw(self, task):
        size = (len(task.models), self.params.k)
        return np.random.randint(task.shape.n_train, size=size)  # noqa: NPY002 - what is caught


class SeedsTorch(Sound):
    def gather(self, task):
        torch.manual_seed(1)
        return super().gather(task)


class SpoilsTheFeatures(Sound):
    def inputs(self, task):
        x, x_test = super().inputs(task)
        x_test *= 0.5
        return x, x_test


class FollowsTheTestOrder(Sound):
    def gather(self, task):
        votes = self.votes(task)
        votes[0] = votes[0, ::-1]
        return {"votes": votes}


class KeepsACounter(Sound):
    drawn = 0

    def blocks(self, shape, lookup):
        return even_blocks(self.params.n_models, 12)

    def draw(self, task):
        self.drawn += 1
        return (super().draw(task) + self.drawn) % task.shape.n_train


class LeavesAGap(Sound):
    def blocks(self, shape, lookup):
        return [range(10), range(11, 24)]


class TrainsForACertificate(Sound):
    def draw(self, task):
        return super().draw(task) + (self.params.split == "per-example")

    def votes(self, task):
        drawn = self.draw(task).max() >= 0
        return super().votes(task) * int(drawn)

    def inputs(self, task):
        x, x_test = super().inputs(task)
        return torch.cat([x, x[:1]]), x_test

    def gather(self, task):
        y = task.y_train
        task.y_train = np.append(y, y[:1])
        try:
            return super().gather(task)
        finally:
            task.y_train = y


class AssumesTwoLabels(Sound):
    def votes(self, task):
        return super().votes(task)[:, [0, 1]]

    def gather(self, task):
        votes = self.votes(task)
        return {"votes": votes, "means": votes.mean() + np.zeros(2)[task.y_train].mean()}


class StoresObjects(Sound):
    def gather(self, task):
        return {"votes": self.votes(task), "names": np.array([None, "a"], dtype=object)}

    def merge(self, parts):
        return parts[0]


class CertifiesMoreUnderAny(Sound):
    def radii(self, evidence, threat, alpha):
        return super().radii(evidence, threat, alpha) + (threat is Threat.ANY)


class TakesTheWrongTail(Sound):
    def radii(self, evidence, threat, alpha):
        return super().radii(evidence, threat, 1 - alpha)


class IgnoresAlpha(Sound):
    def radii(self, evidence, threat, alpha):
        return super().radii(evidence, threat, 0.01)


class UsesAlphaAndSaysNot(Sound):
    def guarantee(self, alpha):
        return DETERMINISTIC


class SaysAnotherAlpha(Sound):
    def guarantee(self, alpha):
        return Guarantee.probabilistic(alpha / 2)


class ReadsTheCount(Sound):
    """Every block says what share of all base models it is."""

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        return even_blocks(self.params.n_models, 8)

    def gather(self, task: Task) -> Arrays:
        return {**super().gather(task), "share": np.array(len(task.models) / self.params.n_models)}


class HalfARadius(Sound):
    def radii(self, evidence, threat, alpha):
        return super().radii(evidence, threat, alpha) / 2


class NegativeRadii(Sound):
    def radii(self, evidence, threat, alpha):
        return super().radii(evidence, threat, alpha) - 5


class WrongShape(Sound):
    def certify(self, evidence, threat, alpha):
        radii = self.radii(evidence, threat, alpha)[:-1]
        votes = evidence["votes"][:-1]
        return PointwiseCertificate("", threat, self.guarantee(alpha), votes.argmax(1), radii)


class PredictsNoLabel(Sound):
    def certify(self, evidence, threat, alpha):
        radii = self.radii(evidence, threat, alpha)
        predictions = evidence["votes"].argmax(1) + 1
        return PointwiseCertificate("", threat, self.guarantee(alpha), predictions, radii)


class ReturnsAnArray(Sound):
    def certify(self, evidence, threat, alpha):
        return self.radii(evidence, threat, alpha)


class ChangesTheEvidence(Sound):
    def certify(self, evidence, threat, alpha):
        certificate = super().certify(evidence, threat, alpha)
        evidence["votes"][:, 0] += 1
        return certificate


class CertifiesByChance(Sound):
    def radii(self, evidence, threat, alpha):
        found = super().radii(evidence, threat, alpha)
        return found + np.random.default_rng().integers(0, 9, found.shape)


class CertifiesFromMemory(Sound):
    def gather(self, task):
        self.memory = self.votes(task)
        return {"votes": self.memory}

    def certify(self, evidence, threat, alpha):
        return super().certify(Evidence({"votes": self.memory}, 48, 2, 64), threat, alpha)


class RisesWithR(Sound):
    bound = staticmethod(lambda p, r: max(0.0, float(p.mean()) - abs(r - 5) / 20))

    def certify(self, evidence, threat, alpha):
        share = evidence["votes"] / evidence["votes"].sum(1, keepdims=True)
        return AccuracyCertificate("", threat, self.guarantee(alpha), share, self.bound)


class LeavesTheUnitInterval(RisesWithR):
    bound = staticmethod(lambda p, r: float(p.mean()) - r / 20)


class ForgetsToHalveTheLead(Sound):
    """Votes of disjoint parts: r rewritten parts move r votes from one label to the other."""

    isolated = False

    def draw(self, task):
        return np.arange(2 * len(task.models)).reshape(-1, 2) % task.shape.n_train

    def guarantee(self, alpha):
        return DETERMINISTIC

    def covers(self):
        return frozenset({Threat.LABEL_FLIP})

    def radii(self, evidence, threat, alpha):
        two = np.sort(evidence["votes"], axis=1)[:, -2:]
        return two[:, 1] - two[:, 0]


class DealsOutByPosition(ForgetsToHalveTheLead):
    """Whoever removes an example moves all that come after it."""

    isolated = True

    def covers(self):
        return frozenset({Threat.INSERT, Threat.DELETE})

    def draw(self, task):
        m = len(task.models)
        return np.arange(task.shape.n_train // m * m).reshape(-1, m).T

    def radii(self, evidence, threat, alpha):
        return (super().radii(evidence, threat, alpha) - 1).clip(0) // 2


class NoDescriptions(Sound):
    class Params(SoundParameters):
        radius: int = 3


class TakesAnyParameter(Sound):
    class Params(SoundParameters):
        model_config = ConfigDict(extra="allow")


class CoversNothing(Sound):
    def covers(self):
        return frozenset()


class CoversAString(Sound):
    def covers(self):
        return frozenset({"modify"})


WRONG = [
    (LeaksTheMean, "isolation: one and the same example, as base models", "a mean, a scale"),
    (LeaksTheMeanWithOneExample, "noise replaced training example 0, and also", "(8 of 8 tried)"),
    (LeaksTheRange, "isolation: one and the same example, as base", "hold for no other"),
    (LeaksIntoThePrediction, "training example 0 changed the test features that", "isolation: "),
    (LeaksBetweenModels, "whose own examples stayed as they were predicts", "isolation: noise"),
    (LeaksIntoTheVotes, "isolation: noise in place of", "votes, but not a single base model"),
    (DealsOutASortedSet, "moved other examples between the samples of", "a rank"),
    (ChoosesTheFeaturesFromAll, "was given something else when noise replaced all", "a validation"),
    (FitsByItselfToAll, "isolation: a single base model of k = 2 examples", "one at a time"),
    (SeedsFromTheClock, "training can be repeated: trained twice", "from the clock"),
    (DrawsFromNumpysGlobalState, "the global random state of numpy", "task.rng()"),
    (SeedsTorch, "the global random state of torch", "task.rng()"),
    (SpoilsTheFeatures, "changed features raw of the test set in place", "other cells share"),
    (FollowsTheTestOrder, "order of test examples does not matter: ", "test example"),
    (KeepsACounter, "blocks can be trained in any order: ", "kept between blocks"),
    (LeavesAGap, "range(11, 24)", "none empty"),
    (TrainsForACertificate, "trained with split=per-example, votes at", "share their evidence"),
    (AssumesTwoLabels, "with three labels, raised IndexError", "two labels assumed"),
    (StoresObjects, "evidence is plain: gather returned names as object", "never pickled"),
    (CertifiesMoreUnderAny, "at alpha = 0.001, test example", "under modify and"),
    (TakesTheWrongTail, "larger alpha never certifies less: under any, test example", "1 - alpha"),
    (IgnoresAlpha, "alpha = 1e-100 proves exactly as much", "never reaches the confidence bounds"),
    (UsesAlphaAndSaysNot, "it needs no alpha, yet alpha changes it: radii of test", "estimate"),
    (SaysAnotherAlpha, "for alpha = 0.001 says probabilistic (alpha=0.0005", "states its alpha"),
    (ReadsTheCount, "with n_models=48 instead of half as many, share is", "no count_field"),
    (HalfARadius, "raised ValueError: radii must be integers", "rounded down to whole numbers"),
    (NegativeRadii, "raised ValueError: a radius is never below -1", "test_testing.py, line"),
    (WrongShape, "radii have shape (11,); wanted one for each of 12", "transposed"),
    (PredictsNoLabel, "test example 1 is predicted 2; wanted 0 to 1", "predictions and radii"),
    (ReturnsAnArray, "certify returned ndarray, no Certificate", "predictions and radii"),
    (ChangesTheEvidence, "changed the evidence votes: ", "changed in place"),
    (CertifiesByChance, "called twice, gave two answers: radii of test example", "without chance"),
    (CertifiesFromMemory, "has no attribute 'memory'", "gather kept on self"),
    (RisesWithR, "under any, certified accuracy rises from", "at r = 1"),
    (LeavesTheUnitInterval, "under any, certified accuracy is -0.", "clipped to [0, 1]"),
    (ForgetsToHalveTheLead, "certifies test example", "yet the label of training example"),
    (
        DealsOutByPosition,
        "removing training example 23 moved other examples between",
        "a position, a count",
    ),
    (NoDescriptions, "the parameter radius has no description", "Help, errors"),
    (TakesAnyParameter, "(unheard_of=1) is accepted", "parameters can be read"),
    (CoversNothing, "threats are declared: it covers no threat", "Why: A certificate"),
    (CoversAString, "it covers 'modify'; wanted a harness.threats.Threat", "a string"),
]


def test_a_sound_defense_passes(registry: Registry) -> None:
    report = check_defense(Sound, registry=registry)
    assert report.skipped == {}
    assert str(report) == "sound: 23 properties hold"


@pytest.mark.parametrize("wrong", WRONG, ids=lambda row: row[0].__name__)
def test_a_wrong_defense_is_caught_and_explained(registry: Registry, wrong: Any) -> None:
    defense, *words = wrong
    with pytest.raises(ConformanceError) as caught:
        check_defense(defense, registry=registry)
    for part in (*words, "Usually: ", "sound breaks "):
        assert part in str(caught.value)


def test_a_learner_need_not_be_used(registry: Registry) -> None:
    """Isolation is then seen from outside: one model of two examples follows two of them."""
    assert "isolation" in check_defense(FitsByItself, registry=registry).held


def test_what_says_nothing_about_a_defense_is_skipped(registry: Registry) -> None:
    report = check_defense("label-flip", registry=registry)
    assert report.skipped["isolation"].startswith("it does not say that base models are isolated")
    assert "skipped larger alpha never certifies less: its guarantee is not" in str(report)


def test_where_training_fails_it_is_told_once(registry: Registry) -> None:
    class Fails(Sound):
        def gather(self, task):
            raise ZeroDivisionError("no\nexamples")

    with pytest.raises(ConformanceError) as caught:
        check_defense(Fails, registry=registry)
    message = str(caught.value)
    assert message.count("raised ZeroDivisionError: no examples") == 1
    assert "Also breaks: evidence is plain, " in message


def test_what_builds_on_a_broken_property_is_postponed(registry: Registry) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_defense(SeedsFromTheClock, registry=registry)
    assert "sound breaks 1 of " in str(caught.value)
    last = str(caught.value).splitlines()[-1]
    assert last.startswith("Tried when this is mended: ")
    assert "isolation" in last
    assert "certify is pure" not in last

    class TestWrong(DefenseConformance):
        defense = SeedsFromTheClock

    TestWrong.registry = registry
    with pytest.raises(unittest.SkipTest, match="does not hold: training can be repeated"):
        TestWrong().test_isolation()


def test_a_name_that_is_not_installed_is_one_line(registry: Registry) -> None:
    class TestUnknown(DefenseConformance):
        defense = "sound"

    TestUnknown.registry = registry
    wanted = "nothing could be tried: unknown defense 'sound'; .* once it is installed: python -m"
    with pytest.raises(ConformanceError, match=wanted):
        TestUnknown().test_threats()


def test_an_instance_is_tried_as_it_is(registry: Registry) -> None:
    report = check_defense(Sound(SoundParameters(k=5, n_models=30)), registry=registry)
    assert report.name == "sound[k=5,n_models=30]"


def test_what_was_chosen_is_not_lowered(registry: Registry) -> None:
    report = check_defense("bagging[k=5,learner=naive-bayes]", registry=registry)
    assert report.name == "bagging[k=5,n_models=24,learner=naive-bayes]"


def test_a_data_set_of_ones_own(registry: Registry) -> None:
    data = tiny_dataset(n_labels=3, n_train=30, n_test=5)
    assert "edge shapes work" in check_defense(Sound, registry=registry, dataset=data).held
    with pytest.raises(UsageError, match="two labels; this one has 3"):
        check_defense("feature-flip", registry=registry, dataset=data)


def test_the_class_has_a_test_for_each_property() -> None:
    tests = [value for name, value in vars(DefenseConformance).items() if name.startswith("test_")]
    assert [test.__doc__ for test in tests] == [prop.check.__doc__ for prop in PROPERTIES]
    assert all(test.__doc__ for test in tests)


def test_the_class_fails_and_skips_as_the_call_does(registry: Registry) -> None:
    class TestWrong(DefenseConformance):
        defense = LeaksTheMean

    TestWrong.registry = registry
    with pytest.raises(ConformanceError, match="sound: isolation: one and the same example"):
        TestWrong().test_isolation()
    TestWrong().test_certify_is_pure()

    class TestSkipped(DefenseConformance):
        defense = "label-flip"

    TestSkipped.registry = registry
    with pytest.raises(unittest.SkipTest, match="not probabilistic"):
        TestSkipped().test_larger_alpha()


def test_pytest_is_not_needed() -> None:
    program = "import sys, harness.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
