"""What a run says of where it comes from: commands that work, of earlier runs too, of no machine"""

import json
import pickle
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

import harness
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.base import Dataset
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.defenses.bagging import Bagging, BaggingParameters
from harness.errors import RunFolderError, UsageError
from harness.plugins.registry import load_registry
from harness.results import provenance
from harness.results.earlier import FROM, made_before
from harness.running.plan import Base, make_plan
from harness.running.quiet import Quiet
from harness.threats import Threat

SMALL = "bagging[k=5,n_models=20,features=raw]"
MORE = "bagging[k=7,n_models=20,features=raw]"
DPA = "dpa[n_models=20,features=raw]"


class MajorityParameters(Parameters):
    shift: int = Field(0, ge=0, description="added to every label")


class Majority(Defense[MajorityParameters]):
    """The label that most training examples have, for every test example."""

    name = "majority"
    title = paper = "majority"
    Params = MajorityParameters

    def covers(self) -> frozenset[Threat]:
        return frozenset({Threat.LABEL_FLIP})

    def gather(self, task: Task) -> Arrays:
        counts = np.bincount(task.y_train, minlength=task.shape.n_labels)
        return {"votes": np.tile(counts, (task.shape.n_test, 1))}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        votes = np.sort(evidence["votes"], axis=1)
        radii = np.maximum((votes[:, -1] - votes[:, -2] - 1) // 2, -1)
        winner = evidence["votes"].argmax(axis=1)
        return PointwiseCertificate("majority", threat, DETERMINISTIC, winner, radii)


def edited(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def test_the_latest_run_is_told_of_first_within_a_second_too() -> None:
    second, next_second = "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"
    made = [
        {"created": second, "suite": "first"},
        {"created": next_second, "suite": "third"},
        {"created": second, "suite": "second"},
    ]
    cells = [{"label": "a", FROM: made[0]}, {"label": "b", FROM: made[1]}, {"label": "c"}]
    cells += [{"label": "d", FROM: made[2]}, {"label": "e", FROM: made[0]}]
    assert made_before(cells) == [(["b"], made[1]), (["d"], made[2]), (["a", "e"], made[0])]


def test_a_cell_that_is_kept_says_which_run_made_it(tiny_npz: Path, tmp_path: Path) -> None:
    data = f"npz:{tiny_npz}"
    folder = tmp_path / "run"
    harness.run([SMALL], dataset=data, threats="any", output=folder)
    first = ["harness", "run", "first", "--store", "/home/me/store", "/home/me/my.toml"]
    git = {"commit": "c0ffee", "dirty": True}
    edited(folder, command=first, versions={"poisoning-harness": "0.0.9"}, git=git, suite="mine")
    second = harness.run([DPA], dataset=data, threats="any", output=folder)
    cells = {cell["label"]: cell for cell in second.manifest["cells"]}
    assert FROM not in cells[DPA]
    made = cells[SMALL][FROM]
    assert made["command"] == first
    assert (made["git"], made["suite"]) == (git, "mine")
    assert {"created", "versions", "machine", "device", "threads"} <= made.keys()
    third = harness.run([MORE], dataset=data, threats="any", output=folder)
    cells = {cell["label"]: cell for cell in third.manifest["cells"]}
    assert cells[SMALL][FROM] == made
    assert cells[DPA][FROM]["command"] == second.manifest["command"]

    page = (folder / "report.html").read_text()
    assert "harness run first" in page
    assert "c0ffee (changed)" in page

    third.publish(tmp_path / "published")
    readme = (tmp_path / "published" / "README.md").read_text()
    assert readme.count("and before it by `harness run") == 2
    assert "and before it by `harness run first my.toml` with version 0.0.9." in readme
    text = (tmp_path / "published" / "manifest.json").read_text()
    assert "/home/me" not in text + readme
    assert harness.load(tmp_path / "published").defenses == [SMALL, DPA, MORE]
    # Made again, it is this run's own.
    again = harness.run([SMALL], dataset=data, threats="any", output=folder)
    assert FROM not in again.manifest["cells"][0]


def test_a_cell_of_a_run_that_was_interrupted_is_its_first_runs(
    tiny: Dataset, tmp_path: Path
) -> None:
    class Impatient(Quiet):
        def start(self, cell: str, total: int, done: int) -> None:
            raise KeyboardInterrupt

    first = harness.run([SMALL], dataset=tiny, output=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        harness.run([SMALL, DPA], dataset=tiny, output=tmp_path, progress=Impatient())
    last = harness.run([MORE], dataset=tiny, output=tmp_path)
    assert last.manifest["cells"][0][FROM]["command"] == first.manifest["command"]


def test_the_code_of_a_pipelines_steps_is_among_the_sources(tiny: Dataset) -> None:
    steps = "sklearn.preprocessing.StandardScaler,sklearn.tree.DecisionTreeClassifier"
    plan = make_plan(
        load_registry(),
        [f"bagging[k=5,n_models=20,features=raw,learner=pipeline({steps})]"],
        tiny,
        threats=[Threat.ANY],
        alpha=0.001,
        seed=0,
    )
    assert [name.split()[0] for name in provenance.sources(plan.cells)] == ["scikit-learn"]


def test_a_call_that_no_command_can_do_is_told_as_a_call(tmp_path: Path) -> None:
    y = np.arange(40) % 2
    mine = harness.Dataset.from_arrays(y[:, None] / 2, y, y[:10, None] / 2, y[:10])
    cells = [Majority(MajorityParameters(shift=1)), Bagging(BaggingParameters(k=5, n_models=20))]
    run = harness.run(cells, dataset=mine, threats="any", seed=[0, 1], output=tmp_path / "run")
    call = (
        "harness.run([Majority(MajorityParameters(shift=1)), "
        "Bagging(BaggingParameters(k=5, n_models=20))], dataset=<Dataset 'arrays'>, "
        "threats=['any'], alpha=0.001, seed=[0, 1])"
    )
    assert run.manifest["command"] == ["python", call]
    run.publish(tmp_path / "published")
    assert f"Made in Python by `{call}`" in (tmp_path / "published" / "README.md").read_text()


def test_a_command_loses_no_digit_and_an_object_that_has_a_name_is_named(tiny_npz: Path) -> None:
    cell: Any = Bagging(BaggingParameters(k=5))
    planned = harness.plan(cell, dataset=f"npz:{tiny_npz}", alpha=0.012345678901)
    words = planned.words()
    assert words[:4] == ["harness", "run", "-d", "bagging[k=5]"]
    assert words[words.index("--alpha") + 1] == "0.012345678901"
    assert harness.plan(Majority, dataset=f"npz:{tiny_npz}").words()[0] == "python"


def test_a_sweep_over_named_data_is_a_command_for_each(tiny_npz: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(tiny_npz.read_bytes())
    names = [f"npz:{tiny_npz}", f"npz:{other}"]
    for output in (None, tmp_path / "runs"):
        runs = harness.sweep(DPA, dataset=names, threats="any", output=output)
        assert isinstance(runs, dict)
        commands = [run.manifest["command"] for run in runs.values()]
        assert [words[words.index("--dataset") + 1] for words in commands] == names


def test_what_is_the_same_at_every_alpha_is_one_cell_of_a_folder(
    tiny: Dataset, tmp_path: Path
) -> None:
    harness.run([SMALL, DPA], dataset=tiny, output=tmp_path)
    for alpha in (0.01, [0.01, 0.1]):
        run = harness.run([SMALL, DPA], dataset=tiny, output=tmp_path, alpha=alpha)
        assert [label for label in run.defenses if label.startswith("dpa")] == [DPA]
    assert f"{SMALL}@alpha=0.01" in run.defenses
    # One that is asked for by that name keeps it, in a new folder as in this one.
    for output in (None, tmp_path):
        asked = [DPA, f"{DPA}@alpha=0.01"]
        planned = harness.plan(asked, dataset=tiny, output=output)
        assert [cell.label for cell in planned.plan.cells] == asked


class Silent(Majority):
    name = "silent"

    def guarantee(self, alpha: float) -> Any:
        raise RuntimeError("not implemented")


def test_a_defense_that_cannot_say_its_guarantee_can_be_planned(tiny: Dataset) -> None:
    for base in (None, Base(0, 0.001)):
        plan = make_plan(
            load_registry(), [Silent], tiny, threats=[Threat.ANY], alpha=0.01, seed=0, base=base
        )
        assert plan.cells[0].error is None


def test_a_label_may_be_spelt_in_any_way(tiny: Dataset) -> None:
    run = harness.run([SMALL], dataset=tiny, threats="any", seed=[0, 1])
    for text in (
        "bagging[n_models=20,features=raw,k=5]",
        "bagging[ k = 5, n_models=20, features=raw, learner=ridge ]",
        f"{SMALL}@seed=0",
    ):
        assert run.certificates(text, "any").equals(run.certificates(SMALL, "any"))
    of_1 = run.certificates("bagging[seed=1,n_models=20,k=5,features=raw]", "any")
    assert of_1.equals(run.certificates(f"{SMALL}@seed=1", "any"))
    assert not np.array_equal(of_1["radius"], run.certificates(SMALL, "any")["radius"])
    wrong: Any = 5
    for text, message in (
        ("bagging[k=6]", "unknown defense 'bagging[k=6]'"),
        ("bagging[k=", "unknown defense 'bagging[k='; Allowed: bagging[k=5"),
        (wrong, "5 is no label"),
    ):
        with pytest.raises(UsageError) as caught:
            run.certificates(text, "any")
        assert message in str(caught.value)


def test_a_copy_whose_scratch_folder_is_gone_says_so(tiny: Dataset) -> None:
    run = harness.run([SMALL], dataset=tiny, threats="any")
    copies = [copy(run), pickle.loads(pickle.dumps(run))]  # noqa: S301
    assert len(copies[0].certificates(SMALL, "any")) == tiny.n_test
    del run
    import gc

    gc.collect()
    for one in copies:
        for call in (lambda one=one: one.certificates(SMALL, "any"), one.report):
            with pytest.raises(RunFolderError, match=r"the scratch folder .* is gone .* output="):
                call()


def test_what_starting_over_removes_is_named(tiny: Dataset, tmp_path: Path) -> None:
    harness.run([SMALL, DPA, MORE], dataset=tiny, output=tmp_path)
    told = Quiet()
    harness.run([SMALL], dataset=tiny, output=tmp_path, fresh=True, progress=told)
    assert f"--fresh removes {DPA}, {MORE}" in told.notes
    told = Quiet()
    harness.run([SMALL], dataset=tiny, output=tmp_path, fresh=True, progress=told)
    assert not any("removes" in note for note in told.notes)
