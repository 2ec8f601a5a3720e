"""Learners and features of a plugin, or whose name a defense makes up while it trains: once their
code, or code that they import, was edited, what they trained is trained again.
"""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import Field

from harness import hookimpl
from harness.datasets.base import Dataset
from harness.defenses.bagging import Bagging, BaggingParameters
from harness.plugins.registry import PluginManager
from harness.results.cells import CellResult
from harness.results.folder import open_run
from harness.running.plan import make_plan
from harness.running.runner import Runner
from harness.threats import Threat

MODULES = ("hidden_learner", "my_features")


class HiddenParameters(BaggingParameters):
    weak: str = Field("hidden_learner", description="the module of the class Clf")


class Hidden(Bagging):
    name = "hidden"
    Params = HiddenParameters

    def gather(self, task):  # type: ignore[no-untyped-def]
        learner = ".".join([self.params.weak, "Clf"])  # type: ignore[attr-defined]
        return Bagging(self.params.model_copy(update={"learner": learner})).gather(task)


class Silent:
    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []

    def start(self, cell: str, total: int, done: int) -> None:
        self.started.append((total, done))

    def advance(self, models: int) -> None: ...

    def finish(self, cell: str, seconds: float, error: str | None) -> None: ...

    def note(self, text: str) -> None: ...


class HiddenFeatures(Bagging):
    name = "hidden-features"

    def gather(self, task):  # type: ignore[no-untyped-def]
        features = "-".join(["of", "mine"])
        return Bagging(self.params.model_copy(update={"features": features})).gather(task)


def run(
    tiny: Dataset, path: Path, selection: str = "hidden[k=40,n_models=60,features=raw]"
) -> tuple[CellResult, tuple[int, int]]:
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        sys.modules.pop(name)
    manager, progress = PluginManager(), Silent()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_defenses=hookimpl(lambda: [Hidden, HiddenFeatures]))
    manager.register(own, "hidden", "hidden 1.0")
    if "hidden[" not in selection:
        manager.register(importlib.import_module("my_features.plugin"), "mine", "mine 1.0")
    registry = manager.registry()
    assert registry.problems == ()
    plan = make_plan(registry, [selection], tiny, threats=[Threat.ANY], alpha=0.001, seed=0)
    with open_run(path, plan.identity(), fresh=False) as folder:
        runner = Runner(plan, folder, registry, torch.device("cpu"), progress)
        (result,) = runner.run()
    return result, progress.started[0]


def test_its_edits_are_seen(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = tmp_path / "hidden_learner.py"
    text = (
        "class Clf:\n    def fit(self, x, y): pass\n    def predict(self, x): return [{}] * len(x)"
    )
    for label, done in ((0, 0), (0, 60), (1, 0), (1, 60)):
        source.write_text(text.format(label))
        result, started = run(tiny, tmp_path / "run")
        assert started == (60, done)
        certificate = result.proved[0].certificate
        assert np.unique(certificate.predictions).tolist() == [label]  # type: ignore[union-attr]
    sys.modules.pop("hidden_learner", None)


FEATURES = """
from harness import hookimpl
from harness.features.raw import Raw
from my_features.helper import shift

class Mine(Raw):
    name = "of-mine"
    summary = "raw values and a shift"

    def __init__(self, by: int = 1) -> None:
        self.by = by

    def rows(self, x):
        return super().rows(x) + shift() * self.by

@hookimpl
def harness_register_features():
    return [Mine]
"""


@pytest.mark.parametrize(
    "selection",
    [
        "bagging[k=40,n_models=60,features=of-mine]",
        "dp[n_models=60,features=of-mine(by=2)]",
        "hidden-features[k=40,n_models=60]",
    ],
)
def test_features_are_kept_for_the_code_that_made_them(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selection: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    package = tmp_path / "my_features"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(FEATURES)
    for text, done in (
        ("def shift(): return 1", 0),
        ("def shift(): return 1", 60),
        ("def shift():  # only a comment\n    return 1", 60),
        ("def shift(): return 2", 0),
        ("def shift(): return 2", 60),
    ):
        (package / "helper.py").write_text(text)
        result, started = run(tiny, tmp_path / "run", selection)
        assert result.error is None
        assert started == (60, done), text
    (package / "plugin.py").write_text(FEATURES.replace("by: int = 1", "by: int = 3"))
    assert run(tiny, tmp_path / "run", selection)[1] == (60, 0)
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        sys.modules.pop(name)
