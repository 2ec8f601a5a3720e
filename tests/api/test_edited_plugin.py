"""A plugin that is edited in place, with the store: what rests on the edit is trained again."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.datasets.base import Dataset
from harness.running.quiet import Quiet

DEFENSE = """
import numpy as np
from pydantic import Field
import watched_helper
from harness import hookimpl
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.defense import Defense, Parameters
from harness.threats import Threat
from watched_features import First
from watched_learner import Constant


class WatchedParameters(Parameters):
    learner: str = Field("constant", description="how models are fitted")
    features: str = Field("first", description="what they see")


class Watched(Defense[WatchedParameters]):
    name, title, paper = "watched", "a vote", "nobody's"
    Params = WatchedParameters

    def covers(self):
        return frozenset({Threat.LABEL_FLIP})

    def gather(self, task):
        x, x_test = task.features(self.params.features)
        models = task.learner(self.params.learner).fit(
            x[None], task.labels()[None], 2, task.rng()
        )
        votes = np.bincount(models.predict(x_test)[0].numpy(), minlength=2)
        return {"told": np.array([7, watched_helper.NUMBER, *votes, int(x_test.sum())])}

    def certify(self, evidence, threat, alpha):
        zeros = np.zeros(30, int)
        return PointwiseCertificate("none", threat, DETERMINISTIC, zeros, zeros)


@hookimpl
def harness_register_defenses():
    return [Watched]


@hookimpl
def harness_register_learners():
    return [Constant]


@hookimpl
def harness_register_features():
    return [First]
"""
LEARNER = """
import torch
from harness.learners.base import Learner, Models


class Always(Models):
    def predict(self, x):
        return torch.full((1, len(x)), 1)


class Constant(Learner):
    name, summary = "constant", "always the same label"

    def fit(self, x, y, n_labels, rng, present=None):
        return Always()

    def models_per_block(self, k, d):
        return 1
"""
FEATURES = """
import torch
from harness.features.base import Features


class First(Features):
    name, summary = "first", "one number"

    def check(self, example):
        pass

    def count(self, example):
        return 1

    def rows(self, x):
        return torch.full((len(x), 1), 3.0)
"""
HELPER = "NUMBER = 11\n"
SOURCES = {
    "watched_defense.py": DEFENSE,
    "watched_learner.py": LEARNER,
    "watched_features.py": FEATURES,
    "watched_helper.py": HELPER,
}
EDITS = {
    "gather": ("watched_defense.py", "[7, ", "[8, "),
    "learner": ("watched_learner.py", "(1, len(x)), 1)", "(1, len(x)), 0)"),
    "features": ("watched_features.py", "3.0", "4.0"),
    "helper": ("watched_helper.py", "11", "12"),
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a plugin that is installed, editable."""
    folder = tmp_path / "plugin"
    info = folder / "watched-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: watched\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[harness]\nwatched = watched_defense\n")
    for name, source in SOURCES.items():
        (folder / name).write_text(source)
    monkeypatch.syspath_prepend(folder)
    # Bytecode of a source of the same second and size would be taken for that of the source.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget()


def forget() -> None:
    """Makes this process import the plugin anew, as a process of its own would."""
    importlib.invalidate_caches()
    for name in SOURCES:
        sys.modules.pop(name.removesuffix(".py"), None)


def run(tiny: Dataset, folder: Path) -> tuple[list[int], bool]:
    """What ``gather`` left, and whether it was called for it."""
    forget()
    done = []

    class Told(Quiet):
        def start(self, cell: str, total: int, done_: int) -> None:
            done.append(done_)

    harness.run("watched", dataset=tiny, output=folder, progress=Told())
    (file,) = (folder / "evidence").glob("*.npz")
    with np.load(file) as archive:
        return archive["told"].tolist(), done == [0]


def test_each_part_that_is_edited_is_trained_again(
    plugin: Path, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.api.write_report", lambda folder: None)
    first = [7, 11, 0, 30, 90]
    assert run(tiny, tmp_path / "first") == (first, True)
    assert run(tiny, tmp_path / "again") == (first, False)
    expected = {
        "gather": [8, 11, 0, 30, 90],
        "learner": [7, 11, 30, 0, 90],
        "features": [7, 11, 0, 30, 120],
        "helper": [7, 12, 0, 30, 90],
    }
    for part, (name, old, new) in EDITS.items():
        path = plugin / name
        assert SOURCES[name].count(old) == 1
        path.write_text(SOURCES[name].replace(old, new))
        assert run(tiny, tmp_path / part) == (expected[part], True), part
        path.write_text("# edited back\n" + SOURCES[name])
        assert run(tiny, tmp_path / f"{part}-back") == (first, False), part


def test_the_source_of_features_is_in_the_manifest(plugin: Path, tiny: Dataset) -> None:
    forget()
    made = harness.run("bagging[k=5,n_models=20,features=first]", dataset=tiny)
    assert made.manifest["sources"] == {"watched 0.1": {"commit": None, "dirty": None}}
    assert harness.run("bagging[k=5,n_models=20]", dataset=tiny).manifest["sources"] == {}
