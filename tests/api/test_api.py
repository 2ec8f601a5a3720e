"""The Python interface: every mistake is one line, nothing is printed, nothing exits."""

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field

import harness
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.cli.program import program
from harness.datasets.base import Dataset
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.defenses.bagging import Bagging, BaggingParameters
from harness.errors import CellFailed, DataError, HarnessError, UsageError
from harness.threats import Threat

SMALL = "bagging[k=5,n_models=20,features=raw]"


class MajorityParameters(Parameters):
    shift: int = Field(0, ge=0, description="added to every label")


class Majority(Defense[MajorityParameters]):
    """The label that most training examples have, for every test example."""

    name = "majority"
    title = paper = "majority"
    Params = MajorityParameters
    broken: ClassVar[str] = ""

    def covers(self) -> frozenset[Threat]:
        return frozenset({Threat.LABEL_FLIP})

    def gather(self, task: Task) -> Arrays:
        if self.broken:
            raise RuntimeError(self.broken)
        counts = np.bincount(task.y_train, minlength=task.shape.n_labels)
        return {"votes": np.tile(counts, (task.shape.n_test, 1))}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        votes = np.sort(evidence["votes"], axis=1)
        radii = np.maximum((votes[:, -1] - votes[:, -2] - 1) // 2, -1)
        winner = evidence["votes"].argmax(axis=1)
        return PointwiseCertificate("majority", threat, DETERMINISTIC, winner, radii)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> type[Majority]:
    monkeypatch.setattr(Majority, "broken", "no majority here")
    return Majority


def arrays() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(5)
    y, y_test = np.arange(40) % 2, np.arange(10) % 2
    return {
        "x_train": y[:, None] + rng.normal(0, 0.1, (40, 3)),
        "y_train": y,
        "x_test": y_test[:, None] + rng.normal(0, 0.1, (10, 3)),
        "y_test": y_test,
    }


def test_a_run_has_tables_a_figure_and_a_report(
    tiny: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = harness.run(SMALL, dataset=tiny, threats=["any", Threat.MODIFY])
    assert run.defenses == [SMALL]
    assert set(run.summary["threat"]) == {"any", "modify"}
    assert run.summary["k"].tolist() == [5, 5]
    assert {"r", "certified_accuracy", "defense"} <= set(run.curves.columns)
    table = run.certificates(SMALL, Threat.ANY)
    assert table.columns.tolist() == ["example", "label", "prediction", "radius"]
    assert table["label"].tolist() == tiny.y_test.tolist()
    right = table["label"] == table["prediction"]
    at_0 = run.summary.set_index("threat").loc["any", "certified_accuracy@0"]
    assert (right & (table["radius"] >= 0)).mean() == pytest.approx(at_0)
    assert isinstance(run.figure(), Figure)
    assert "<table" in run._repr_html_()
    assert SMALL in repr(run)
    assert run.failures == {}
    page = run.report(tmp_path / "report")
    assert page == tmp_path / "report" / "report.html"
    assert page.exists()
    assert capsys.readouterr() == ("", "")


def test_a_scratch_folder_goes_with_its_run(tiny: Dataset) -> None:
    run = harness.run(SMALL, dataset=tiny)
    folder = run.folder
    assert folder.exists()
    del run
    import gc

    gc.collect()
    assert not folder.exists()


def test_what_it_leaves_is_what_the_command_line_leaves(tiny_npz: Path, tmp_path: Path) -> None:
    data = f"npz:{tiny_npz}"
    harness.run(SMALL, dataset=data, threats="any", output=tmp_path / "python")
    arguments = ["run", "-d", SMALL, "--dataset", data, "--threat", "any"]
    arguments += ["--output", str(tmp_path / "shell")]
    assert CliRunner().invoke(program, arguments).exit_code == 0
    for name in ("curves.csv", "certificates.npz"):
        one, other = (tmp_path / where / name for where in ("python", "shell"))
        assert one.read_bytes() == other.read_bytes()
    loaded = harness.load(tmp_path / "shell")
    assert loaded.defenses == [SMALL]
    words = harness.load(tmp_path / "python").manifest["command"]
    shown = CliRunner().invoke(program, [*words[1:], "--dry-run"])
    assert shown.exit_code == 0, shown.stderr
    assert SMALL in shown.stdout.replace("\n", "")


def test_defenses_are_names_objects_or_classes(tiny: Dataset) -> None:
    mine = Bagging(BaggingParameters(k=5, n_models=20, features="raw"))
    run = harness.run([mine, Majority, Majority(MajorityParameters(shift=1))], dataset=tiny)
    assert run.defenses == [SMALL, "majority", "majority[shift=1]"]
    named = harness.run(SMALL, dataset=tiny)
    pd.testing.assert_frame_equal(run.certificates(SMALL, "any"), named.certificates(SMALL, "any"))
    n = np.bincount(tiny.y_train)
    expected = (abs(int(n[0]) - int(n[1])) - 1) // 2
    assert set(run.certificates("majority", "label-flip")["radius"]) == {max(expected, -1)}


def test_a_cell_that_fails_raises_unless_it_may_be_kept(
    tiny: Dataset, wrong: type[Majority], tmp_path: Path
) -> None:
    with pytest.raises(CellFailed, match="majority failed: RuntimeError: no majority here") as info:
        harness.run([wrong, SMALL], dataset=tiny, output=tmp_path)
    assert info.value.failures == {"majority": "RuntimeError: no majority here"}
    assert isinstance(info.value.run, harness.Run)
    assert len(info.value.run.certificates(SMALL, "any")) == tiny.n_test
    assert "\n" not in str(info.value)
    run = harness.run([wrong, SMALL], dataset=tiny, on_error="keep")
    assert run.failures == {"majority": "RuntimeError: no majority here"}


def test_a_failure_that_an_earlier_run_left_is_not_this_ones(
    tiny: Dataset, wrong: type[Majority], tmp_path: Path
) -> None:
    harness.run(wrong, dataset=tiny, output=tmp_path, on_error="keep")
    run = harness.run(SMALL, dataset=tiny, output=tmp_path)
    assert list(run.failures) == ["majority"]


def test_a_data_set_of_arrays_and_of_tensors(tiny: Dataset) -> None:
    import torch

    plain = harness.Dataset.from_arrays(**arrays())
    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    assert harness.Dataset.from_arrays(**tensors).digest == plain.digest
    run = harness.run(["dpa[n_models=10]", "feature-flip[n_models=20]"], dataset=plain)
    assert len(run.certificates("dpa[n_models=10]", "any")) == 10


def raised(call: Any) -> str:
    with pytest.raises(HarnessError) as caught:
        call()
    assert isinstance(caught.value, UsageError | DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("defenses", "options", "message"),
    [
        ("baging", {}, "unknown defense 'baging'; did you mean bagging"),
        ("bagging[k=0]", {}, "k=0 is not allowed"),
        ("bagging[k=5", {}, "'bagging[k=5' does not end with a bracket"),
        ("bagging[learner=ridge(penalty=1]", {}, "brackets or quotes do not match"),
        ("bagging[features=hog(cels=7)]", {}, "cels"),
        ([], {}, "no defense"),
        ([7], {}, "7 is no defense"),
        (int, {}, "is no defense"),
        ("nowhere.toml", {}, "the suite nowhere.toml cannot be read"),
        (SMALL, {"threats": "modfy"}, "unknown threat 'modfy'; did you mean modify"),
        (SMALL, {"alpha": 2}, "alpha must be above 0 and below 1, found 2"),
        (SMALL, {"alpha": "x"}, "alpha must be above 0 and below 1, found x"),
        (SMALL, {"seed": "x"}, "the seed must be a whole number of at least 0, found x"),
        (SMALL, {"device": "tpu"}, "unknown device 'tpu'"),
        (SMALL, {"timeout": -1}, "must be a number of seconds above 0, found -1"),
        (SMALL, {"on_error": "ignore"}, "on_error='ignore' is not allowed; allowed: 'raise'"),
        (SMALL, {"dataset": "mnist71"}, "unknown dataset 'mnist71'; did you mean mnist17"),
        (SMALL, {"dataset": 7}, "7 is no data set; wanted its name or a harness.Dataset"),
    ],
)
def test_mistakes_are_one_line(defenses: Any, options: dict[str, Any], message: str) -> None:
    assert message in raised(lambda: harness.run(defenses, **options))


def test_a_name_that_is_taken_is_refused(tiny: Dataset) -> None:
    class Other(Majority):
        name = "bagging"

    assert "is called 'bagging' as an installed defense is" in raised(
        lambda: harness.run(Other, dataset=tiny)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.arange(39) % 2}, "x_train has 40 examples and y_train has 39 labels"),
        ({"x_test": np.full((10, 3), np.nan)}, "x_test holds nan in example 0"),
        ({"x_test": np.zeros((10, 4))}, "an example has shape (3,) in x_train and (4,) in x_test"),
    ],
)
def test_arrays_that_do_not_fit(change: dict[str, NDArray[Any]], message: str) -> None:
    assert message in raised(lambda: harness.Dataset.from_arrays(**(arrays() | change)))


