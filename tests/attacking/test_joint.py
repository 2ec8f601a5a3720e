"""One poisoned set against all test examples: what is left, and what does not hold is refuted."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import harness
from harness.attacking.joint import Joint, Shape, mean_upper
from harness.attacking.together import merged
from harness.attacking.victim import Victim
from harness.attacks.names import OWN
from harness.certificates import AccuracyCertificate, CollectiveCertificate
from harness.cli.program import program
from harness.datasets.poisoning import Poisoning
from harness.defenses.dp.defense import DifferentialPrivacy
from harness.defenses.partition.dpa import Dpa
from harness.plugins.registry import load_registry
from harness.results.cells import Cell, Plan
from harness.running.task import Inputs
from harness.threats import Threat


@dataclass(frozen=True)
class TooMuch(CollectiveCertificate):
    def certified_accuracy(self, labels, r):
        return np.full(len(np.atleast_1d(r)), self.clean_accuracy(labels)) * (np.array(r) < 60)

    def last_radius(self, labels):
        return 59


@dataclass(frozen=True)
class TooSure(AccuracyCertificate):
    def certified_accuracy(self, labels, r):
        return np.full(len(np.atleast_1d(r)), self.clean_accuracy(labels)) * (np.array(r) < 190)

    def last_radius(self, labels):
        return 189


class UnsoundParts(Dpa):
    name = "unsound-parts"

    def certify(self, evidence, threat, alpha):
        found = super().certify(evidence, threat, alpha)
        values = (found.method, found.threat, found.guarantee, found.predictions, found.radii)
        return TooMuch(*values, found.turned)


class UnsoundPrivacy(DifferentialPrivacy):
    name = "unsound-privacy"

    def certify(self, evidence, threat, alpha):
        found = super().certify(evidence, threat, alpha)
        values = (found.method, found.threat, found.guarantee, found.label_probabilities)
        return TooSure(*values, found.bound)


@pytest.fixture(scope="module")
def small():
    data = harness.plan("bagging").plan.dataset
    train = np.random.default_rng(0).choice(data.n_train, 200, replace=False)
    return harness.Dataset.from_arrays(
        data.x_train[train],
        data.y_train[train],
        data.x_test[:60],
        data.y_test[:60],
        label_set=[0, 1],
        range=(0, 255),
        n_public=200,
        name="small",
    )


def attacked(kind, parameters, threat, data, folder):
    made = kind(kind.Params(**parameters))
    harness.run([made], dataset=data, threats=threat, output=folder, store="off")
    return harness.attack(folder, dataset=data, defenses=kind, store="off")


PARTS = {"n_models": 15, "certificate": "collective"}
PRIVACY = {"n_models": 60, "epsilon": 2.0, "examples": "centred"}
CASES = [
    (Dpa, UnsoundParts, PARTS, "label-flip"),
    (DifferentialPrivacy, UnsoundPrivacy, PRIVACY, "insert"),
]


@pytest.mark.parametrize(("sound", "unsound", "parameters", "threat"), CASES)
def test_what_does_not_hold_is_refuted(sound, unsound, parameters, threat, small, tmp_path):
    found = attacked(unsound, parameters, threat, small, tmp_path / "run")
    row = found.refuted[0]
    assert row.reached < row.certified_accuracy
    assert (found.folder / row.poisoning).exists()


@pytest.mark.parametrize(("sound", "unsound", "parameters", "threat"), CASES)
def test_what_holds_is_not_and_is_not_attacked_twice(
    sound, unsound, parameters, threat, small, tmp_path
):
    found = attacked(sound, parameters, threat, small, tmp_path / "run")
    assert len(found.joint) >= 3
    assert not found.refuted
    clean = harness.load(found.folder).summary["clean_accuracy"].iloc[0]
    assert min(row.reached for row in found.joint) < clean - 0.1
    table = (found.folder / "attacks-joint.csv").read_text()
    assert harness.attack(found.folder, dataset=small, store="off").joint == found.joint
    assert (found.folder / "attacks-joint.csv").read_text() == table


@pytest.fixture(scope="module")
def private(small, tmp_path_factory):
    """A run of which the whole test set is attacked, from a file that commands find again."""
    folder = tmp_path_factory.mktemp("private")
    path = folder / "small.npz"
    arrays = {"x_train": small.x_train, "y_train": small.y_train, "label_set": [0, 1]}
    np.savez(path, **arrays, x_test=small.x_test, y_test=small.y_test)
    made = harness.run(
        ["dp[n_models=60,epsilon=2.0,examples=centred]"],
        dataset=f"npz:{path}",
        threats="insert",
        output=folder / "run",
        store="off",
    )
    return harness.attack(made, store="off")


def test_poison_against_one_example_turns_others_like_it(small):
    """Spread over all test examples it turns few base models, aimed at one of them many."""
    dpa = Dpa(Dpa.Params(n_models=15))
    cell = Cell("dpa", "dpa", "", dpa, "")
    inputs = Inputs(Plan(small, 0, (), cell.alpha, (cell,)), torch.device("cpu"))
    joint = Joint(Victim(inputs, load_registry(), cell), Threat.LABEL_FLIP, {})
    assert {shape.place for shape in joint.shapes() if shape.attack == OWN} > {0.75, 0.5}

    def left(*shape):
        return joint.carry_out(Shape(OWN, *shape), 40, float("inf")).left

    assert min(left(0.0, side, 0.75) for side in (0, 1)) < left(1.0) - 0.1


def test_one_that_was_kept_is_carried_out_again(private):
    row = min(private.joint, key=lambda row: row.reached)
    file = str(private.folder / row.poisoning)
    said = CliRunner().invoke(program, ["attack", "--replay", file])
    assert said.exit_code == 0, said.output
    assert "insert, all test examples at once" in said.output
    assert f"{row.attack} with {row.r:,} leaves {row.reached:.4f}; " in said.output
    assert f"{row.certified_accuracy:.4f} is proved" in said.output


def test_workers_find_what_one_process_finds(private, tmp_path):
    folder = shutil.copytree(private.folder, tmp_path / "run")
    (folder / "attacks-joint.csv").unlink()
    there = harness.attack(folder, workers=2, store="off")
    found = {row.r: row.reached for row in private.joint}
    assert {row.r: row.reached for row in there.joint} == pytest.approx(found)


def test_poisonings_are_merged_up_to_r_and_each_example_changed_once():
    some = [Poisoning.flip([1, 2], 0), Poisoning.flip([2, 3], 0), Poisoning.flip([4], 0)]
    whole = merged(some, Threat.LABEL_FLIP, 3)
    assert whole.flipped.tolist() == [1, 2, 3]
    assert merged([], Threat.LABEL_FLIP, 3) is None


def test_the_bound_on_a_mean_is_that_of_hoeffding():
    assert mean_upper(0.0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert mean_upper(1.0, 100, 0.05) == 1
    assert 0.5 < mean_upper(0.5, 1000, 0.001) <= 0.5 + np.sqrt(np.log(1000) / 2000)
