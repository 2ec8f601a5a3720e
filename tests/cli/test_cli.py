"""The command line as a user meets it: exit codes, one clear line for each mistake, resumption."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli.program import program
from harness.results.schema import SCHEMA

SMALL = ["-d", "bagging[n_models=20,k=5,features=raw]", "--threat", "any"]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(a) for a in arguments])


def process(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "harness", *(str(a) for a in arguments)]


def test_help_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from harness.cli.program import program\n"
        "program(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'pandas', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout


@pytest.mark.parametrize("command", ["run", "list", "show", "report", "doctor"])
def test_every_command_ends_its_help_with_an_example(command: str) -> None:
    result = harness(command, "--help")
    assert result.exit_code == 0
    assert f"harness {command}" in result.output.split("Example")[-1]


def test_a_run_leaves_everything(tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = harness("run", *SMALL, "--dataset", f"npz:{tiny_npz}", "--output", out)
    assert result.exit_code == 0, result.output
    left = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert {
        "manifest.json",
        "certificates.npz",
        "curves.csv",
        "summary.csv",
        "summary.md",
        "report.html",
        "figures/certified_accuracy.svg",
        "figures/certified_accuracy.png",
        "figures/cost.svg",
        "figures/cost.png",
    } <= left
    curves = pd.read_csv(out / "curves.csv")
    assert list(curves) == [
        "defense", "certificate", "threat", "guarantee", "r", "certified_accuracy",
    ]  # fmt: skip
    summary = pd.read_csv(out / "summary.csv")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["schema"] == SCHEMA
    assert list(summary)[:5] == ["defense", "certificate", "threat", "guarantee", "kind"]
    assert summary["kind"].tolist() == ["pointwise"]
    assert manifest["dataset"]["n_train"] == 120
    assert manifest["cells"][0]["status"] == "finished"
    with np.load(out / "certificates.npz", allow_pickle=False) as archive:
        label = summary["defense"][0]
        radii = archive[f"{label}|any|radii"]
        right = archive[f"{label}|any|predictions"] == np.load(tiny_npz)["y_test"]
    at_0 = curves[curves["r"] == 0]["certified_accuracy"].item()
    assert at_0 == pytest.approx(np.mean(right & (radii >= 0)))
    assert summary["certified_accuracy@0"].item() == pytest.approx(at_0)


def test_a_threat_that_is_not_covered_is_shown_as_such(tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = harness(
        "run", "-d", "label-flip[features=raw]", "--dataset", f"npz:{tiny_npz}", "--output", out
    )
    assert result.exit_code == 0, result.output
    summary = pd.read_csv(out / "summary.csv").set_index("threat")
    assert summary.loc["any", "guarantee"] == "not covered"
    assert np.isnan(summary.loc["any", "certified_accuracy@0"])
    assert summary.loc["label-flip", "guarantee"] == "deterministic"
    curves = pd.read_csv(out / "curves.csv").set_index("threat")
    assert curves.loc["any", "guarantee"] == "not covered"
    assert np.isnan(curves.loc["any", "certified_accuracy"])
    assert not curves.loc[["label-flip"], "certified_accuracy"].isna().any()
    assert "not covered" in (out / "summary.md").read_text()


def test_the_same_run_again_trains_nothing_and_gives_the_same_bytes(
    tiny_npz: Path, tmp_path: Path
) -> None:
    def curves(name: str, *more: str) -> bytes:
        out = tmp_path / name
        arguments = [*SMALL, "--dataset", f"npz:{tiny_npz}", "--output", out, *more]
        result = harness("run", *arguments)
        assert result.exit_code == 0, result.output
        return (out / "curves.csv").read_bytes()

    first = curves("one")
    evidence = next((tmp_path / "one" / "evidence").glob("*.npz"))
    before = evidence.stat().st_mtime_ns
    assert curves("one") == first
    assert curves("one", "--alpha", "0.2") != first
    assert evidence.stat().st_mtime_ns == before
    assert curves("one", "--fresh") == first
    assert evidence.stat().st_mtime_ns > before
    assert curves("two") == first
    assert curves("three", "--seed", "1") != first


def blocks(store: Path) -> Iterable[Path]:
    return [p for p in store.glob("*/*.npz") if not p.name.startswith(".")]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    tiny_npz: Path, tmp_path: Path, store: Path, sent: signal.Signals
) -> None:
    many = ["-d", "bagging[n_models=20000,k=5,features=raw]", "--threat", "any"]

    def arguments(name: str) -> list[str]:
        return process("run", *many, "--dataset", f"npz:{tiny_npz}", "--output", tmp_path / name)

    other = ["--store", str(tmp_path / "other")]
    subprocess.run(arguments("whole") + other, check=True, capture_output=True)
    out = tmp_path / "cut"
    running = subprocess.Popen(arguments("cut"), stderr=subprocess.PIPE, text=True)
    while len(list(blocks(store))) < 3 and running.poll() is None:
        time.sleep(0.001)
    running.send_signal(sent)
    _, errors = running.communicate()
    assert running.returncode == (130 if sent is signal.SIGINT else -sent)
    if sent is signal.SIGINT:
        assert "interrupted; finished blocks are kept; go on with: harness run" in errors
        assert "Traceback" not in errors
    kept = {p: p.stat().st_mtime_ns for p in blocks(store)}
    assert kept
    again = subprocess.run(arguments("cut"), check=True, capture_output=True, text=True)
    assert "of them from before" in again.stderr
    assert (out / "curves.csv").read_bytes() == (tmp_path / "whole/curves.csv").read_bytes()
    assert not list(out.rglob("*.tmp"))


def bad(arguments: list[str | Path], message: str) -> None:
    """The command ends with exit code 2 and one line, which says ``message``."""
    result = harness(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert message in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], "unknown command 'runn'; did you mean run?"),
        (["run", "-d", "baging"], "unknown defense 'baging'; did you mean bagging?"),
        (["run", "-d", "bagging[kk=3]"], "unknown parameter of bagging 'kk'; did you mean k?"),
        (["run", "-d", "bagging[k=0]"], "bagging: k=0 is not allowed"),
        (["run", "-d", "bagging[n_models=0]"], "bagging: n_models=0 is not allowed"),
        (["run", "-d", "bagging[k=ten]"], "bagging: k=ten is not allowed"),
        (["run", "-d", "bagging[features=hogg]"], "unknown features 'hogg'; did you mean hog?"),
        (["run", "-d", "bagging[learner=rid]"], "unknown learner 'rid'; did you mean ridge?"),
        (["run", "-d", "feature-flip[beta=0.5]"], "feature-flip: beta=0.5 is not allowed"),
        (["run", "--threat", "modfiy"], "unknown threat 'modfiy'; did you mean modify?"),
        (["run", "--alpha", "0"], "alpha must be above 0 and below 1, found 0"),
        (["run", "--alpha", "1"], "alpha must be above 0 and below 1, found 1"),
        (["run", "--seed", "-3"], "the seed must be a whole number of at least 0, found -3"),
        (["run", "--dataset", "mnist71"], "unknown dataset 'mnist71'; did you mean mnist17"),
        (["run", "--dataset", "npz:/no/such.npz"], "/no/such.npz"),
        (["run", "--device", "gpu"], "unknown device 'gpu'; allowed: cpu, cuda, cuda:N"),
        (["run", "--output", "/proc/nothing"], "cannot write /proc/nothing"),
        (["show", "bagg"], "features or attack 'bagg'; did you mean bagging?"),
        (["report", "/no/such/run"], "/no/such/run"),
        (["report", "a", "b"], "several runs need --output"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments: list[str | Path], message: str) -> None:
    bad(arguments, message)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    bad(["run", "--device", "cuda"], "device 'cuda' is not there: torch finds no GPU")


def test_an_output_that_holds_a_run_on_other_data(tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["run", *SMALL, "--dataset", f"npz:{tiny_npz}", "--output", out]
    assert harness(*arguments).exit_code == 0
    bad(["run", "-d", "bagging", "--output", out], "holds another run (its dataset is npz:")


def test_labels_that_a_defense_cannot_handle(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "three.npz"
    np.savez(
        path,
        x_train=rng.random((60, 4)),
        y_train=np.arange(60) % 3,
        x_test=rng.random((9, 4)),
        y_test=np.arange(9) % 3,
    )
    bad(["run", "-d", "feature-flip", "--dataset", f"npz:{path}"], "two labels")
    chosen = ["run", "-d", "bagging[features=hog]", "--dataset", f"npz:{path}"]
    bad(chosen, "features=hog needs images")


def test_a_cell_that_fails_while_others_run(tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = harness(
        "run", *SMALL, "-d", "dp[n_models=2,epsilon=9e-4]",
        "--dataset", f"npz:{tiny_npz}", "--output", out,
    )  # fmt: skip
    assert result.exit_code == 3
    assert "finds no noise" in result.stderr
    assert "Traceback" not in result.stderr
    statuses = [c["status"] for c in json.loads((out / "manifest.json").read_text())["cells"]]
    assert statuses == ["finished", "failed"]
    assert "failed" in (out / "summary.md").read_text().lower()
    assert "finds no noise" in (out / "report.html").read_text()


def test_a_dry_run_writes_nothing(tiny_npz: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = harness("run", *SMALL, "--dataset", f"npz:{tiny_npz}", "--output", out, "--dry-run")
    assert result.exit_code == 0
    assert "bagging[" in result.output
    assert not out.exists()


def test_the_folder_is_named_after_the_data(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert harness("run", *SMALL, "--dataset", f"npz:{tiny_npz}").exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch("npz-tiny-[0-9a-f]{8}", folder.name)


def test_list_and_show_and_doctor() -> None:
    listed = harness("list").output
    for name in ("bagging", "dp", "label-flip", "feature-flip", "mnist17", "ridge", "hog", "auto"):
        assert name in listed
    shown = harness("show", "bagging").output
    for text in ("k", "n_models", "AAAI 2021", "poisoning-harness", "modify", "int >= 1"):
        assert text in shown
    assert "penalty" in harness("show", "ridge").output
    hog = harness("show", "hog").output
    for text in ("gradient", "from: poisoning-harness", "cells (default 4)", "bins (default 8)"):
        assert text in hog
    assert "no parameters" in harness("show", "raw").output
    assert "  STEP, STEP, ... (required)" in harness("show", "pipeline").output
    assert (
        "unknown defense, dataset, learner, features or attack 'hgo'; did you mean hog?"
        in harness("show", "hgo").stderr
    )
    assert harness("show", "npz").exit_code == 0
    doctor = harness("doctor")
    assert doctor.exit_code == 0
    assert "everything can be used" in doctor.output
    assert re.search("^features +raw, binarised, hog, pretrained$", doctor.output, re.MULTILINE)


def test_the_environment_may_be_narrow(tiny_npz: Path, tmp_path: Path) -> None:
    arguments = process("run", *SMALL, "--dataset", f"npz:{tiny_npz}", "--output", tmp_path / "run")
    narrow = os.environ | {"COLUMNS": "60", "TERM": "dumb", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(arguments, capture_output=True, env=narrow, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_table_is_compared_with_every_defense(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(90, 5))
    y = (x[:, 0] > 0).astype(int)
    path, out = tmp_path / "table.npz", tmp_path / "run"
    np.savez(path, x_train=x[:70], y_train=y[:70], x_test=x[70:], y_test=y[70:])
    smaller = [f"{name}[n_models=20]" for name in ("bagging", "dp", "feature-flip")]
    chosen = [text for cell in (*smaller, "label-flip") for text in ("-d", cell)]
    result = harness("run", *chosen, "--dataset", f"npz:{path}", "--output", out)
    assert result.exit_code == 0, result.output
    cells = json.loads((out / "manifest.json").read_text())["cells"]
    features = {cell["defense"]: cell["params"].get("features") for cell in cells}
    assert features == {"bagging": "raw", "dp": "raw", "label-flip": "raw", "feature-flip": None}
    assert {cell["status"] for cell in cells} == {"finished"}
    planned = harness("run", "--dataset", f"npz:{path}", "--dry-run")
    assert planned.exit_code == 0
    assert "left out" not in planned.output + planned.stderr


def test_auto_and_the_features_that_it_stands_for_train_once(
    tiny_npz: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    one, other = "bagging[k=5,n_models=20]", "bagging[k=5,n_models=20,features=hog(cells=4)]"
    result = harness("run", "-d", one, "-d", other, "--dataset", f"npz:{tiny_npz}", "--output", out)
    assert result.exit_code == 0, result.output
    cells = json.loads((out / "manifest.json").read_text())["cells"]
    assert [cell["label"] for cell in cells] == [one, "bagging[k=5,n_models=20,features=hog]"]
    assert cells[0]["evidence"] == cells[1]["evidence"]
    assert len(list((out / "evidence").iterdir())) == 1


def test_features_and_pipelines_that_cannot_be(tiny_npz: Path) -> None:
    data = ["--dataset", f"npz:{tiny_npz}"]
    for cell, message in (
        ("bagging[features=hog(cell=3)]", "did you mean cells? Allowed: bins, cells, pooling"),
        ("bagging[features=hog(cells=3]", "brackets or quotes do not match in 'bagging[features="),
        ("bagging[learner=cnn,features=hog]", "learner=cnn sees images and no features"),
        ("bagging[learner=pipeline(ridge, ridge)]", "the step 'ridge' is no import path"),
    ):
        bad(["run", "-d", cell, *data], message)
