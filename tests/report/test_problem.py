"""The domain in a report, and the base models that were not fitted."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.program import program
from harness.report import problem
from harness.results.reader import load_run

NEIGHBOURS = "sklearn.neighbors.KNeighborsClassifier(n_neighbors=6)"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    import numpy as np

    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "few.npz",
        x_train=rng.random((30, 4, 4)),
        y_train=np.arange(30) % 2,
        x_test=rng.random((9, 4, 4)),
        y_test=np.arange(9) % 2,
        range=np.array([0.0, 1.0]),
    )
    result = CliRunner().invoke(
        program,
        [
            *("run", "--dataset", f"npz:{folder / 'few.npz'}", "--output", str(folder / "run")),
            *("-d", "dpa[n_models=40,features=raw]", "-d", "bagging[k=20,n_models=30]"),
            *("-d", f"bagging[k=5,n_models=30,learner={NEIGHBOURS}]"),
        ],
    )
    assert result.exit_code == 0, result.output
    return folder / "run", result.output


def test_the_report_names_the_domain_and_what_nobody_declared(run: tuple[Path, str]) -> None:
    wanted = (
        "The attacker writes examples of the data set's domain: 4 x 4 values of float32 from 0 to "
        "1, 2 labels (0, 1). Not declared: the labels are those of training and test set together "
        "and n_public is the size of this training set."
    )
    assert problem.domain(load_run(run[0])) == wanted
    for name in ("report.html", "summary.md"):
        text = (run[0] / name).read_text().replace("&#39;", "'").replace("\\_", "_")
        assert wanted in text


def test_base_models_that_were_not_fitted_are_counted_everywhere(run: tuple[Path, str]) -> None:
    path, output = run
    rows = dict(problem.not_fitted(load_run(path)))
    parts, failing = rows["dpa[n_models=40,features=raw]"], rows[list(rows)[-1]]
    assert "no examples (" in parts
    assert "examples of one label alone (" in parts
    assert "of 40 base models" in parts
    assert "ValueError: Expected n_neighbors <= n_samples_fit" in failing
    assert failing.startswith("30 of 30 base models: ")
    assert not any(label.startswith("bagging[k=20") for label in rows)
    for text in ((path / "summary.md").read_text(), (path / "report.html").read_text()):
        assert "Base models that were not fitted" in text
        assert problem.NOT_FITTED in text
    assert f"not fitted: dpa[n_models=40,features=raw]: {parts}" in output
    cells = json.loads((path / "manifest.json").read_text())["cells"]
    assert sum(cells[0]["unfitted"].values()) == int(parts.split()[0])


def test_a_run_that_does_not_tell_says_nothing(made_run, made_cell) -> None:  # type: ignore[no-untyped-def]
    result = load_run(made_run("one", made_cell("a", {"any": [1, 2]})))
    assert problem.domain(result) == ""
    assert problem.not_fitted(result) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist17", "domain: 28 x 28 values of uint8 from 0 to 255; the labels 1 and 7"),
        ("npz", "domain: label_set, range (lowest, highest) and n_public, as the file declares"),
        ("bagging", "attacker: writes examples of the data set's domain"),
    ],
)
def test_show_says_what_the_attacker_writes(name: str, words: str) -> None:
    assert words in CliRunner().invoke(program, ["show", name]).output
