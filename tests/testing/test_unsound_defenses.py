"""Unsound defenses that got past the conformance suite, or that were published: each is refused."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import Field

from harness.attacks.base import Attack
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.defenses.bagging import Bagging, certified_poisoning_size
from harness.defenses.partition.dpa import LABEL_IN_HASH, Dpa, DpaParameters, count
from harness.defenses.partition.parts import Hash, hashed_parts
from harness.defenses.partition.training import rankings
from harness.errors import UsageError
from harness.plugins.registry import Registered, Registry
from harness.proofs.confidence import simuem
from harness.testing import ConformanceError, check_defense
from harness.testing.attacks import ATTACKS
from harness.testing.bench import make_bench
from harness.threats import Threat


class PartsFollowTheSize(Dpa):
    name = "parts-follow-the-size"

    class Params(DpaParameters):
        per_part: int = Field(10, ge=1, description="examples in a part, about")

    def parts(self, shape):
        return max(1, shape.n_train // self.params.per_part)

    def blocks(self, shape, lookup):
        return [range(self.parts(shape))]

    def gather(self, task):
        parts = hashed_parts(task.x_train, task.y_train, self.parts(task.shape), "features")
        return evidence(task, "ridge", parts)


def evidence(task, learner, parts):
    inputs = task.features("hog")
    ranked = rankings(task, task.learner(learner), inputs, parts)
    return count(ranked, task.shape) | {LABEL_IN_HASH: np.array(0)}


class AlphaForEachExample(Bagging):
    name = "alpha-for-each-example"

    def certify(self, evidence, threat, alpha):
        bounds = simuem(evidence["votes"], alpha, split="per-example")
        radii = certified_poisoning_size(
            bounds.p_lower, bounds.p_upper, evidence.n_train, self.params.k, threat
        )
        guarantee = self.guarantee(alpha)
        return PointwiseCertificate("theorem-1", threat, guarantee, bounds.prediction, radii)


class AModificationRewritesOnePart(Dpa):
    name = "a-modification-rewrites-one-part"

    def certify(self, evidence, threat, alpha):
        one = super().certify(evidence, Threat.INSERT, alpha)
        return PointwiseCertificate(one.method, threat, DETERMINISTIC, one.predictions, one.radii)


class OneAttackerRewritesOnePart(Dpa):
    """The collective program with a modification that rewrites one part."""

    name = "one-attacker-rewrites-one-part"

    def certify(self, evidence, threat, alpha):
        cheap = super().certify(evidence, Threat.INSERT, alpha)
        right = super().certify(evidence, threat, alpha)
        return replace(right, turned=cheap.turned)


class PooledScale(Dpa):
    """Features standardised by the mean and the deviation of the whole training set."""

    name = "pooled-scale"

    def gather(self, task):
        x, x_test = task.features("raw")
        mean, scale = x.mean(dim=0), x.std(dim=0) + 1e-6
        parts = hashed_parts(task.x_train, task.y_train, self.params.n_models, "features")
        ranked = rankings(
            task, task.learner("ridge"), ((x - mean) / scale, (x_test - mean) / scale),
            [parts[i] for i in task.models],
        )  # fmt: skip
        return count(ranked, task.shape) | {LABEL_IN_HASH: np.array(0)}


class PartsByPosition(Dpa):
    name = "parts-by-position"

    def gather(self, task):
        m = self.params.n_models
        parts = [np.arange(task.shape.n_train)[i::m] for i in range(m)]
        return evidence(task, "ridge", parts)


class PenaltyFollowsTheSize(Dpa):
    name = "penalty-follows-the-size"

    def gather(self, task):
        parts = hashed_parts(task.x_train, task.y_train, self.params.n_models, "features")
        penalty = 1e-6 * task.shape.n_train**3
        return evidence(task, f"ridge(penalty={penalty})", [parts[i] for i in task.models])


class TwiceTheRadius(Bagging):
    name = "twice-the-radius"

    def certify(self, evidence, threat, alpha):
        one = super().certify(evidence, threat, alpha)
        radii = np.where(one.radii > 0, 2 * one.radii + 1, one.radii)
        return PointwiseCertificate(one.method, threat, one.guarantee, one.predictions, radii)


class SampleFollowsTheSize(Bagging):
    name = "sample-follows-the-size"

    def gather(self, task):
        k = max(1, task.shape.n_train // 16)
        return type(self)(self.params.model_copy(update={"k": k}))._votes(task)

    def _votes(self, task):
        return super().gather(task)


class BaggingPenaltyFollowsTheSize(Bagging):
    name = "bagging-penalty-follows-the-size"

    def gather(self, task):
        learner = f"ridge(penalty={1e-6 * task.shape.n_train**3})"
        return Bagging(self.params.model_copy(update={"learner": learner})).gather(task)


class PartsByRank(Dpa):
    """Parts by the rank of an example among all: an inserted one moves those behind it."""

    name = "parts-by-rank"
    isolated = False

    def gather(self, task):
        order = np.argsort(task.x_train.reshape(task.shape.n_train, -1).sum(1), kind="stable")
        rank = np.argsort(order)
        m = self.params.n_models
        parts = [np.flatnonzero(rank % m == i) for i in range(m)]
        return evidence(task, "ridge", parts)


class PartsByPlace(Dpa):
    """Does not say that base models are isolated, and has no parameter to make it small."""

    name = "parts-by-place"
    isolated = False

    class Params(DpaParameters):
        n_models: int = Field(3, ge=3, le=3, description="parts")

    def gather(self, task):
        return evidence(task, "ridge", [np.arange(task.shape.n_train)[i::3] for i in range(3)])


class ALabelMovesNothing(Dpa):
    """Its hash takes the label in, and a changed label is said to rewrite one part."""

    name = "a-label-moves-nothing"

    class Params(DpaParameters):
        n_models: int = Field(24, ge=24, le=24, description="parts")
        hash: Hash = Field("content", description="what decides an example's part")

    def certify(self, evidence, threat, alpha):
        arrays = evidence.arrays | {LABEL_IN_HASH: np.array(0)}
        return super().certify(replace(evidence, arrays=arrays), threat, alpha)


class OneMoreWhereThereIsMuch(Dpa):
    """Right where one or two poisonings are certified, one too large beyond."""

    name = "one-more-where-there-is-much"

    def certify(self, evidence, threat, alpha):
        one = super().certify(evidence, threat, alpha)
        radii = one.radii + (one.radii > 2)
        return PointwiseCertificate(one.method, threat, DETERMINISTIC, one.predictions, radii)


class NeedsEnoughExamples(Dpa):
    name = "needs-enough-examples"

    def check(self, shape):
        if shape.n_train < 20:
            raise UsageError(f"{shape.n_train} examples are too few; allowed: 20 or more")


class ReadsTheLabelsOff(Dpa):
    """Codes labels by those that occur, as most published programs do."""

    name = "reads-the-labels-off"

    def gather(self, task):
        labels = np.unique(task.y_train)
        parts = hashed_parts(task.x_train, task.y_train, self.params.n_models, "features")
        votes = np.zeros((task.shape.n_test, task.shape.n_labels), np.int64)
        x, x_test = task.features("raw")
        for i, own in enumerate(parts):
            winner = np.zeros(len(votes), np.int64)  # of an empty part: the first label there is
            if own.size:
                y = task.labels()[own]
                model = task.learner("1nn").fit(
                    x[own][None], y[None], task.shape.n_labels, task.rng().spawn(i + 1)[i]
                )
                winner = np.searchsorted(labels, model.predict(x_test)[0].numpy())
            votes[np.arange(len(votes)), winner] += 1
        return {"votes": votes, LABEL_IN_HASH: np.array(0)}


@pytest.mark.parametrize(
    ("defense", "words"),
    [
        (
            PartsFollowTheSize,
            ["isolation: removing the training examples 0, 2, 4, 6, ... moved", "number of parts"],
        ),
        (
            AlphaForEachExample,
            ["it says probabilistic (alpha=0.1 per defense), yet", "takes alpha / (e c)"],
        ),
        (
            AModificationRewritesOnePart,
            ["certified modify attacks change nothing: ", "leaves one part and enters another"],
        ),
        (
            PenaltyFollowsTheSize,
            ["isolation: removing training example 0 changed the scores", "a penalty that follows"],
        ),
        (
            SampleFollowsTheSize,
            ["isolation: removing every other training example changed the size of all samples"],
        ),
        (
            BaggingPenaltyFollowsTheSize,
            ["changed the learners from ridge(penalty=0.1", "a penalty that follows its size"],
        ),
        (PartsByRank, ["attacks change nothing: ", "a base model that sees more"]),
        (PooledScale, ["isolation: one and the same example, as"]),
        (PartsByPosition, ["isolation: removing"]),
        (
            TwiceTheRadius,
            ["certified label flip attacks change nothing: ", "a radius that is too large"],
        ),
        (PartsByPlace, ["certified delete attacks change nothing: ", "deleted makes it"]),
        (
            ALabelMovesNothing,
            ["certified label flip attacks change nothing: ", "the attack own (", "another label"],
        ),
        (OneMoreWhereThereIsMuch, ["certified label flip attacks change nothing: ", "the attack"]),
        (NeedsEnoughExamples, ["deleted, it refuses: 19 examples are too few", "no prediction"]),
        (ReadsTheLabelsOff, ["change nothing: ", "the labels that occur"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_unsound_defense_is_refused_with_the_right_words(
    registry: Registry, defense: type, words: list[str]
) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_defense(defense, registry=registry)
    for part in (f"{defense.name}[", *words):
        assert part.removesuffix("[") in str(caught.value)


@pytest.mark.parametrize("threat", list(Threat))
def test_a_radius_that_is_too_large_shows_under_every_threat(
    registry: Registry, threat: Threat
) -> None:
    """The suite stops at the weakest attacker that shows it: each must."""
    bench = make_bench(TwiceTheRadius, None, registry)
    assert any("yet the attack " in text for text in ATTACKS[threat].check(bench))


def test_an_unsound_collective_certificate_is_refused(registry: Registry) -> None:
    unsound = OneAttackerRewritesOnePart(DpaParameters(n_models=30, certificate="collective"))
    with pytest.raises(ConformanceError) as caught:
        check_defense(unsound, registry=registry)
    assert "certified modify attacks change nothing: " in str(caught.value)
    assert "that no attack of size 1 turns the test examples" in str(caught.value)


def test_an_attack_that_fails_says_nothing_of_a_defense_unless_it_is_its_own(
    registry: Registry,
) -> None:
    class Fails(Attack):
        name = summary = "fails"

        def poison(self, target, threat, r):
            raise RuntimeError("no idea")

    class CannotAttack(Dpa):
        name = "cannot-attack"

        def attack(self, target, threat, r):
            return Poisoning.flip([0] * r, 1) if r > 1 else None

    entries = {**registry.attacks.entries, "fails": Registered(Fails, "a test")}
    other = replace(registry, attacks=replace(registry.attacks, entries=entries))
    assert not check_defense("dpa[n_models=7]", registry=other).unattacked
    with pytest.raises(ConformanceError) as caught:
        check_defense(CannotAttack, registry=registry)
    told = "its own attack under label-flip: it changes a training example twice"
    assert told in str(caught.value)


def test_where_nothing_could_be_attacked_it_is_said_first(registry: Registry) -> None:
    report = check_defense("feature-flip", registry=registry)
    assert report.unattacked == ("certified modify attacks change nothing",)
    second = str(report).splitlines()[1]
    assert second.startswith("  NOT ATTACKED: nothing was attacked under modify: on the small data")
