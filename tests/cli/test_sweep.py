"""``harness sweep``: alternatives of parameters become the cells of one run."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program
from harness.errors import UsageError
from harness.plugins.alternatives import expand


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def bad(arguments: list[str | Path], message: str) -> None:
    result = harness(*arguments)
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert message in lines[0]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("bagging", ["bagging"]),
        ("bagging[k=5]", ["bagging[k=5]"]),
        ("bagging[ k = 10 | 20 ]", ["bagging[k=10]", "bagging[k=20]"]),
        ("a[k=1|2,m=x|y]", ["a[k=1,m=x]", "a[k=1,m=y]", "a[k=2,m=x]", "a[k=2,m=y]"]),
        ("a[l=ridge(p=1)|f(x|y),m=3]", ["a[l=ridge(p=1),m=3]", "a[l=f(x|y),m=3]"]),
        ("a[l='x|y'|z]", ["a[l='x|y']", "a[l=z]"]),
    ],
)
def test_alternatives_outside_brackets_and_quotes(text: str, cells: list[str]) -> None:
    assert list(expand(text)) == cells


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a[k=10||20]", "k has an empty alternative in 'a[k=10||20]'"),
        ("a[k=10|]", "k has an empty alternative"),
        ("a[k=|10]", "k has an empty alternative"),
        ("a[k=10|20|10]", "k=10 is given twice in 'a[k=10|20|10]'"),
        ("a[k=1|2,k=3]", "k is given twice"),
        ("a[k=1|2", "does not end with a bracket"),
        ("a[l='x|y]", "brackets or quotes do not match"),
    ],
)
def test_alternatives_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(expand(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to sweep over"),
        (["-d", "bagging[k=5|0]"], "bagging: k=0 is not allowed"),
        (["-d", "bagging[k=5|fife]"], "bagging: k=fife is not allowed"),
        (["-d", "bagging[kk=5|6]"], "unknown parameter of bagging 'kk'; did you mean k?"),
        (["-d", "baging[k=5|6]"], "unknown defense 'baging'; did you mean bagging?"),
        (["-d", "bagging[k=5|6]", "-d", "bagging[k=6|7]"], "bagging[k=6] is selected twice"),
        (["-d", "bagging[k=5|05]"], "bagging[k=5] is selected twice"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments: list[str | Path], message: str) -> None:
    bad(["sweep", *arguments], message)


def test_help_ends_with_examples_and_has_the_options_of_run() -> None:
    help_ = harness("sweep", "--help").output
    assert "harness sweep -d" in help_.split("Examples")[-1]
    for option in ("--dataset", "--threat", "--alpha", "--seed", "--device", "--dry-run"):
        assert option in help_
    assert "sweep" in harness("--help").output


def test_a_sweep_is_one_run_with_a_front(tiny_npz: Path, tmp_path: Path) -> None:
    shared: list[str | Path] = ["--dataset", f"npz:{tiny_npz}", "--threat", "any"]
    swept, run = tmp_path / "swept", tmp_path / "run"
    result = harness(
        "sweep", "-d", "bagging[k=3|9,n_models=40,features=raw]", *shared, "--output", swept
    )
    assert result.exit_code == 0, result.output
    cells = ["bagging[k=3,n_models=40,features=raw]", "bagging[k=9,n_models=40,features=raw]"]
    manifest = json.loads((swept / "manifest.json").read_text())
    assert [cell["label"] for cell in manifest["cells"]] == cells
    assert {"figures/pareto.svg", "figures/pareto.png"} <= {
        str(p.relative_to(swept)) for p in swept.rglob("*")
    }
    assert "Who proves most, by r" in (swept / "report.html").read_text()
    arguments = [word for cell in cells for word in ("-d", cell)]
    assert harness("run", *arguments, *shared, "--output", run).exit_code == 0
    assert (run / "curves.csv").read_bytes() == (swept / "curves.csv").read_bytes()
    assert (run / "figures/pareto.svg").read_bytes() == (swept / "figures/pareto.svg").read_bytes()
    before = next((swept / "evidence").glob("*.npz")).stat().st_mtime_ns
    again = harness("run", *arguments, *shared, "--output", swept)
    assert again.exit_code == 0, again.output
    assert next((swept / "evidence").glob("*.npz")).stat().st_mtime_ns == before
    assert set(pd.read_csv(swept / "summary.csv")["defense"]) == set(cells)


def test_a_dry_run_shows_the_cells(tiny_npz: Path, tmp_path: Path) -> None:
    result = harness(
        "sweep", "-d", "bagging[k=3|9,features=raw]", "--dataset", f"npz:{tiny_npz}",
        "--output", tmp_path / "out", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "k=3" in result.output
    assert "k=9" in result.output
    assert not (tmp_path / "out").exists()
