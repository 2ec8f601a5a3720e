"""``harness new-defense``: what it writes works at once, what it refuses takes one line."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness import __version__
from harness.cli.program import program
from harness.errors import RunFolderError, UsageError
from harness.plugins.registry import Registry
from harness.scaffold import LONGEST, parse_name, write_project
from harness.testing import check_defense

NAMES = ["my-defense", "vote", "defense", "a", "my-parameters", "k-nn-2", "x" * LONGEST]
ROOT = Path(__file__).parents[2]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def defense_in(folder: Path, module: str) -> Any:
    """The defense that a project's module registers."""
    spec = importlib.util.spec_from_file_location(module, folder / f"{module}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    (defense,) = loaded.harness_register_defenses()
    return defense


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_defense_that_conforms(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    parsed = parse_name(name)
    write_project(parsed, folder)
    defense = defense_in(folder, parsed.module)
    assert defense.name == name
    assert check_defense(defense, registry=registry).name == f"{name}[n_models=24]"
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["entry-points"]["harness"] == {name: parsed.module}
    assert project["tool"]["setuptools"]["py-modules"] == [parsed.module]
    assert project["project"]["dependencies"] == [f"poisoning-harness>={__version__}"]
    test = ast.parse((folder / f"tests/test_{parsed.module}.py").read_text("utf-8"))
    assert f"defense = '{name}'" in ast.unparse(test)


@pytest.mark.parametrize("name", NAMES)
def test_no_trace_of_the_template_or_of_this_machine_is_left(tmp_path: Path, name: str) -> None:
    written = write_project(parse_name(name), tmp_path)
    assert {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()} == set(written)
    for path in written:
        text = (tmp_path / path).read_text("utf-8")
        assert text.endswith("\n")
        if path.suffix == ".py":
            assert max(map(len, text.splitlines())) <= 100
        for trace in (str(ROOT), str(tmp_path), sys.prefix, "@VERSION@"):
            assert trace not in text
        if name != "my-defense":
            assert not re.search(r"my[-_]defense|MyDefense", text)


def test_the_command_says_what_comes_next(tmp_path: Path) -> None:
    folder = tmp_path / "my plugins" / "mine"
    result = harness("new-defense", "my-vote", "--output", folder)
    assert result.exit_code == 0
    for line in (
        f"cd '{folder}'",
        'python -m pip install -e ".[test]"',
        "harness run -d my-vote -d bagging ",
        "pytest ",
        "Then put your idea into gather and certify, in my_vote.py.",
    ):
        assert line in result.output
    assert (folder / "my_vote.py").exists()


def test_without_output_it_goes_to_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert harness("new-defense", "my-vote").exit_code == 0
    again = harness("new-defense", "my-vote")
    assert (again.exit_code, again.output) == (
        2, "harness: my-vote is not empty; name another folder with --output\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("My-Defense", "is not a name for a defense; allowed: small letters, digits"),
        ("2nd", "is not a name for a defense"),
        ("a--b", "is not a name for a defense"),
        ("a-", "is not a name for a defense"),
        ("a_b", "is not a name for a defense"),
        ("../a", "is not a name for a defense"),
        ("a\n", "is not a name for a defense"),
        ("x" * (LONGEST + 1), f"{LONGEST} characters at most"),
        ("class", "is a keyword of Python"),
        ("json", "there is a Python module json already"),
        ("numpy", "there is a Python module numpy already"),
        ("scikit-learn", "a distribution of that name is installed"),
        ("poisoning-harness", "a distribution of that name is installed"),
        ("conftest", "conftest.py would hide another module"),
        ("setup", "setup.py would hide another module"),
        ("tests", "tests.py would hide another module"),
        ("bagging", "there is a defense bagging already"),
        ("ss-dpa", "there is a defense ss-dpa already"),
        ("ridge", "there is a learner ridge already"),
        ("mnist17", "there is a dataset mnist17 already"),
        ("new-defense", "there is a command new-defense already"),
        ("doctor", "there is a command doctor already"),
    ],
)
def test_a_name_that_cannot_be_had_is_refused_in_one_line(
    tmp_path: Path, name: str, why: str
) -> None:
    result = harness("new-defense", name, "--output", tmp_path / "project")
    assert result.exit_code == 2
    assert result.output.startswith("harness: ")
    assert result.output.count("\n") == 1
    assert why in result.output
    assert not (tmp_path / "project").exists()


def test_an_empty_folder_of_that_name_is_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fresh").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    write_project(parse_name("fresh"), tmp_path / "fresh")
    with pytest.raises(RunFolderError, match="is not empty"):
        write_project(parse_name("fresh"), tmp_path / "fresh")
    monkeypatch.syspath_prepend(tmp_path / "fresh")
    with pytest.raises(UsageError, match="there is a Python module fresh already"):
        parse_name("fresh")


def test_what_is_no_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in ("file", "file/below"):
        result = harness("new-defense", "my-vote", "--output", tmp_path / output)
        assert result.exit_code == 2
        assert result.output.startswith(f"harness: cannot write {tmp_path / output}: ")
        assert result.output.count("\n") == 1


def test_its_help_ends_with_an_example() -> None:
    assert "harness new-defense my-defense" in harness("new-defense", "--help").output
    assert "new-defense" in harness("--help").output


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A new project, and the environment of a process that it is installed in, editable.

    As pip does it: setuptools builds the editable wheel, which is unpacked where Python looks for
    installed distributions. Nothing is fetched.
    """
    folder = tmp_path_factory.mktemp("project") / "my-vote"
    assert harness("new-defense", "my-vote", "--output", folder).exit_code == 0
    site = tmp_path_factory.mktemp("site")
    build = "import sys; from setuptools import build_meta as b; b.build_editable(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(site)], cwd=folder, check=True, capture_output=True
    )
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Only folders of installed distributions have their .pth files read.
    (site / "sitecustomize.py").write_text(f"import site; site.addsitedir({str(site)!r})")
    return folder, os.environ | {"PYTHONPATH": str(site)}


def run(folder: Path, environment: dict[str, str], *command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installed_it_runs_beside_bagging(
    installed: tuple[Path, dict[str, str]], tiny_npz: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(
        tmp_path, installed[1], "harness", "run", "-d", "my-vote[n_models=15]",
        "-d", "bagging[n_models=30,k=5]", "--dataset", f"npz:{tiny_npz}", "--output", out,
    )  # fmt: skip
    summary = pd.read_csv(out / "summary.csv").set_index(["defense", "threat"])
    row = summary.loc[("my-vote[n_models=15]", "any")]
    assert row["guarantee"] == "deterministic"
    assert row["max_radius"] in range(1, 4)
    assert 0 < row["train_s"] < 60


def test_installed_its_own_tests_pass(installed: tuple[Path, dict[str, str]]) -> None:
    folder, environment = installed
    tested = run(folder, environment, "pytest", "-q", "-p", "no:cacheprovider")
    assert re.search(r"19 passed, 4 skipped", tested)
