"""What is remembered from one poisoned set to the next is what it would be if made again."""

import numpy as np
import pytest
import torch

import harness
from harness.attacking.inputs import PoisonedInputs
from harness.attacking.remembered import Memory, RememberingTask
from harness.attacking.victim import CLEAN, Victim
from harness.datasets.poisoning import Poisoning
from harness.defenses.partition.training import _spawned
from harness.plugins.registry import load_registry
from harness.running.quiet import Quiet
from harness.running.task import Inputs

TESTS = np.array([0, 3, 11])


@pytest.fixture(scope="module")
def victims():
    """``made(defense)``: that cell on 120 training examples of MNIST 1/7, two of them equal."""
    data = harness.plan("bagging").plan.dataset
    some = np.random.default_rng(4).choice(data.n_train, 120, replace=False)
    x, y = data.x_train[some].copy(), data.y_train[some].copy()
    x[5], y[5] = x[9], 1 - y[9]
    small = harness.Dataset.from_arrays(
        x, y, data.x_test[:20], data.y_test[:20], label_set=[0, 1], range=(0, 255)
    )
    registry = load_registry()

    def made(defense):
        plan = harness.plan(defense, dataset=small).plan
        return Victim(Inputs(plan, torch.device("cpu")), registry, plan.cells[0])

    return made


def poisonings(data, *, flips):
    """Forty of them, at random: what is deleted, flipped, replaced and inserted, also twice."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows = rng.choice(data.n_train, 12, replace=False)
        count = rng.integers(0, 5, 4)
        flipped = rows[: count[0]]
        flip = Poisoning.flip(flipped, 1 - data.y_train[flipped])
        if flips:
            yield flip
            continue
        new = data.x_test[rng.integers(0, 4, count[3])]
        replaced = rows[8 : 8 + count[2] % 5]
        yield Poisoning(
            deleted=rows[4 : 4 + count[1]],
            flipped=flipped,
            flipped_y=1 - data.y_train[flipped],
            replaced=replaced,
            replaced_x=data.x_test[rng.integers(0, 4, len(replaced))],
            replaced_y=rng.integers(0, 2, len(replaced)),
            inserted_x=new,
            inserted_y=rng.integers(0, 2, len(new)),
        )


@pytest.mark.parametrize(
    "defense",
    [
        "dpa[n_models=15]",
        "dpa[n_models=15,hash=content]",
        "dpa[n_models=9,certificate=white-box]",
        "finite-aggregation[n_models=15,spread=3]",
        "hash-bagging[partitions=5,parts=7]",
        "hash-bagging[partitions=5,parts=7,hash=content]",
        "ss-dpa[n_models=15]",
        "dpa[n_models=5,learner=logistic]",
    ],
)
def test_it_leaves_the_evidence_of_one_that_remembers_nothing(victims, defense):
    victim = victims(defense)
    for poisoning in poisonings(victim.data, flips=defense.startswith("ss-dpa")):
        remembered = victim.evidence(poisoning, TESTS)
        fresh = victim.evidence(poisoning, TESTS, remembered=False)
        assert remembered.keys() == fresh.keys()
        for key in fresh:
            assert np.array_equal(remembered[key], fresh[key]), key


def test_most_models_are_asked_once(victims, monkeypatch):
    victim = victims("dpa[n_models=15]")
    victim.evidence(CLEAN, TESTS)
    fitted = []
    kind = type(victim.task(TESTS).learner("ridge"))
    fit = kind.fit
    monkeypatch.setattr(
        kind, "fit", lambda self, x, *rest: fitted.append(len(x)) or fit(self, x, *rest)
    )
    victim.evidence(Poisoning.flip(np.array([3]), 1 - victim.data.y_train[[3]]), TESTS)
    assert fitted == [1]


@pytest.fixture
def task(victims):
    victim = victims("dpa[n_models=15]")
    data = victim.poisoned(CLEAN, TESTS)
    inputs = PoisonedInputs(victim.inputs, data, np.arange(data.n_train), None, TESTS, {})
    arguments = victim.registry, victim.cell, range(15), 0, Quiet()
    return RememberingTask(inputs, *arguments, Memory())


def times(task, given):
    """How often something is made of the first three examples that is asked for twice."""
    made = []
    for _ in range(2):
        task.once(np.arange(3), given(), lambda: made.append(1))
    return len(made)


def test_what_is_made_of_what_the_task_gave_is_made_once(task):
    x, x_test = task.features("raw")
    assert times(task, lambda: (x, "a")) == 1
    assert times(task, lambda: (x, "a")) == 0
    assert times(task, lambda: (x, x_test, "a")) == 1
    assert times(task, lambda: (x, task.learner("ridge"), 3)) == 1
    assert times(task, lambda: (task.images()[0], "a")) == 1  # other values under the same name


def test_what_is_made_of_anything_else_is_made_again(task):
    x, _ = task.features("raw")
    assert times(task, lambda: (x - x.mean(dim=0), "a")) == 2
    assert times(task, lambda: (x.clone(), "a")) == 2
    assert times(task, lambda: (None, "a")) == 2
    own = task.features("raw", np.arange(task.shape.n_train))[0]
    assert times(task, lambda: (own, "b")) == 2
    x += 1  # who changes what it was given has something else
    assert times(task, lambda: (x, "a")) == 2


def test_labels_count_unless_they_are_said_not_to(victims):
    victim = victims("dpa[n_models=15]")
    memory, said = Memory(), []
    for label in (0, 1):
        poisoning = Poisoning.flip(np.array([2]), np.array([label]))
        data = victim.poisoned(poisoning, TESTS)
        inputs = PoisonedInputs(victim.inputs, data, np.arange(data.n_train), None, TESTS, {})
        arguments = victim.registry, victim.cell, range(15), 0, Quiet(), memory
        task = RememberingTask(inputs, *arguments)
        x, _ = task.features("raw")
        for labels in (True, False):
            told = task.once(np.arange(3), (x,), lambda label=label: label, labels=labels)
            said.append(told)
    assert said == [0, 0, 1, 0]


def test_a_generator_is_that_which_spawning_all_gives():
    for i, rng in enumerate(np.random.default_rng(7).spawn(5)):
        one = _spawned(np.random.default_rng(7), i)
        assert rng.integers(2**60, size=4).tolist() == one.integers(2**60, size=4).tolist()