def test_a_closed_folder_is_one_line(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot write") as caught:
        harness.run(SMALL, dataset=tiny, output=tmp_path / "file" / "run")
    assert "\n" not in str(caught.value)
    with pytest.raises(HarnessError, match="no such folder"):
        harness.load(tmp_path / "nowhere")


def test_certificates_from_votes_are_those_of_the_command_line(tmp_path: Path) -> None:
    votes = np.array([[900, 100], [510, 490], [20, 980]])
    table = harness.certify("bagging", votes, n_train=60_000, k=100, threat="any")
    assert table.columns.tolist() == ["prediction", "radius"]
    np.savez(tmp_path / "votes.npz", votes=votes)
    command = ["certify", "bagging", "--votes", tmp_path / "votes.npz", "--n-train", 60_000]
    command += ["--set", "k=100", "--output", tmp_path / "out"]
    assert CliRunner().invoke(program, [str(word) for word in command]).exit_code == 0
    written = pd.read_csv(tmp_path / "out" / "certificates.csv")
    assert written[["prediction", "radius"]].values.tolist() == table.values.tolist()
    from_file = harness.certify("bagging", tmp_path / "votes.npz", n_train=60_000, k=100)
    pd.testing.assert_frame_equal(from_file, table)
    several = harness.certify("bagging", votes, n_train=60_000, k=100, threat=["any", "insert"])
    assert several.columns.tolist() == ["threat", "prediction", "radius"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "bagging needs --n-train"),
        ({"n_train": 100}, "bagging needs --set k="),
        ({"n_train": 100, "k": 5, "kk": 5}, "unknown parameter of bagging 'kk'"),
        ({"n_train": 100, "k": 5, "votes": [[1.5, 2]]}, "votes"),
        ({"n_train": 100, "k": 5, "votes": "nowhere.npz"}, "nowhere.npz"),
        ({"n_train": 100, "k": 5, "threat": "modfy"}, "unknown threat"),
        ({"n_train": 100, "k": 5, "alpha": 1}, "alpha must be above 0"),
    ],
)
def test_votes_that_cannot_be_certified(options: dict[str, Any], message: str) -> None:
    votes = options.pop("votes", [[9, 1]])
    assert message in raised(lambda: harness.certify("bagging", votes, **options))


