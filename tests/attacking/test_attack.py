"""``harness.attack`` and ``harness attack``: what they keep, resume, repeat and refuse."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import harness
from harness.attacking.again import load_again
from harness.attacking.assault import VAIN, Assault, Order
from harness.attacking.victim import CLEAN, Victim
from harness.attacks.base import Attack
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.cli.program import program
from harness.datasets.poisoning import Poisoning
from harness.defense import Evidence
from harness.plugins.registry import Registered, load_registry
from harness.results.attacks import read_attacks
from harness.running.task import Inputs
from harness.testing.data import border_dataset
from harness.threats import Threat


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """150 training and 40 test examples of MNIST 1/7, in a file that commands find again."""
    data = harness.plan("bagging").plan.dataset
    train = np.random.default_rng(1).choice(data.n_train, 150, replace=False)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    arrays = {"x_train": data.x_train[train], "y_train": data.y_train[train]}
    np.savez(path, **arrays, x_test=data.x_test[:40], y_test=data.y_test[:40], label_set=[0, 1])
    return path


@pytest.fixture(scope="module")
def run(npz, tmp_path_factory):
    """A run of three defenses, and what attacks on it found."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    made = harness.run(
        ["knn[k=31]", "dpa[n_models=9]", "bagging[k=3,n_models=200]"],
        dataset=f"npz:{npz}",
        threats=["insert", "label-flip"],
        output=folder,
        store="off",
    )
    return made, harness.attack(made, examples=4, store="off")


def called(*words):
    return CliRunner().invoke(program, [str(word) for word in words])


def test_reached_is_beyond_proved_and_one_beyond_for_neighbours(run):
    made, found = run
    assert not found.refuted
    assert not found.failures
    table = found.table
    assert set(table["defense"]) == set(made.defenses)
    reached = table.dropna(subset=["reached"])
    assert (reached["reached"] > reached["proved"]).all()
    knn = reached[(reached["defense"] == "knn[k=31]") & (reached["chosen"] == "sampled")]
    assert len(knn) == 8
    assert (knn.groupby(["threat", "example"])["proof_gap"].min() == 1).all()
    assert (made.folder / "report.html").exists()


def test_an_attack_that_could_take_no_less_is_tried_at_the_weakest_only(run):
    _, found = run
    table = found.table
    others = table[(table["defense"] == "knn[k=31]") & ~table["attack"].isin(["own", "adaptive"])]
    sampled = others[others["chosen"] == "sampled"]
    assert len(sampled)
    assert not sampled["trainings"].any()
    assert sampled["reached"].isna().all()
    weakest = others[others["chosen"] == "weakest"]
    assert (weakest["largest"] >= 1).all()


def test_where_all_are_attacked_the_six_weakest_are_attacked_by_all_too(npz, tmp_path):
    made = harness.run(
        "knn[k=31]",
        dataset=f"npz:{npz}",
        threats="label-flip",
        output=tmp_path / "run",
        store="off",
    )
    table = harness.attack(made, examples=None, store="off").table
    nearest = table[table["attack"] == "nearest"]
    able = nearest[nearest["proved"] >= 1]
    assert len(able) > 6
    assert (able["trainings"] > 0).sum() >= 6
    tried = able[able["trainings"] > 0]
    assert tried["proved"].max() <= able["proved"].sort_values().iloc[6]


def test_one_that_takes_no_less_time_and_again_is_left_out():
    class Fixed(Attack):
        """Flips the label of the first training examples."""

        name = "fixed"
        summary = "the first"

        def poison(self, target, threat, r):
            return Poisoning.flip(np.arange(min(r, 3)), target.rivals[0])

    class Surer(Fixed):
        name = "surer"

        def poison(self, target, threat, r):
            return Poisoning.flip(np.arange(5, 5 + min(r, 2)), target.rivals[0])

    victim = Pretended()
    assault = Assault(victim, {"surer": Surer(), "fixed": Fixed()})
    tried = []
    for example in range(VAIN + 2):
        order = Order(Threat.LABEL_FLIP, example, 0, 0, (1,), ("surer", "fixed"))
        outcome = assault.carry_out(order)
        tried.append([one.trainings > 0 for one in outcome.attempts])
    assert tried == [[True, True]] * VAIN + [[True, False]] * 2
    order = Order(Threat.LABEL_FLIP, 0, 0, 1, (1,), ("surer", "fixed"), thorough=True)
    for found in assault.carry_out(order).attempts:  # it is tried where others need no more
        assert found.trainings > 0


