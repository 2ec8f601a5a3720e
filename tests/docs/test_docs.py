"""The pages of docs/ and README are true: their code is run, their commands and links exist."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from harness.certificates import DETERMINISTIC, ESTIMATE, Guarantee
from harness.cli.program import program
from harness.plugins.verbs import BUILT_IN
from harness.proofs.confidence import simuem
from harness.threats import Threat

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "docs").glob("*.md")}
PAGES |= {name: ROOT / name for name in ("README.md", "CONTRIBUTING.md")}
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
PUBLISHED = ROOT / "reports" / "mnist17"
EVERYWHERE = pytest.mark.parametrize("page", sorted(PAGES))


def text_of(page: str) -> str:
    return PAGES[page].read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def harness_lines(shell: str) -> Iterator[list[str]]:
    """The arguments of every ``harness`` command, comments and ``&&`` taken off."""
    for line in shell.replace("\\\n", " ").splitlines():
        for part in line.strip().removeprefix("$ ").split(" && "):
            words = shlex.split(part, comments=True)
            if words[:1] == ["harness"]:
                yield words[1:]


def parsed(arguments: list[str]) -> click.Context:
    """The real command with its real options. Raises UsageError where one does not exist."""
    parent = program.make_context("harness", arguments[:1])
    command = program.get_command(parent, arguments[0])
    assert command is not None
    return command.make_context(arguments[0], arguments[1:], parent=parent)


COMMANDS = [
    (page, arguments)
    for page in sorted(PAGES)
    for shell in blocks(text_of(page), "sh")
    for arguments in harness_lines(shell)
]
EACH_COMMAND = pytest.mark.parametrize(
    ("page", "arguments"), COMMANDS, ids=[f"{page}: {' '.join(a)}" for page, a in COMMANDS]
)

OF_PLUGINS = ("my-defense", "brightness", "centroid", "rings", "my_networks")
"""What the pages for authors of plugins add."""

RUN = [
    arguments
    for _, arguments in COMMANDS
    # They need a plugin, or the votes of somebody else: other tests have those.
    if not any(name in word for name in OF_PLUGINS for word in arguments)
    and arguments[0] not in ("certify", "new-defense")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages name: a data set, its default run, a baseline."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(7)
    arrays = {}
    for part, size in (("train", 120), ("test", 30)):
        y = rng.integers(0, 2, size)
        x = rng.integers(0, 120, (size, 8, 8))
        x[y == 0, :, :4] += 100
        x[y == 1, :, 4:] += 100
        arrays |= {f"x_{part}": x.astype(np.uint8), f"y_{part}": y}
    np.savez(folder / "my-data.npz", **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke(["run", "--dataset", "npz:my-data.npz", "--output", "runs/mine"])
        for name in ("base", "ci", "quick"):
            shutil.copytree("runs/mine", f"runs/{name}")
        invoke(["publish", "runs/base", "reports/mnist17"])
    return folder


def invoke(arguments: list[str], *allowed: int) -> str:
    done = CliRunner().invoke(program, arguments, prog_name="harness")
    assert done.exit_code in (allowed or (0,)), (arguments, done.output)
    return done.output


# Commands


@EACH_COMMAND
def test_commands_and_options_exist(page: str, arguments: list[str]) -> None:
    parsed(arguments)


@pytest.mark.parametrize("arguments", RUN, ids=" ".join)
def test_commands_do_what_they_say(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the tiny data set; of what trains, only the plan is made."""
    monkeypatch.chdir(place)
    if arguments[0] in ("run", "sweep"):
        output = ["--output", "elsewhere"]  # the last one counts
        assert "elsewhere" in invoke([*arguments, "--dry-run", *output])
    elif arguments[0] == "attack":  # little of it
        few = ["--examples", "1", "--budget", "3", "-d", "bagging"]
        if "-d" in arguments:
            few += ["--dataset", "npz:my-data.npz", "--output", "attacked"]
            few[5] = "dpa[n_models=9]"
            arguments = [one.replace("knn", "knn[k=9]") for one in arguments]
        assert "attacks.csv" in invoke([*arguments, *few])
    else:
        assert invoke(arguments)


