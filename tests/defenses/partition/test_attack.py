"""The attack on partitions, carried out: what is proved holds, and what is not proved falls."""

from functools import cache

import numpy as np
import pytest
import torch

from harness.attacking.aim import Aim
from harness.attacking.verdict import pointwise
from harness.attacking.victim import CLEAN, Victim
from harness.plugins.registry import Registry, load_registry
from harness.plugins.selection import Selection
from harness.results.cells import Cell, Plan
from harness.running.task import Inputs
from harness.testing.data import tiny_dataset
from harness.threats import Threat

TESTS = np.arange(6)


@cache
def registry() -> Registry:
    return load_registry()


def victim(spec: str, n_labels: int = 2, n_train: int = 48) -> Victim:
    selection = Selection.parse(spec)
    defense = selection.build(registry().defenses[selection.name].value)
    cell = Cell(spec, selection.name, "", defense, "")
    data = tiny_dataset(n_labels, n_train, len(TESTS))
    return Victim(Inputs(Plan(data, 0, (), 0.001, (cell,)), torch.device("cpu")), registry(), cell)


def aims(of: Victim, threat: Threat) -> list[Aim]:
    """Every test example, as it is on the clean training set."""
    found = pointwise(of.certify(of.evidence(CLEAN, TESTS), threat))
    shared: dict[str, object] = {}
    every = range(of.data.n_labels)
    return [
        Aim(of, threat, i, p, r, tuple(b for b in every if b != p), shared)
        for i, (p, r) in enumerate(
            zip(found.predictions.tolist(), found.radii.tolist(), strict=True)
        )
    ]


def reached(aim: Aim, most: int) -> int | None:
    """The smallest size up to ``most`` with which the defense's own attack succeeds."""
    for r in range(1, most + 1):
        poisoning = aim.defense.attack(aim, aim.threat, r)
        assert poisoning is not None
        poisoning.check(aim.data, aim.threat, r)
        if aim.ask(poisoning).turned:
            return r
    return None


SMALL = "features=raw"
SPECS = (
    f"dpa[n_models=9,{SMALL}]",
    f"dpa[n_models=9,hash=content,{SMALL}]",
    f"finite-aggregation[n_models=12,spread=2,{SMALL}]",
    f"hash-bagging[parts=7,partitions=2,{SMALL}]",
    f"hash-bagging[parts=7,partitions=2,hash=content,{SMALL}]",
)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("threat", Threat)
def test_more_than_is_proved_and_not_much_more(spec: str, threat: Threat) -> None:
    found = []
    for aim in aims(victim(spec), threat)[:3]:
        size = reached(aim, 48)
        assert size is not None
        assert size > aim.proved
        found.append(size / (aim.proved + 1))
    insert = threat is Threat.INSERT
    assert np.median(found) <= (1.5 if insert else 8)


def test_a_copy_in_every_part_is_all_that_an_insertion_takes() -> None:
    """Where parts are small, a copy of the example turns each: counting is exact."""
    of = victim(f"dpa[n_models=13,{SMALL}]")
    for aim in aims(of, Threat.INSERT):
        assert reached(aim, 13) == aim.proved + 1


@pytest.mark.parametrize("election", ["plurality", "run-off"])
@pytest.mark.parametrize("threat", [Threat.INSERT, Threat.ANY, Threat.LABEL_FLIP])
def test_three_labels(election: str, threat: Threat) -> None:
    of = victim(f"dpa[n_models=9,election={election},{SMALL}]", n_labels=3)
    for aim in aims(of, threat)[:3]:
        size = reached(aim, 20)
        assert size is not None
        assert size > aim.proved


def test_the_same_attack_every_time() -> None:
    of = victim(f"hash-bagging[parts=7,partitions=2,{SMALL}]")
    for threat in Threat:
        one, other = aims(of, threat)[0], aims(of, threat)[0]
        for r in (3, 1):
            first, second = (aim.defense.attack(aim, threat, r) for aim in (one, other))
            assert first is not None
            assert second is not None
            assert {key: value.tobytes() for key, value in first.arrays().items()} == {
                key: value.tobytes() for key, value in second.arrays().items()
            }


def test_learners_that_are_not_linear() -> None:
    of = victim(f"dpa[n_models=5,learner=naive-bayes,{SMALL}]")
    for threat in Threat:
        for aim in aims(of, threat)[:2]:
            size = reached(aim, 48)
            assert size is None or size > aim.proved