class Pretended:
    """A victim that is turned by labels 5 and 6, and by nothing else."""

    cell = SimpleNamespace(alpha=0.001, seed=0)
    defense = SimpleNamespace(guarantee=lambda alpha: DETERMINISTIC)
    data = border_dataset((0,))
    trainings = 0

    def evidence(self, poisoning, tests, seed=None, *, remembered=True):
        self.trainings += 1
        turned = {5, 6} <= set(poisoning.flipped.tolist())
        return Evidence({"votes": np.array([[int(not turned), int(turned)]])}, 20, 2, 1)

    def certify(self, evidence, threat):
        votes = evidence["votes"]
        return PointwiseCertificate(
            "pretended", threat, DETERMINISTIC, votes.argmax(axis=1), np.zeros(1, np.int64)
        )


def test_what_is_kept_turns_the_prediction_again(run):
    made, found = run
    kept = [row for row in found.rows if row.reached is not None][:3]
    for row in kept:
        said = called("attack", "--replay", made.folder / row.poisoning)
        assert said.exit_code == 0, said.output
        assert f"{row.attack} with {row.reached:,} turns it" in said.output


def test_what_was_attacked_is_not_attacked_again(run, monkeypatch):
    made, found = run
    monkeypatch.setattr(Victim, "evidence", lambda *_: pytest.fail("it is trained again"))
    assert harness.attack(made, examples=4, store="off").rows == found.rows


def test_of_other_code_nothing_holds_that_was_attacked(run, tmp_path):
    """Rows without a success have no file that would tell whose they are."""
    made, found = run
    folder = shutil.copytree(made.folder, tmp_path / "run")
    cells = folder / "attacks" / "cells.json"
    told = json.loads(cells.read_text())
    assert set(told) == set(made.defenses)
    cells.write_text(json.dumps(told | {"dpa[n_models=9]": "dpa-of-another-day"}))
    again = harness.attack(folder, cells="knn[k=31]", examples=4, store="off")
    assert len(again.rows) == len(found.rows)  # of cells that are not asked for nothing is known
    again = harness.attack(folder, cells="dpa[n_models=9]", examples=4, store="off", budget=1e-3)
    assert {row.defense for row in again.rows} == set(made.defenses) - {"dpa[n_models=9]"}


def test_a_cell_is_found_however_its_parameters_are_written(npz, tmp_path):
    made = harness.run(
        ["dpa[n_models=9,hash=content]"], dataset=f"npz:{npz}", output=tmp_path / "run", store="off"
    )
    options = {"examples": 1, "threats": "any", "attacks": "copies", "store": "off"}
    found = harness.attack(made, cells="dpa[hash=content,n_models=9]", **options)
    assert {row.defense for row in found.rows} == {"dpa[n_models=9,hash=content]"}
    with pytest.raises(harness.UsageError, match=r"the run has no cell 'dpa'; allowed: dpa\["):
        harness.attack(made, cells="dpa", **options)
    with pytest.raises(harness.UsageError, match="nothing under insert; allowed: modify, any"):
        harness.attack(made, **options | {"threats": "insert"})


def test_a_poisoned_set_is_trained_on_as_a_run_trains_on_it(run, npz):
    made, _ = run
    again = load_again(made.folder, load_registry())
    inputs = Inputs(again.plan, __import__("torch").device("cpu"))
    data = again.data
    poisoning = Poisoning(
        deleted=np.array([3]),
        flipped=np.array([7]),
        flipped_y=1 - data.y_train[[7]],
        replaced=np.array([0]),
        replaced_x=data.x_test[:1],
        replaced_y=np.array([1]),
        inserted_x=data.x_test[[2, 2, 5]],
        inserted_y=np.array([0, 1, 1]),
    )
    x, y = poisoning.apply(data)
    fresh = harness.Dataset.from_arrays(
        x, y, data.x_test, data.y_test, label_set=[0, 1], range=(0, 255), n_public=data.n_train
    )
    whole = harness.run(made.defenses, dataset=fresh, threats="insert", store="off")
    everything = np.arange(data.n_test)
    for cell in again.cells:
        victim = Victim(inputs, load_registry(), cell)
        victim.evidence(CLEAN, everything)
        evidence = victim.evidence(poisoning, everything)
        found = victim.certify(evidence, Threat.INSERT).by_example
        expected = whole.certificates(cell.label, "insert")
        assert found.predictions.tolist() == expected["prediction"].tolist()
        assert found.radii.tolist() == expected["radius"].tolist()