def test_inline_commands_exist() -> None:
    for page in PAGES:
        for code in re.findall(r"`(harness [a-z][^`\n]*)`", text_of(page)):
            verb = code.split()[1]
            assert verb in BUILT_IN, (page, code)
            for option in re.findall(r"--[a-z-]+", code):
                help_ = CliRunner().invoke(program, [verb, "--help"]).output
                assert option in help_, (page, code)


def test_inline_options_exist() -> None:
    known = {
        option
        for verb in BUILT_IN
        for option in re.findall(r"--[a-z-]+", CliRunner().invoke(program, [verb, "-h"]).output)
    }
    for page in PAGES:
        for option in re.findall(r"`(--[a-z-]+)", text_of(page)):
            assert option in known, (page, option)


@pytest.mark.parametrize("verb", sorted(BUILT_IN))
def test_help_shows_an_example_that_works(verb: str) -> None:
    output = CliRunner().invoke(program, [verb, "--help"]).output
    after = re.split(r"^  Examples?:$", output.split("Options:")[1], flags=re.MULTILINE)
    assert len(after) == 2, output
    examples = list(harness_lines(after[1]))
    assert examples
    assert {arguments[0] for arguments in examples} == {verb}
    for arguments in examples:
        parsed(arguments)


def test_gates_of_the_pages_are_as_they_are_said_to_be() -> None:
    from harness.comparing.defaults import DEFAULT_GATES
    from harness.comparing.metrics import Rules, parse_rule
    from harness.comparing.paired import SIGNIFICANCE
    from harness.proofs.curves import SUMMARY_R

    page = text_of("docs/gate-your-ci.md")
    for gate in DEFAULT_GATES:
        assert f"`{gate}`" in page
    assert "r = " + ", ".join(f"{r:,}" for r in SUMMARY_R[:-1]) in " ".join(page.split())
    assert f"At {SIGNIFICANCE:.0%} or more" in page
    assert not any(rule.gates for rule in Rules.parse(["none"]).chosen)
    for change in ("max_radius:-5", "train_s:+2s", "peak_rss_mb:+100MB"):
        assert f"`{change.partition(':')[2]}`" in page
        parse_rule(change)


