"""``harness certify``: certificates from votes that somebody else trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli import program


def certify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, ["certify", *(str(a) for a in arguments)])


def published(path: Path, top: int, labels: bool = True) -> Path:
    """10,000 examples of 10 labels: ``top`` of 1,000 votes for label 3, the rest for label 5."""
    votes = np.zeros((10_000, 10), dtype=np.int64)
    votes[:, 3], votes[:, 5] = top, 1000 - top
    if labels:
        np.savez(path, x=np.hstack([votes, np.full((10_000, 1), 3)]))
    else:
        np.savez(path, votes=votes)
    return path


@pytest.mark.parametrize(
    ("n", "k", "top", "radius"),
    [(60_000, 30, 1000, 1300), (60_000, 100, 900, 246), (50_000, 500, 1000, 65)],
)
def test_published_check_values(tmp_path: Path, n: int, k: int, top: int, radius: int) -> None:
    out = tmp_path / "out"
    result = certify(
        "bagging", "--votes", published(tmp_path / "v.npz", top), "--n-train", str(n),
        "--set", f"k={k}", "--threat", "modify", "--output", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "certificates.csv")
    assert list(table)[-3:] == ["example", "prediction", "radius"]
    assert set(table["prediction"]) == {3}
    assert set(table["radius"]) == {radius}
    curves = pd.read_csv(out / "curves.csv")
    assert curves[curves["certified_accuracy"] == 1]["r"].max() == radius


def test_without_labels_there_is_no_curve(tmp_path: Path) -> None:
    out = tmp_path / "out"
    votes = published(tmp_path / "v.npz", 900, labels=False)
    result = certify("bagging", "--votes", votes, "--n-train", "60000", "--set", "k=100",
                     "--output", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (out / "certificates.csv").exists()
    assert not (out / "curves.csv").exists()


def test_deterministic_votes_need_no_alpha(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", votes=np.array([[9, 3], [5, 7], [6, 6]]))
    out = tmp_path / "out"
    result = certify("dpa", "--votes", tmp_path / "v.npz", "--threat", "insert", "--output", out)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "certificates.csv")
    assert table["prediction"].tolist() == [0, 1, 0]
    assert table["radius"].tolist() == [3, 0, 0]


def arrays(**content: Any) -> dict[str, Any]:
    return content


@pytest.mark.parametrize(
    "content",
    [
        arrays(votes=np.array([[1, 2], [3, 3]])),
        arrays(votes=np.array([[-1, 4], [1, 2]])),
        arrays(votes=np.array([[0.5, 2.5], [1, 2]])),
        arrays(votes=np.array([[np.nan, 3], [1, 2]])),
        arrays(votes=np.array([[1, 2], [2, 1]]), labels=np.array([0])),
        arrays(votes=np.array([[1, 2], [2, 1]]), labels=np.array([0, 7])),
        arrays(somebody=np.array([1])),
    ],
)
def test_arrays_that_are_no_votes(tmp_path: Path, content: dict[str, Any]) -> None:
    np.savez(tmp_path / "v.npz", **content)
    refused(tmp_path, "bagging", "--votes", tmp_path / "v.npz", "--n-train", "100", "--set", "k=5")


def refused(tmp_path: Path, *arguments: str | Path) -> str:
    """One clear line, exit code 2, and nothing written."""
    result = certify(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.strip().splitlines()
    assert not (tmp_path / "out" / "certificates.csv").exists()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["baging"], "unknown defense 'baging'"),
        (["bagging", "--n-train", "0", "--set", "k=5"], "0"),
        (["bagging", "--n-train", "100", "--set", "k=0"], "k=0 is not allowed"),
        (["bagging", "--n-train", "100", "--set", "kk=5"], "unknown parameter of bagging 'kk'"),
        (["bagging", "--n-train", "100", "--set", "k=5", "--threat", "modfy"], "unknown threat"),
        (["bagging", "--n-train", "100", "--set", "k=5", "--alpha", "2"], "alpha must be"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: list[str], message: str) -> None:
    np.savez(tmp_path / "v.npz", votes=np.array([[1, 9], [2, 8]]))
    assert message in refused(tmp_path, *arguments, "--votes", tmp_path / "v.npz")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "no.npz"
    line = refused(tmp_path, "bagging", "--votes", missing, "--n-train", "9", "--set", "k=1")
    assert str(missing) in line
