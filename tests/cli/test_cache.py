"""``harness cache``: the store, from the command line."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program
from harness.results.files import Stored
from harness.results.store import EvidenceStore


def cache(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, ["cache", *map(str, arguments)])


@pytest.fixture
def filled(store: Path) -> EvidenceStore:
    kept = EvidenceStore(store).open()
    for name, days in (("bagging", 40), ("dp", 0), ("bagging", 0)):
        stem = f"{name}-{days:016x}"
        kept.put(stem, 0, range(4), Stored({"votes": np.arange(6)}, {"train": 1.0}))
        (path,) = (store / stem).glob("*.npz")
        os.utime(path, (time.time() - 86400 * days,) * 2)
    return kept


def test_it_shows_what_is_there_by_defense(filled: EvidenceStore) -> None:
    lines = cache().stdout.splitlines()
    assert lines == cache("show").stdout.splitlines()
    assert lines[0] == f"store: {filled.path}"
    assert lines[1].startswith("  bagging  2 cells, 2 blocks, ")
    assert lines[1].endswith(" B, last used today")
    assert lines[2].startswith("  dp       1 cell, 1 block, ")
    assert lines[3].startswith("3 cells, 3 blocks, ")


def test_it_is_pruned_and_cleared(filled: EvidenceStore) -> None:
    assert cache("prune", "--older-than", "30").stdout.startswith("removed: 1 cell, 1 block, ")
    assert len(filled.entries()) == 2
    assert cache("prune", "--most", "1MB").stdout == "removed: nothing\n"
    assert cache("prune", "--most", "0.1 kB").stdout.startswith("removed: 2 cells")
    assert cache().stdout.splitlines()[-1] == "empty"
    assert cache("clear").stdout == "removed: nothing\n"


def test_clear_empties_a_store_that_is_named(filled: EvidenceStore, tmp_path: Path) -> None:
    other = EvidenceStore(tmp_path / "other").open()
    other.put("a-" + "0" * 16, 0, range(4), Stored({"votes": np.arange(6)}, {"train": 1.0}))
    assert cache("clear", "--store", other.path).stdout.startswith("removed: 1 cell")
    assert other.entries() == []
    assert len(filled.entries()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "nothing says what to remove: give --older-than DAYS or --most SIZE"),
        (["prune", "--most", "5"], "--most '5' is no size; wanted a number and B, kB, MB, GB, TB"),
        (["prune", "--older-than", "-1"], "'--older-than': -1.0 is not in the range x>=0"),
        (["show", "--store", "off"], "there is no store: --store or HARNESS_STORE says off"),
        (["prunes"], "prunes"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    result = cache(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_of_other_files_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    result = cache("clear", "--store", tmp_path)
    assert result.exit_code == 2
    assert "is no evidence store (found thesis.tex)" in result.stderr
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("words", [["show"], ["prune", "--older-than", "1"]])
def test_a_store_that_is_not_there_is_not_made(words: list[str], tmp_path: Path) -> None:
    result = cache(*words, "--store", tmp_path / "typo")
    assert result.exit_code == 2
    assert result.stderr == f"harness: {tmp_path / 'typo'}: no store there\n"
    (tmp_path / "empty").mkdir()
    assert cache(*words, "--store", tmp_path / "empty").exit_code == 2
    cleared = cache("clear", "--store", tmp_path / "typo")
    assert (cleared.exit_code, cleared.stdout) == (0, "removed: nothing\n")
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_the_usual_store_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache().stdout.splitlines()[-1] == "empty"
    assert list(tmp_path.iterdir()) == []
