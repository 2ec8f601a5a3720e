"""Code that was edited between two runs: what it left is never merged with what it is now."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program

CHANGED = "its code, a library or the device changed since it was trained here; training it again"

LEARNER = """
from my_helper import LABEL

class Clf:
    fitted = 0
    def fit(self, x, y):
        Clf.fitted += 1
        if Clf.fitted > FAILS_AFTER:
            raise OSError("no space left")  # of the machine: no base model votes because of it
    def predict(self, x):
        return [LABEL] * len(x)
"""
OWN = "bagging[k=40,n_models=600,features=raw,learner=my_learner.Clf]"
OTHER = "bagging[k=5,n_models=20,features=raw]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where ``my_learner`` and ``my_helper`` are imported from, each time anew."""
    monkeypatch.syspath_prepend(tmp_path)
    # Bytecode of a source of the same second and size would be taken for that of the source.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget()


def forget() -> None:
    """Makes this process import the two modules anew, as a process of its own would."""
    importlib.invalidate_caches()
    for name in ("my_learner", "my_helper"):
        sys.modules.pop(name, None)


def write(folder: Path, *, label: int, fails_after: int = 10**9, comment: str = "") -> None:
    learner = LEARNER.replace("FAILS_AFTER", str(fails_after))
    (folder / "my_learner.py").write_text(comment + learner)
    (folder / "my_helper.py").write_text(f"{comment}LABEL = {label}\n")


def run(data: Path, out: Path, *cells: str) -> Result:
    forget()
    chosen = [text for cell in cells or (OWN,) for text in ("-d", cell)]
    arguments = [*chosen, "--dataset", f"npz:{data}", "--threat", "any", "--output", str(out)]
    return CliRunner().invoke(program, ["run", *arguments])


def votes(out: Path) -> list[list[int]]:
    """The votes that the evidence of the last cell holds, which the manifest names."""
    cell = json.loads((out / "manifest.json").read_text())["cells"][-1]
    with np.load(out / "evidence" / f"{cell['evidence']}.npz") as archive:
        found: list[list[int]] = np.unique(archive["votes"], axis=0).tolist()
    return found


def test_blocks_of_a_learner_that_was_edited_are_not_merged(
    folder: Path, tiny_npz: Path, store: Path
) -> None:
    """Once: 241 votes of one learner and 159 of the other, with a radius that nothing proves."""
    out = folder / "run"
    write(folder, label=0, fails_after=550)
    assert run(tiny_npz, out).exit_code == 3
    (block,) = store.rglob("*.npz")
    assert block.name.startswith("000000-0-")
    write(folder, label=1)
    again = run(tiny_npz, out)
    assert (again.exit_code, again.stderr.count(CHANGED)) == (0, 1)
    assert "of them from before" not in again.stderr
    assert votes(out) == [[0, 600]]
    assert run(tiny_npz, folder / "fresh").exit_code == 0
    assert (out / "curves.csv").read_bytes() == (folder / "fresh" / "curves.csv").read_bytes()
    assert len(list(store.glob("*"))) == 2 + 1, "each code has its own blocks, beside the mark"


def test_the_same_blocks_are_gone_on_with_when_a_comment_changed(
    folder: Path, tiny_npz: Path
) -> None:
    out = folder / "run"
    write(folder, label=0, fails_after=550)
    run(tiny_npz, out)
    write(folder, label=0, fails_after=550, comment="# mine\n\n")
    again = run(tiny_npz, out)
    assert "of them from before" in again.stderr
    assert CHANGED not in again.stderr


def test_only_what_changed_is_trained_again(folder: Path, tiny_npz: Path) -> None:
    out = folder / "run"
    write(folder, label=0)
    assert run(tiny_npz, out, OTHER, OWN).exit_code == 0
    kept, stale = sorted((out / "evidence").iterdir(), key=lambda path: votes_in(path) == 600)
    before = kept.stat().st_mtime_ns
    (folder / "my_helper.py").write_text("LABEL = 1  # what the learner imports\n")
    again = run(tiny_npz, out, OTHER, OWN)
    assert [line for line in again.stderr.splitlines() if "changed" in line] == [
        f"bagging[k=40,n_models=600,learner=my_learner.Clf,features=raw]: {CHANGED}"
    ]
    assert f"{OTHER}: 20 base models, 20 of them from before" in again.stderr
    assert kept.stat().st_mtime_ns == before
    assert not stale.exists()
    assert votes(out) == [[0, 600]]
    assert len(list((out / "evidence").iterdir())) == 2
    assert "changed" not in run(tiny_npz, out, OTHER, OWN).stderr


def votes_in(path: Path) -> int:
    with np.load(path) as archive:
        return int(archive["votes"][0].sum())


def test_another_version_of_a_library_trains_again(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "run", metadata.version
    assert run(tiny_npz, out, OTHER).exit_code == 0
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "torch" else real(name))
    again = run(tiny_npz, out, OTHER)
    assert again.stderr.startswith(f"{OTHER}: {CHANGED}\n{OTHER}: 20 base models\n")


def test_without_output_the_folder_stays_the_same(
    folder: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for label in (0, 1):
        write(folder, label=label)
        forget()
        arguments = ["run", "-d", OWN, "--dataset", f"npz:{tiny_npz}", "--threat", "any"]
        assert CliRunner().invoke(program, arguments).exit_code == 0
    (out,) = (folder / "runs").iterdir()
    assert votes(out) == [[0, 600]]


@pytest.fixture
def plugin(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The scaffold's module and the environment of a process in which it is installed, editable."""
    project, site = tmp_path / "my-vote", tmp_path / "site"
    made = CliRunner().invoke(program, ["new-defense", "my-vote", "--output", str(project)])
    assert made.exit_code == 0
    info = site / "my_vote-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-vote\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[harness]\nmy-vote = my_vote\n")
    return project / "my_vote.py", os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{project}"}


def test_a_plugin_that_was_edited_is_trained_again(
    plugin: tuple[Path, dict[str, str]], tiny_npz: Path, tmp_path: Path
) -> None:
    """Once: the old table, "200 of them from before"."""
    module, environment = plugin
    out = tmp_path / "run"

    def table() -> tuple[str, bytes]:
        command = [sys.executable, "-m", "harness", "run", "-d", "my-vote[n_models=15]"]
        done = subprocess.run(
            [*command, "--dataset", f"npz:{tiny_npz}", "--output", str(out)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr, (out / "curves.csv").read_bytes()

    _, before = table()
    text = module.read_text()
    assert "% n_models" in text
    module.write_text(text.replace("% n_models", "% 3"))
    told, after = table()
    assert told.startswith(f"my-vote[n_models=15]: {CHANGED}\nmy-vote[n_models=15]: 15 base")
    assert after != before
    module.write_text(text)
    assert table()[1] == before
