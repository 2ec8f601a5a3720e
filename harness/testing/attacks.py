"""The definition of a certificate, tried: no attack of a certified size changes a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.attacking.victim import CLEAN
from harness.errors import UsageError
from harness.testing.bench import ALPHA
from harness.testing.campaign import Campaign
from harness.testing.certificates import predictions_and_radii
from harness.testing.data import border_dataset, mingled_dataset
from harness.testing.isolation import isolation
from harness.testing.properties import Property, property_of
from harness.testing.radius import at_the_radius
from harness.testing.training import training_can_be_repeated
from harness.testing.verdicts import NotApplicable, NothingAttacked
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset
    from harness.testing.bench import Bench

_FEW = (2, 3, 10)
"""Base models of the small variants: a lead of few votes shows a tie that was forgotten, and of two
examples for each model what one example can move in the others."""
_MANY = ({"n_models": 400, "k": 2}, {"n_models": 400})
"""Sampled base models certify little unless there are many, each of few examples: the first that a
defense has."""

_LONGEST = 0.5
"""Seconds that one training of a variant may take, for it to be attacked."""

_USUALLY = (
    "a radius that is too large: a vote that the winner loses is one that a rival may gain (a "
    "factor 2), a tie goes to the smaller label, a modified example leaves one part and enters "
    "another (a factor 2); or a base model that sees more than was assumed: the labels that occur, "
    "the number of examples, a number of parts or a penalty that follows it"
)


@property_of(
    "an exception where a part is empty or has one label, a check of shape.n_train, labels or "
    "classes read off task.y_train, or values so extreme that something overflows",
    after=(training_can_be_repeated, predictions_and_radii),
)
def every_training_set_is_answered(bench: Bench) -> Iterator[str]:
    """Whatever training set of the domain an attacker leaves, the defense trains on it: where it
    does not, there is no prediction, and no certificate excludes that.
    """
    for campaign in campaigns(bench):
        for text in campaign.unanswered:
            yield f"{campaign.bench.label}: {text}"


def _attacks_under(threat: Threat, before: tuple[Property, ...]) -> Property:
    """The property that what is certified under one threat holds against attacks that were tried.

    One for each threat, so that it shows under which of them nothing could be attacked.
    """
    first = (training_can_be_repeated, predictions_and_radii, isolation)

    def check(bench: Bench) -> Iterator[str]:
        if threat not in bench.threats:
            raise NotApplicable(f"it does not cover {threat}")
        attacked = 0
        for campaign in campaigns(bench):
            if _certifies_alike(bench, campaign.bench):
                attacked += campaign.attacked.get(threat, 0)
            yield from (one.text for one in campaign.contradictions if one.threat is threat)
        for variant in (one for one in _variants(bench) if one.label not in bench.slow):
            before = variant.certify(threat).by_example
            if before is not None and before.radii.max() >= 1:
                attacked += _certifies_alike(bench, variant)
                yield from at_the_radius(variant, threat, before)
        if not attacked:
            raise NothingAttacked(f"nothing was attacked under {threat}: {_why(bench, threat)}")

    check.__name__ = f"certified_{threat.name.lower()}_attacks_change_nothing"
    check.__doc__ = (
        "A prediction with radius r is the same after any r poisonings (Jia et al., Eq. 3). Single "
        "and double poisonings, from the corners of the domain and where they hurt, are trained "
        "on; and of each predicted label the example with the largest radius is attacked with just "
        "so many."
    )
    return Property(check, _USUALLY, (*first, every_training_set_is_answered, *before))


def _certifies_alike(bench: Bench, other: Bench) -> bool:
    """Whether what holds of the other's certificates holds of these: certify reads the same."""
    names = bench.defense.params.certify_only()
    return all(getattr(bench.defense.params, n) == getattr(other.defense.params, n) for n in names)


def _why(bench: Bench, threat: Threat) -> str:
    certificate = bench.certify(threat)
    if certificate.by_example is None:
        return (
            f"its certificate is about {certificate.kind}, of which a few examples tell nothing; "
            "harness attack takes the whole test set"
        )
    return (
        "on the small data sets it certifies no single test example against r = 1, or only in "
        "seconds; set tried_with to parameters that do it quickly"
    )


def _attacks() -> dict[Threat, Property]:
    """The weakest attacker first: one mistake then shows once, and stronger ones are postponed."""
    made: dict[Threat, Property] = {}
    for threat in (
        Threat.LABEL_FLIP,
        Threat.DELETE,
        Threat.INSERT,
        Threat.MODIFY,
        Threat.ANY,
    ):
        made[threat] = _attacks_under(threat, tuple(made.values()))
    return made


ATTACKS = _attacks()
"""The property for each threat."""


def campaigns(bench: Bench) -> list[Campaign]:
    """The attacks on small variants of the defense, made once for a bench."""
    tried: list[Campaign] = bench.kept.setdefault("campaigns", [])
    if not tried:
        slow = bench.slow
        for small in map(bench.poisoned, _small_datasets()):
            variants = _variants(small)[1:] if _trains(small) else []
            made = [Campaign(one) for one in variants if one.label not in slow]
            slow |= {one.bench.label for one in made if one.took > _LONGEST}
            quick = [one for one in made if one.took <= _LONGEST]
            if variants:
                tried.extend(one.run() for one in quick or [Campaign(small)])
    return tried


def _trains(bench: Bench) -> bool:
    """Whether the defense takes such data at all: some are for bytes, or for two labels."""
    try:
        bench.defense.check(bench.shape)
        bench.trained_on(CLEAN)
    except UsageError:
        return False
    return True


def _small_datasets() -> tuple[Dataset, ...]:
    """Two labels of bytes; four labels of any float32, one of them rare and one absent; and two
    labels that follow from nothing.
    """
    return border_dataset(), border_dataset((1, 3), (2,), 4, floats=True), mingled_dataset()


def _variants(bench: Bench) -> list[Bench]:
    """The defense as it is, and with parameters under which a few examples are certified."""
    kind, tried = bench.defense.guarantee(ALPHA).kind, bench.defense.tried_with
    made = [bench.with_params(**tried)] if tried else []
    if kind == "deterministic":
        made += [bench.with_params(n_models=n_models) for n_models in _FEW]
    elif kind == "probabilistic" and not tried:
        many = (bench.with_params(**change) for change in _MANY)
        made += [next((one for one in many if one is not None), None)]
    others = [one for one in made if one is not None and one.label != bench.label]
    return [bench, *(others or [bench])]