class Cheat(Attack):
    """Changes more than it may."""

    name = "cheat"
    summary = "more than r"
    threats = frozenset({Threat.LABEL_FLIP})

    def poison(self, target, threat, r):
        return Poisoning.replace([0], target.x[None], target.rivals[0])


class Broken(Attack):
    """Raises."""

    name = "broken"
    summary = "raises"

    def poison(self, target, threat, r):
        raise RuntimeError("no idea")


def test_an_attack_that_raises_or_cheats_is_named_and_the_others_go_on(run, monkeypatch):
    registry = load_registry()
    for kind in (Cheat, Broken):
        registry.attacks.entries[kind.name] = Registered(kind, "a test")
    monkeypatch.setattr("harness.api.load_registry", lambda: registry)
    found = harness.attack(run[0], cells="knn[k=31]", examples=4, store="off")
    notes = "\n".join(found.notes)
    assert "knn[k=31], label-flip: attack cheat is refused: it replaces 1 training" in notes
    assert "attack broken raises RuntimeError: no idea" in notes
    assert len(found.rows) >= len(run[1].rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--examples", "0"], "examples=0 is not allowed"),
        (["--examples", "few"], "'few' is not allowed; wanted a number, or all"),
        (["--budget", "0"], "budget=0.0 is not allowed"),
        (["--attack", "copy"], "unknown attack 'copy'; did you mean copies?"),
        (["--threat", "inserts"], "unknown threat 'inserts'; did you mean insert?"),
        (["-d", "knn[k=3]"], "the run has no cell 'knn[k=3]'; allowed:"),
    ],
)
def test_a_mistake_is_one_line(run, words, said):
    result = called("attack", run[0].folder, *words)
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_without_a_run_and_without_a_defense_there_is_nothing_to_attack():
    result = called("attack")
    assert result.exit_code == 2
    assert (
        result.output == "harness: nothing to attack: name a run's folder, or a defense with -d\n"
    )


def test_a_cell_whose_code_is_another_is_not_attacked(run, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run[0].folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["cells"][0]["evidence"] = "knn-0123456789abcdef"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    found = harness.attack(copy, examples=4, store="off")
    assert list(found.failures) == ["knn[k=31]"]
    assert "changed since the run" in found.failures["knn[k=31]"]
    assert called("attack", copy, "--examples", "4", "--store", "off").exit_code == 3


def test_a_refuted_certificate_ends_the_command_with_1(run, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run[0].folder, copy)
    rows = (copy / "attacks.csv").read_text().splitlines()
    head, first = rows[0].split(","), None
    for i, line in enumerate(rows[1:], 1):
        cells = dict(zip(head, line.split(","), strict=True))
        if cells["reached"] and cells["defense"] == "knn[k=31]":
            cells["reached"], cells["proof_gap"] = cells["proved"], "0"
            rows[i], first = ",".join(cells.values()), cells
            break
    assert first is not None
    (copy / "attacks.csv").write_text("\n".join(rows) + "\n")
    result = called("attack", copy, "--examples", "4", "--store", "off")
    assert result.exit_code == 1, result.output
    assert "REFUTED: knn[k=31]" in result.output
    assert "REFUTED" in (copy / "summary.md").read_text()
    assert read_attacks(copy)


def test_attacks_are_listed_and_shown():
    assert {"copies", "nearest", "influence"} <= set(harness.list_attacks()["name"])
    assert "copies of the test example" in called("show", "copies").output
    assert "adaptive" in called("list").output
