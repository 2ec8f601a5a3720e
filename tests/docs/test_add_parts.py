"""docs/add-features.md, add-a-learner.md, add-a-dataset.md and sound-preprocessing.md are true."""

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from harness.datasets.base import Dataset
from harness.learners.fitting import fit_all
from harness.plugins import registry as registries
from harness.plugins.lookup import learner_of
from harness.plugins.registry import PluginManager, Registry, load_dataset
from harness.plugins.suites import DEFAULT, load_suite
from harness.running.plan import make_plan
from harness.testing import ConformanceError, check_features
from harness.threats import Threat

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"features": "my_features", "a-learner": "my_learner", "a-dataset": "my_dataset"}


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text("utf-8")


def block(page: str, name: str) -> str:
    """The fenced block below the comment of that name."""
    (found,) = re.findall(rf"<!-- {name} -->\n```\w+\n(.*?)```", text_of(page), re.DOTALL)
    return str(found)


def load(page: str, folder: Path, name: str = "") -> ModuleType:
    """The module that the page shows, or its other one, imported from a file of its own."""
    name = name or PAGES[page]
    path = folder / f"{name}.py"
    path.write_text(block(f"add-{page}", f"{name}.py"), "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Everything that the pages add, as if it were installed."""
    manager = PluginManager()
    manager.load(installed=[])
    for page, name in PAGES.items():
        module = load(page, tmp_path)
        monkeypatch.setitem(sys.modules, name, module)
        manager.register(module, name, f"{name} 1.0")
    networks = load("a-learner", tmp_path, "my_networks")
    monkeypatch.setitem(sys.modules, "my_networks", networks)
    registry = manager.registry()
    assert registry.problems == ()
    monkeypatch.setattr(registries, "load_registry", lambda: registry)
    return registry


@pytest.mark.parametrize("page", [*(f"add-{page}" for page in PAGES), "sound-preprocessing"])
def test_every_python_block_is_tested(page: str) -> None:
    named = re.findall(r"<!-- (\S+) -->\n```python", text_of(page))
    assert len(named) == text_of(page).count("```python")
    source = Path(__file__).read_text("utf-8")
    for name in named:
        assert f'"{name.removesuffix(".py")}"' in source


@pytest.mark.parametrize("page", PAGES)
def test_the_entry_point_is_the_module(page: str) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", text_of(f"add-{page}"), re.DOTALL)
    points = tomllib.loads(shown)["project"]["entry-points"]["harness"]
    assert list(points.values()) == [PAGES[page]]


@pytest.mark.parametrize("page", PAGES)
def test_the_runs_that_it_shows_can_be_planned(
    registry: Registry, tiny: Dataset, page: str
) -> None:
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", text_of(f"add-{page}"), re.DOTALL))
    runs = [shlex.split(line) for line in shell.splitlines() if line.startswith("harness run")]
    assert runs
    for words in runs:
        cells = [word for before, word in pairwise(words) if before == "-d"]
        data = load_dataset(registry, "rings", None) if "rings" in words else tiny
        cells = cells or list(load_suite(DEFAULT).cells)
        plan = make_plan(registry, cells, data, threats=[Threat.ANY], alpha=0.001, seed=0)
        assert [cell.error for cell in plan.cells] == [None] * len(plan.cells)


# Features


def test_the_features_are_sound(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("add-features", "check"), {})  # the page's own words
    assert "brightness: 7 properties hold" in capsys.readouterr().out
    check_features("brightness(parts=3)", registry=registry)
    found = registry.features["brightness"].value()
    x = np.zeros((2, 4, 4), np.uint8)
    x[0, :2, 2:] = 255
    assert found.compute(x).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_broken_as_shown_they_fail_as_shown(registry: Registry, tmp_path: Path) -> None:
    page, whole = "add-features", block("add-features", "my_features.py")
    line = "        return torch.stack([self.row(image) for image in images(x)])\n"
    assert line in whole
    broken = tmp_path / "broken.py"
    broken.write_text(whole.replace(line, block(page, "break")), "utf-8")
    spec = importlib.util.spec_from_file_location("broken", broken)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ConformanceError) as caught:
        check_features(module.Brightness, registry=registry)
    assert block(page, "message").strip() in str(caught.value)


# A learner


def test_the_learner_passes_inside_a_defense(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(block("add-a-learner", "check"), {})
    assert "properties hold" in capsys.readouterr().out


def test_the_network_is_trained(registry: Registry) -> None:
    learner = learner_of(registry, "torch(module='my_networks:small', epochs=30, rate=0.01)")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 20, 1, 4, 4, generator=generator)
    y = (x.mean((2, 3, 4)) > 0.5).long()
    models = learner.fit(x, y, 2, np.random.default_rng(0))
    assert (models.predict(x[0])[0] == y[0]).float().mean() > 0.8


def test_the_learner_is_what_it_says(registry: Registry) -> None:
    learner = learner_of(registry, "centroid")
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(5, 12, 3))).float()
    y = torch.from_numpy(rng.integers(0, 3, (5, 12)))
    asked = torch.from_numpy(rng.normal(size=(9, 3))).float()
    models = fit_all(learner, x, y, 4, rng)
    for i in range(5):
        means = {c: x[i, y[i] == c].mean(0) for c in set(y[i].tolist())}
        nearest = [min(means, key=lambda c: float((row - means[c]).norm())) for row in asked]
        assert models.predict(asked)[i].tolist() == nearest
        assert models.scores(asked, 4)[i].argmax(1).tolist() == nearest
    present = torch.zeros_like(y, dtype=torch.bool)
    present[1, 3] = True
    few = learner.fit(x, y, 4, rng, present).predict(asked)
    assert (few[0] == 0).all()
    assert (few[1] == y[1, 3]).all()


# A data set


def test_the_file_is_a_data_set(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(block("add-a-dataset", "file"), {})
    data = load_dataset(registry, "npz:my-data.npz", None)
    assert (data.n_train, data.n_test, data.domain.assumed) == (200, 100, ())


def test_the_data_set_is_the_same_every_time(registry: Registry) -> None:
    data, again = (load_dataset(registry, "rings", None) for _ in range(2))
    assert data.digest == again.digest
    assert (data.n_train, data.n_test, data.n_labels) == (400, 100, 2)
    assert str(data.domain) == "2 values of float32 from -3 to 3, 2 labels (0, 1)"
    radius = np.hypot(*data.x_train.T)
    assert (data.y_train == (radius > 1.1)).all()


# Preprocessing


def test_the_counterexample_prints_what_is_shown() -> None:
    page = "sound-preprocessing"
    done = subprocess.run(
        [sys.executable, "-c", block(page, "counterexample")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"```text\n(.*?)```", text_of(page), re.DOTALL)
    assert done.stdout == shown