def test_exit_codes_of_the_gate(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    page = text_of("docs/gate-your-ci.md")
    assert re.findall(r"^\| (\d) \|", page, re.MULTILINE) == ["0", "1", "2", "4"]
    base, new = "reports/mnist17", "runs/ci"
    invoke(["compare", base, new], 0)
    invoke(["run", "--dataset", "npz:my-data.npz", "-d", "bagging", "--output", "runs/one"])
    assert "vanished" in invoke(["compare", base, "runs/one"], 1)
    invoke(["compare", "missing", new], 2)
    assert "missing does not exist" in invoke(
        ["compare", "missing", new, "--allow-missing-baseline"], 0
    )
    shutil.copytree(base, "edited")
    with open("edited/summary.csv", "a") as file:
        file.write("\n")
    invoke(["compare", "edited", new, "--allow-missing-baseline"], 2)
    manifest = Path(shutil.copytree(new, "other"), "manifest.json")
    digest = re.search(r'"digest": "(\w+)"', manifest.read_text())
    assert digest is not None
    manifest.write_text(manifest.read_text().replace(digest[1], "0" * 64))
    invoke(["compare", base, "other"], 4)


# Python


def test_every_python_block_is_tested() -> None:
    tested = {"docs/read-a-certificate.md", "docs/sound-preprocessing.md"}
    tested |= {"docs/attack.md"}
    tested |= {"README.md", "docs/python.md"}  # in a notebook; in test_python_page.py
    tested |= {
        f"docs/add-{part}.md" for part in ("a-defense", "a-learner", "a-dataset", "features")
    }
    assert {page for page in PAGES if blocks(text_of(page), "python")} == tested


def outputs_of(page: str, folder: Path) -> list[str]:
    """What each python block prints, run one after another in that folder."""
    mark = "---- next block"
    code = f"print({mark!r})\n".join(blocks(text_of(page), "python"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(f"{mark}\n")


def test_the_attack_of_the_page_is_one(place: Path) -> None:
    (block,) = blocks(text_of("docs/attack.md"), "python")
    made: dict[str, Any] = {}
    exec(block, made)
    (kind,) = made["harness_register_attacks"]()
    target = SimpleNamespace(nearness=lambda: np.array([4, 2, 0, 1, 3]))
    assert kind().poison(target, Threat.DELETE, 2).deleted.tolist() == [1, 3]
    assert kind.threats == {Threat.DELETE}


def test_reading_a_certificate_works_on_any_run(place: Path) -> None:
    summary, curve, pointwise = outputs_of("docs/read-a-certificate.md", place)
    guarantee, numbers = summary.splitlines()
    assert guarantee == str(Guarantee.probabilistic(0.001))
    accuracy, abstained, _ = map(float, numbers.split())
    assert float(curve) == accuracy == 0
    by_hand, count = pointwise.splitlines()[1].split()
    assert (float(by_hand), int(count)) == (accuracy, round(abstained * 30))


@pytest.mark.skipif(
    not (PUBLISHED / "certificates.csv").exists(), reason="the report is not in this distribution"
)
def test_reading_a_certificate_prints_what_the_page_shows(tmp_path: Path) -> None:
    shutil.copytree(PUBLISHED, tmp_path / "runs" / "mine")
    shown = blocks(text_of("docs/read-a-certificate.md"), "text")
    assert outputs_of("docs/read-a-certificate.md", tmp_path) == shown


def test_guarantees_are_called_as_they_are() -> None:
    page = text_of("docs/read-a-certificate.md")
    apart = Guarantee.probabilistic(0.001, "example")
    for guarantee in (DETERMINISTIC, Guarantee.probabilistic(0.001), apart, ESTIMATE):
        assert f"\n- `{guarantee}`: " in page


def test_alpha_is_spent_once_over_all_test_examples() -> None:
    votes = np.array([[900, 100]])
    alone, among = simuem(votes, 0.001), simuem(np.repeat(votes, 50, axis=0), 0.05)
    assert among.p_lower == pytest.approx(alone.p_lower[0])
    apart = simuem(np.repeat(votes, 50, axis=0), 0.001, split="per-example")
    assert apart.p_lower == pytest.approx(alone.p_lower[0])


# What else is run to contribute


def test_what_contributors_run_exists() -> None:
    """Environments of tox, and files; what each does was tried when it was written down."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "tox.ini")
    lines = "".join(blocks(text_of("CONTRIBUTING.md"), "sh")).splitlines()
    environments = set()
    for line in lines:
        words = shlex.split(line)
        if words[0] == "tox":
            environments |= set(words[2:3])
        elif words[0] in ("pytest", ".ci/run"):
            assert all((ROOT / word).exists() for word in words if "/" in word), line
    assert {"lint", "type", "py", "gate", "docs", "bench"} == environments
    assert {f"testenv:{name}" for name in environments - {"py"}} <= set(settings)
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text_of("CONTRIBUTING.md")):
        assert (ROOT / path).exists(), path


# Links and the workflow


@EVERYWHERE
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (PAGES[page].parent / file).resolve() if file else PAGES[page]
        top = path.relative_to(ROOT).parts[0]
        if top in ("reports", ".github") and not (ROOT / top).exists():
            continue  # a source distribution holds neither
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert anchor in slugs, target


def test_the_index_has_every_page() -> None:
    for page in PAGES:
        name = Path(page).name
        if name != "README.md":
            assert f"({page})" in text_of("README.md")
            assert page == name or f"({name})" in text_of("docs/README.md")


@pytest.mark.skipif(not WORKFLOW.exists(), reason="a source distribution holds no workflow")
def test_the_page_shows_the_workflow_that_runs() -> None:
    workflow = WORKFLOW.read_text("utf-8")
    (shown,) = blocks(text_of("docs/gate-your-ci.md"), "yaml")
    assert workflow.endswith(shown)
    assert "\t" not in workflow
    assert "permissions:\n  contents: read\n" in workflow
    runs = workflow.replace("\n          --", " --").replace("run: >\n          ", "run: ")
    commands = re.findall(r"- run: (.*)", runs)
    gate = [parsed(arguments) for arguments in harness_lines("\n".join(commands))]
    assert [context.info_name for context in gate] == ["run", "compare"]
    assert gate[1].params["new"] == gate[0].params["output"]
    for name in ("junit", "figure"):
        assert f"            {gate[1].params[name]}\n" in workflow.split("          path: |\n")[-1]