def test_regressions_between_runs(tiny: Dataset, tmp_path: Path) -> None:
    base = harness.run([SMALL], dataset=tiny, threats="any", output=tmp_path / "base")
    same = harness.compare(base, tmp_path / "base")
    assert same.regressions == []
    worse = harness.run("bagging[k=40,n_models=20,features=raw]", dataset=tiny, threats="any")
    assert harness.compare(base, worse).regressions
    with pytest.raises(HarnessError, match="no baseline to compare with"):
        harness.compare(tmp_path / "nowhere", base)


def test_a_sweep_is_every_combination(tiny: Dataset, tmp_path: Path) -> None:
    run = harness.sweep("bagging[k=5|7,n_models=20,features=raw]", dataset=tiny, threats="any")
    assert isinstance(run, harness.Run)
    assert run.summary["k"].tolist() == [5, 7]
    other = harness.Dataset.from_arrays(**arrays(), name="mine")
    runs = harness.sweep(
        "dpa[n_models=10|20,features=raw]",
        dataset=[tiny, other],
        threats="any",
        output=tmp_path,
    )
    assert isinstance(runs, dict)
    assert list(runs) == ["tiny", "mine"]
    assert [run.folder for run in runs.values()] == [tmp_path / "tiny", tmp_path / "mine"]
    with pytest.raises(UsageError, match="two of these data sets are called alike"):
        harness.sweep("dpa", dataset=[tiny, tiny])


def test_progress_is_shown_when_it_is_asked_for(
    tiny: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    harness.run(SMALL, dataset=tiny, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{SMALL}: 20 base models" in err


def test_with_a_timeout_defenses_of_a_module_run_too(tiny: Dataset) -> None:
    run = harness.run([SMALL], dataset=tiny, timeout=600)
    named = harness.run(SMALL, dataset=tiny)
    pd.testing.assert_frame_equal(run.curves, named.curves)


def test_what_is_installed() -> None:
    assert {"bagging", "dpa"} <= set(harness.list_defenses()["name"])
    assert {"mnist17", "npz:"} <= set(harness.list_datasets()["name"])
    assert "ridge" in set(harness.list_learners()["name"])
    assert "hog" in set(harness.list_features()["name"])
    assert "jia2021-figure3" in set(harness.list_suites()["name"])


def test_everything_that_is_promised_is_there() -> None:
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    assert set(dir(harness)) == set(harness.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harness.nothing  # noqa: B018


def test_importing_it_imports_nothing_that_is_slow() -> None:
    slow = "{'numpy', 'torch', 'pandas', 'click', 'pydantic'}"
    code = f"import sys, harness; print(sorted({slow} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
