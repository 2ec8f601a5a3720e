"""A learner whose name a defense makes up while it trains: its code is checked when it is used."""

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


def run(tiny: Dataset, path: Path) -> tuple[CellResult, tuple[int, int]]:
    importlib.invalidate_caches()
    sys.modules.pop("hidden_learner", None)
    manager, progress = PluginManager(), Silent()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_defenses=hookimpl(lambda: [Hidden]))
    manager.register(own, "hidden", "hidden 1.0")
    registry = manager.registry()
    selection = "hidden[k=40,n_models=60,features=raw]"
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
