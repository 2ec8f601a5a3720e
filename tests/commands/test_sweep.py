"""``harness sweep``: every combination of the parameters' alternatives, as one run."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli import program
from harness.commands.sweep import expand
from harness.errors import UsageError


def sweep(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, ["sweep", *(str(a) for a in arguments)])


def test_alternatives_are_combined_the_last_moving_fastest() -> None:
    assert list(expand("a[x=1|2,y=p|q]")) == [
        "a[x=1,y=p]",
        "a[x=1,y=q]",
        "a[x=2,y=p]",
        "a[x=2,y=q]",
    ]
    assert list(expand("a")) == ["a"]
    assert list(expand("a[x=f(y='1|2')|g]")) == ["a[x=f(y='1|2')]", "a[x=g]"]


@pytest.mark.parametrize("text", ["a[x=1|]", "a[x=1|1]", "a[x"])
def test_what_is_no_list_of_alternatives_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        list(expand(text))


def test_a_sweep_is_one_run_with_a_pareto_front(tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = sweep(
        "-d", "bagging[n_models=40,k=2|5|9,features=raw]", "--threat", "any",
        "--dataset", f"npz:{tiny_npz}", "--output", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert pd.read_csv(out / "summary.csv")["defense"].nunique() == 3
    assert (out / "figures" / "pareto.svg").exists()
    assert "Who proves most" in (out / "report.html").read_text()


def test_nothing_to_sweep_over() -> None:
    result = sweep()
    assert result.exit_code == 2
    assert "nothing to sweep over" in result.stderr
