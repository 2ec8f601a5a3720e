"""What ``harness certify --output`` leaves is a run's folder: drawn, compared and published."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program
from harness.report.accuracy_figure import accuracy_figure
from harness.results.pointwise import load_pointwise
from harness.results.reader import load_run

UNLABELLED = "The true labels are not known."


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def votes(seed: int = 0, e: int = 60) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return np.stack([rng.multinomial(1000, p) for p in rng.dirichlet((9, 1, 1), e)])


LABELS = np.arange(60) % 5 == 0  # some predictions are wrong


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the folder of certificates of such votes."""

    def make(name: str, seed: int = 0, labels: Any = None, *more: str) -> Path:
        arrays = {} if labels is None else {"labels": labels}
        np.savez(tmp_path / f"{name}.npz", votes=votes(seed), **arrays)
        arguments = [
            "certify", "bagging[k=100]", "--votes", tmp_path / f"{name}.npz", "--n-train", "60000",
            "--threat", "any", "--threat", "label-flip", *more, "--output", tmp_path / name,
        ]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["harness", *map(str, arguments)])
        done = harness(*arguments)
        assert done.exit_code == 0, done.output
        return tmp_path / name

    return make


@pytest.mark.parametrize("labels", [None, LABELS])
def test_it_is_a_finished_run(certified: Any, labels: Any) -> None:
    folder = certified("mine", 0, labels)
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "certificates.csv", "certificates.npz", "curves.csv", "figures", "manifest.json",
        "report.html", "summary.csv", "summary.md",
    }  # fmt: skip
    run = load_run(folder)
    assert run.labelled == (labels is not None)
    assert list(run.summary["threat"]) == run.threats == ["any", "label-flip"]
    text = pd.read_csv(folder / "certificates.csv")
    for threat, table in text.groupby("threat"):
        one = load_pointwise(run)["bagging[k=100]", str(threat)]
        assert np.array_equal(one.predictions, table["prediction"])
        assert np.array_equal(one.radii, table["radius"])
        right = np.ones(60, bool) if labels is None else table["prediction"] == labels
        curve = run.curves[run.curves["threat"] == threat].set_index("r")["certified_accuracy"]
        for r in curve.index:
            assert curve[r] == pytest.approx(np.mean(right & (table["radius"] >= r)))
    manifest = run.manifest
    assert manifest["cells"][0]["n_models"] == 1000
    assert {"git", "sources", "versions", "fingerprint"} <= manifest.keys()


def test_drawing_it_again_says_what_the_curve_is_about(certified: Any) -> None:
    for name, labels in (("known", LABELS), ("unknown", None)):
        folder = certified(name, 0, labels)
        (folder / "report.html").unlink()
        done = harness("report", folder)
        assert done.exit_code == 0, done.output
        texts = [done.output, *((folder / n).read_text() for n in ("report.html", "summary.md"))]
        assert [UNLABELLED in text for text in texts] == [labels is None] * 3
        axis = accuracy_figure(load_run(folder)).axes[0].get_ylabel()
        wanted = "certified predictions, right or wrong" if labels is None else "certified accuracy"
        assert axis == wanted


