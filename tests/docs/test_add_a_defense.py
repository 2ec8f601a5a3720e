"""docs/add-a-defense.md is true: its code is run, and it is what ``new-defense`` writes."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from harness.cli.program import program
from harness.plugins.registry import Registry
from harness.scaffold import parse_name, write_project
from harness.testing import ConformanceError, check_defense
from harness.testing.conformance import PROPERTIES

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-defense.md").read_text("utf-8")
AFTER = '        x, x_test = task.features("raw")\n'


def block(name: str) -> str:
    """The fenced block below the comment of that name."""
    (found,) = re.findall(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(parse_name("my-defense"), tmp_path)
    return tmp_path


def load(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("my_defense", folder / "my_defense.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_python_block_is_tested() -> None:
    named = re.findall(r"<!-- \S+ -->\n```python", PAGE)
    assert len(named) == PAGE.count("```python") == 3


def test_it_shows_the_module_that_is_written(project: Path) -> None:
    assert block("my_defense.py") == (project / "my_defense.py").read_text("utf-8")


def test_the_class_has_some_thirty_lines() -> None:
    body = block("my_defense.py").split("class MyDefense(")[1].split("@hookimpl")[0]
    code = [line for line in body.splitlines() if line.strip() and line.strip()[0] not in '#"']
    assert 25 <= len(code) <= 35


def test_the_lines_that_are_explained_exist() -> None:
    table = PAGE.split("Where the paper goes:")[1].split("\n\n")[1]
    explained = [re.findall(r"`(.*?)`", row)[0] for row in table.splitlines()[2:]]
    assert len(explained) == 6
    for line in explained:
        assert line in block("my_defense.py")


def test_the_check_runs(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("check")],
        env=os.environ | {"PYTHONPATH": str(project)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{len(PROPERTIES)} properties" in PAGE
    assert done.stdout.startswith("my-defense[n_models=24]: 19 properties hold\n  skipped ")


def test_broken_as_shown_it_fails_as_shown(registry: Registry, project: Path) -> None:
    path = project / "my_defense.py"
    source = path.read_text("utf-8")
    assert AFTER in source
    path.write_text(source.replace(AFTER, AFTER + block("break")), "utf-8")
    with pytest.raises(ConformanceError) as caught:
        check_defense(load(project).MyDefense, registry=registry)
    assert f"{caught.value}\n" == block("message")


def test_the_entry_point_is_the_one_that_is_written(project: Path) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    written = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    assert tomllib.loads(shown)["project"]["entry-points"] == written["project"]["entry-points"]


def test_its_commands_exist() -> None:
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    used = set(re.findall(r"^harness (\S+)", shell, re.MULTILINE))
    assert used == {"new-defense", "run"}
    used |= set(re.findall(r"`harness (\S+?)[ `]", PAGE))
    for command in used:
        assert CliRunner().invoke(program, [command, "--help"]).exit_code == 0
