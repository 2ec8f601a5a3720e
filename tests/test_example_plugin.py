"""A plugin of somebody else, installed as its users install it, beside the built-in defenses."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

SOURCE = Path(__file__).parent / "example_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which the plugin's wheel is installed."""
    copy = tmp_path_factory.mktemp("plugin") / "source"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    site = tmp_path_factory.mktemp("site")
    (wheel,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return os.environ | {"PYTHONPATH": str(site)}


def harness(
    environment: dict[str, str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_is_listed_with_its_distribution(installed: dict[str, str]) -> None:
    listed = harness(installed, "list").stdout
    assert "Majority vote over disjoint parts" in listed
    assert "harness-parts 0.3.0" in listed
    shown = harness(installed, "show", "parts").stdout
    assert "parts, and models: one for each part" in shown


def test_it_runs_beside_the_built_in_ones(
    installed: dict[str, str], tiny_npz: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = harness(
        installed, "run", "-d", "parts[n_models=15]", "-d", "bagging[n_models=30,k=5]",
        "--dataset", f"npz:{tiny_npz}", "--output", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = pd.read_csv(out / "summary.csv").set_index(["defense", "threat"])
    assert summary.loc[("parts[n_models=15]", "modify"), "max_radius"] in range(1, 4)
    cells = json.loads((out / "manifest.json").read_text())["cells"]
    assert cells[0]["distribution"] == "harness-parts 0.3.0"


def test_a_broken_plugin_stops_only_the_cell_that_needs_it(
    installed: dict[str, str], tiny_npz: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed["PYTHONPATH"], site)
    (site / "harness_parts.py").write_text("import no_such_module_at_all")
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = harness(
        environment, "run", "-d", "parts", "-d", "bagging[n_models=30,k=5]",
        "--dataset", f"npz:{tiny_npz}", "--output", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 3
    assert "No module named 'no_such_module_at_all'" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(pd.read_csv(tmp_path / "run" / "curves.csv")["defense"]) == {
        "bagging[k=5,n_models=30]"
    }
    doctor = harness(environment, "doctor")
    assert doctor.returncode == 3
    assert "WRONG: plugin parts (harness-parts 0.3.0)" in doctor.stdout
    assert harness(environment, "--help").returncode == 0