def test_without_a_number_of_training_examples(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", votes=votes())
    done = harness("certify", "dpa", "--votes", tmp_path / "v.npz", "--output", tmp_path / "dpa")
    assert done.exit_code == 0, done.output
    assert "\n60 test examples, 3 labels." in (tmp_path / "dpa" / "summary.md").read_text()


@pytest.mark.parametrize("labels", [None, LABELS])
def test_the_same_votes_compare_as_the_same(certified: Any, labels: Any, tmp_path: Path) -> None:
    base, new = certified("base", 0, labels), certified("new", 0, labels)
    done = harness("compare", base, new, "--figure", tmp_path / "c.png")
    assert done.exit_code == 0, done.output
    assert "no regression" in done.output
    assert "0 better" in done.output
    assert "votes differ" not in done.output
    assert ("true labels are not known" in done.output) == (labels is None)


def test_other_votes_for_the_same_labels_are_compared(certified: Any) -> None:
    base, new = certified("base", 0, LABELS), certified("new", 1, LABELS)
    done = harness("compare", base, new)
    assert done.exit_code in (0, 1), done.output
    assert "votes differ" in done.output
    assert "numbers compared" in done.output


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ((0, None), (1, None), "without the true labels only certificates of the same votes can"),
        ((0, LABELS), (0, None), "without the true labels only certificates of the same votes can"),
        ((0, LABELS), (0, ~LABELS), "their true labels or numbers of training examples are not"),
    ],
)
def test_what_is_not_about_the_same_examples(
    certified: Any, one: Any, other: Any, why: str
) -> None:
    done = harness("compare", certified("base", *one), certified("new", *other))
    assert done.exit_code == 4, done.output
    assert why in " ".join(done.output.split())


def test_a_run_is_not_compared_with_votes(certified: Any, made_run: Any, made_cell: Any) -> None:
    run = made_run("run", made_cell("bagging[k=100]", {"any": [5] * 60}))
    done = harness("compare", run, certified("new", 0, LABELS))
    assert done.exit_code == 4, done.output
    said = "votes of somebody else do not tell which examples they are about"
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize("labels", [None, LABELS])
def test_it_is_published_and_sealed(certified: Any, labels: Any, tmp_path: Path) -> None:
    folder, report = certified("mine", 0, labels), tmp_path / "report"
    done = harness("publish", folder, report)
    assert done.exit_code == 0, done.output
    assert (UNLABELLED in (report / "README.md").read_text()) == (labels is None)
    assert str(tmp_path) not in (report / "README.md").read_text()
    assert "--votes mine.npz" in (report / "README.md").read_text()
    assert str(tmp_path) not in (report / "manifest.json").read_text()
    head = (report / "certificates.csv").read_text().splitlines()[0]
    assert ("labels" in head.split(",")) == (labels is not None)
    column = "certified_predictions" if labels is None else "certified_accuracy"
    for name in ("curves.csv", "summary.csv"):
        assert column in (report / name).read_text()
    assert harness("compare", report, folder).exit_code == 0
    manifest = json.loads((report / "manifest.json").read_text())
    del manifest["published"]
    (report / "manifest.json").write_text(json.dumps(manifest))
    unsealed = harness("compare", report, folder)
    assert unsealed.exit_code == 2
    assert "not as it was published: manifest.json was edited" in unsealed.output


def test_what_an_earlier_version_left_is_no_report_that_was_edited(certified: Any) -> None:
    """certificates.csv and manifest.json alone."""
    folder = certified("mine")
    for path in folder.iterdir():
        if path.name not in ("certificates.csv", "manifest.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = harness("report", folder)
    assert done.exit_code == 2
    assert "is not a finished run: curves.csv is missing" in done.output


def test_two_of_the_same_data_in_one_report(certified: Any, tmp_path: Path) -> None:
    one = certified("one", 0, None)
    other = certified("other", 0, None, "--set", "split=per-example")
    done = harness("report", one, other, "--output", tmp_path / "both")
    assert done.exit_code == 0, done.output
    both = load_run(tmp_path / "both")
    assert not both.labelled
    for name in ("curves.csv", "summary.csv"):
        assert "certified_accuracy" not in (tmp_path / "both" / name).read_text()
    assert len(both.summary) == 4


def test_a_summary_that_is_not_what_the_manifest_says(certified: Any) -> None:
    folder = certified("mine")
    text = (folder / "curves.csv").read_text()
    (folder / "curves.csv").write_text(text.replace("certified_predictions", "certified_accuracy"))
    done = harness("report", folder)
    assert done.exit_code == 2
    assert "curves.csv lacks the columns certified_predictions" in done.output
