"""``harness compare`` and ``harness publish`` as a CI job and its author meet them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program

N = 400


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


@pytest.fixture
def good(made_run, made_cell) -> Path:
    return made_run("good", made_cell("a", {"any": [60] * N}), seed=1)


@pytest.fixture
def bad(made_run, made_cell) -> Path:
    return made_run("bad", made_cell("a", {"any": [30] * 9 + [60] * (N - 9)}))


def test_exit_codes(good, bad, made_run, made_cell):
    assert harness("compare", good, good).exit_code == 0
    assert harness("compare", good, bad).exit_code == 1
    assert harness("compare", bad, good).exit_code == 0
    other = made_run("other", made_cell("b", {"any": [60] * N}, defense="b"))
    result = harness("compare", good, other)
    assert result.exit_code == 4
    assert "nothing is comparable" in result.output


def test_every_output_is_written_whatever_the_verdict(good, bad, tmp_path):
    for name, new, code in (("fine", good, 0), ("fail", bad, 1)):
        out = tmp_path / name
        files = {kind: out / f"x.{kind}" for kind in ("markdown", "junit", "json")}
        options = [text for kind, path in files.items() for text in (f"--{kind}", path)]
        result = harness("compare", good, new, *options, "--figure", out / "x.svg")
        assert result.exit_code == code, result.output
        assert all(path.stat().st_size for path in files.values())
        assert (out / "x.svg").read_text().startswith("<?xml")
        assert json.loads(files["json"].read_text())["exit_code"] == code


def test_an_older_schema_is_not_comparable_and_said_so(good, made_run, made_cell, tmp_path):
    old = made_run("old", made_cell("a", {"any": [60] * N}), schema=0)
    result = harness("compare", old, good, "--json", tmp_path / "c.json")
    assert result.exit_code == 4
    assert "schema 0" in result.output
    assert json.loads((tmp_path / "c.json").read_text())["exit_code"] == 4


def test_a_missing_baseline_fails_unless_it_is_allowed(good, tmp_path):
    result = harness("compare", tmp_path / "none", good)
    assert result.exit_code == 2
    assert "--allow-missing-baseline" in result.stderr
    (tmp_path / "empty").mkdir()
    for missing in ("none", "empty"):
        result = harness("compare", tmp_path / missing, good, "--allow-missing-baseline")
        assert result.exit_code == 0
        assert "no baseline" in result.output
    result = harness("compare", tmp_path / "none", tmp_path / "nor", "--allow-missing-baseline")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fail-on", "speed:+1%"], "unknown metric 'speed'"),
        (["--figure", "x.pdf"], "a figure is .svg or .png"),
        (["-d", "b"], "unknown cell 'b'"),
    ],
)
def test_a_mistake_gets_a_line(good, options, told):
    result = harness("compare", good, good, *options)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_published_report_compares_as_the_run_does(good, bad, tmp_path):
    target = tmp_path / "reports" / "made"
    result = harness("publish", good, target)
    assert result.exit_code == 0, result.output
    names = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert names == [
        "README.md",
        "certificates.csv",
        "curves.csv",
        "figures/certified_accuracy.png",
        "figures/cost.png",
        "manifest.json",
        "summary.csv",
    ]
    assert "figures/certified_accuracy.png" in (target / "README.md").read_text()
    assert str(tmp_path) not in (target / "manifest.json").read_text()
    for new in (good, bad):
        one, other = (harness("compare", base, new) for base in (good, target))
        assert one.exit_code == other.exit_code
        assert one.output.splitlines()[-1] == other.output.splitlines()[-1]
    assert (target / "certificates.csv").read_text().splitlines()[1] == "0,1,1,60"


@pytest.mark.parametrize(
    "name", ["README.md", "curves.csv", "summary.csv", "certificates.csv", "manifest.json"]
)
def test_an_edited_baseline_is_refused(good, tmp_path, name):
    target = tmp_path / "made"
    assert harness("publish", good, target).exit_code == 0
    path = target / name
    before = path.read_text()
    after = (
        before.replace("61", "62")
        .replace("60", "61")
        .replace("0.1.0", "0.1.1")
        .replace("100%", "101%")
    )
    assert after != before
    path.write_text(after)
    result = harness("compare", target, good)
    assert result.exit_code == 2
    assert f"{name} was edited" in result.stderr
    path.unlink()
    result = harness("compare", target, good)
    assert result.exit_code == 2
    assert f"{name} is missing" in result.stderr
    assert harness("compare", target, good, "--allow-missing-baseline").exit_code == 2


def test_line_ends_that_git_changes_are_no_edit(good, tmp_path):
    target = tmp_path / "made"
    assert harness("publish", good, target).exit_code == 0
    for path in target.glob("*.*"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert harness("compare", target, good).exit_code == 0


def test_publishing_again_replaces_and_anything_else_is_left_alone(good, bad, tmp_path):
    target = tmp_path / "made"
    assert harness("publish", good, target).exit_code == 0
    (target / "NOTES").write_text("mine")
    (bad / "certificates.npz").unlink()  # as an older run, which keeps nothing by example
    assert harness("publish", bad, target).exit_code == 0
    assert not (target / "certificates.csv").exists()
    assert harness("compare", target, bad).exit_code == 0
    assert harness("compare", good, target).exit_code == 1
    assert (target / "NOTES").read_text() == "mine"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("x")
    for wrong, told in ((mine, "holds no published report"), (mine / "file", "is a file")):
        result = harness("publish", good, wrong)
        assert result.exit_code == 2
        assert told in result.stderr
    assert harness("publish", good, good).exit_code == 2
    assert harness("publish", target, tmp_path / "again").exit_code == 2


def test_a_published_report_is_never_run_into_or_drawn_over(good, tmp_path, tiny_npz):
    target = tmp_path / "made"
    assert harness("publish", good, target).exit_code == 0
    result = harness("report", target)
    assert result.exit_code == 2
    assert "published report" in result.stderr
    for more in ([], ["--fresh"]):
        result = harness(
            "run", "-d", "label-flip[features=raw]", "--dataset", f"npz:{tiny_npz}",
            "--output", target, *more,
        )  # fmt: skip
        assert result.exit_code == 2
        assert "is a published report" in result.stderr
    assert harness("compare", target, good).exit_code == 0


def test_real_runs_a_worse_parameter_fails_and_another_seed_passes(tiny_npz, tmp_path):
    def run(name, k, seed):
        out = tmp_path / name
        cell = f"bagging[n_models=1000,k={k},features=raw]"
        arguments = ["-d", cell, "--threat", "any", "--seed", str(seed), "--output", out]
        result = harness("run", *arguments, "--dataset", f"npz:{tiny_npz}")
        assert result.exit_code == 0, result.output
        return out

    base = run("base", 5, 0)
    seeded = run("seeded", 5, 1)
    worse = run("worse", 40, 0)
    published = tmp_path / "published"
    assert harness("publish", base, published).exit_code == 0
    shutil.rmtree(base)
    passes = harness("compare", published, seeded, "--fail-on", "certify_s:+400%")
    assert passes.exit_code == 0, passes.output
    fails = harness("compare", published, worse)
    assert fails.exit_code == 1
    assert "certified_accuracy@10" in fails.output


def test_an_archive_beside_a_published_report_is_not_read(good, bad, tmp_path):
    target = tmp_path / "made"
    assert harness("publish", good, target).exit_code == 0
    shutil.copy(bad / "certificates.npz", target)
    assert harness("compare", target, bad).exit_code == 1


def test_a_seal_that_was_taken_off_is_missed(good, tmp_path):
    target = tmp_path / "made"
    assert harness("publish", good, target).exit_code == 0
    manifest = json.loads((target / "manifest.json").read_text())
    del manifest["published"]
    (target / "manifest.json").write_text(json.dumps(manifest))
    result = harness("compare", target, good)
    assert result.exit_code == 2
    assert "manifest.json was edited" in result.stderr


def test_links_stay_links_and_pipes_stay_pipes(good, tmp_path):
    (tmp_path / "real.md").write_text("")
    (tmp_path / "link.md").symlink_to(tmp_path / "real.md")
    options = ["--markdown", tmp_path / "link.md", "--json", "/dev/null"]
    assert harness("compare", good, good, *options).exit_code == 0
    assert (tmp_path / "link.md").is_symlink()
    assert "no regression" in (tmp_path / "real.md").read_text()
    assert not Path("/dev/null").is_file()


def test_a_terminal_without_the_marks_gets_question_marks(good, bad):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "compare", str(good), str(bad)],
        capture_output=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"REGRESSION" in done.stdout
    assert b"Traceback" not in done.stderr


def test_names_with_brackets_are_shown_whole(made_run, made_cell):
    run = made_run("run", made_cell("a[k=20][/red]", {"any": [60] * N}))
    result = harness("compare", run, run)
    assert result.exit_code == 0, result.output
    assert result.output.count("a[k=20][/red]") == 2
