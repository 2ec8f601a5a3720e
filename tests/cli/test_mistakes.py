"""What ends a command early: mistakes in the command line, broken plugins, interruptions."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def bad(arguments: list[str | Path], message: str) -> None:
    """The command ends with exit code 2 and one line, which says ``message``."""
    result = harness(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert message in lines[0]


INTERRUPTED_AT_IMPORT = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ("harness", "__future__", "typing", *sys.stdlib_module_names):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from harness.cli.main import main
main()
"""  # noqa: E501


def test_an_interruption_before_anything_is_imported() -> None:
    command = [sys.executable, "-c", INTERRUPTED_AT_IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "harness: interrupted\n")


def test_an_interruption_while_the_command_line_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(program), "parse_args", interrupt)
    result = harness("list")
    assert (result.exit_code, result.stderr) == (130, "harness: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--alpha", "abc"], "'abc' is not a valid float; see harness run --help"),
        (["run", "--seed", "1.5"], "'--seed': '1.5' is not a valid integer"),
        (["run", "--alhpa", "1"], "unknown option '--alhpa'; did you mean --alpha"),
        (["run", "--alpha"], "option '--alpha' requires an argument"),
        (["run", "bagging"], "or a file that ends in .toml; a defense is given with -d"),
        (["show"], "missing argument 'NAME'; see harness show --help"),
        (["certify", "bagging"], "missing option '--votes'"),
        (["report"], "missing argument 'RUNS...'"),
        (["--fresh", "run"], "unknown option '--fresh'; Allowed: --help, --version"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_command_line_gets_one_clear_line(
    arguments: list[str | Path], message: str
) -> None:
    bad(arguments, message)


def test_help_and_version_are_no_mistakes() -> None:
    for arguments in (["--help"], ["-h"], ["--version"], ["run", "--help"], ["run", "-x", "-h"]):
        result = harness(*arguments)
        assert result.exit_code == (2 if "-x" in arguments else 0), arguments
    alone = harness()
    assert "Commands:" in alone.output
    assert "harness: " not in alone.stderr.splitlines()[0]


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad(["report", tmp_path / "file"], "file is not a run: it is a file, not a run's folder")


Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Install]:
    """Pretends that a plugin with that code is installed, its entry point called ``odd``."""
    name = f"odd_plugin_{tmp_path.name}".replace("-", "_")

    def plugin(code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        for module in ("harness.plugins.registry", "harness.cli.lazy"):
            monkeypatch.setattr(
                f"{module}.entry_points", lambda group: [EntryPoint("odd", name, group)]
            )

    yield plugin
    sys.modules.pop(name, None)


COMMANDS = """
import click, harness

@click.command
def run(): click.echo("not mine")

@click.command
def hello(): click.echo("hello from a plugin")

@harness.hookimpl
def harness_add_commands(): return [run, hello]
"""


def test_a_plugin_cannot_take_the_name_of_a_built_in_command(install: Install) -> None:
    install(COMMANDS)
    taken = "the command 'run' is built in; choose another name"
    doctor = harness("doctor")
    assert doctor.exit_code == 3
    assert re.search(f"WRONG: plugin odd .*{taken}", doctor.output)
    for arguments in (["--help"], ["list"]):
        assert taken in harness(*arguments).stderr, arguments
    assert "hello from a plugin" in harness("hello").stdout
    assert "Train, certify" in harness("run", "--help").output


REQUIRED = """
from pydantic import Field
import harness
from harness.defense import Parameters
from harness.defenses.bagging import Bagging

class Needy(Parameters):
    need: int = Field(ge=3, description="how much")
    names: list[str] = Field(default_factory=list)

class Demanding(Bagging):
    name, Params = "demanding", Needy

@harness.hookimpl
def harness_register_defenses(): return [Demanding]
"""


def test_a_parameter_that_is_required(install: Install) -> None:
    install(REQUIRED)
    shown = harness("show", "demanding")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"need +required +int >= 3 +how much", shown.output)
    assert re.search(r"names +\[\] ", shown.output)
    assert "threats and guarantee: depend on need" in shown.output
    bad(
        ["run", "-d", "demanding"],
        "demanding: need is required: demanding[need=...] (need: how much)",
    )


def test_a_broken_plugin_may_be_what_is_missing(install: Install) -> None:
    install("import no_such_module_at_all")
    reason = r"plugin odd .*No module named 'no_such_module_at_all'"
    for arguments in (
        ["show", "mine"],
        ["run", "-d", "mine"],
        ["run", "-d", "bagging[learner=mine]"],
        ["run", "--dataset", "mine"],
    ):
        result = harness(*arguments)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert re.match(rf"harness: unknown .*'mine'; .*{reason}", result.stderr), arguments
    assert re.search(reason, harness("mine").stderr)
