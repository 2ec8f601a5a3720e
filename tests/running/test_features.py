"""Features in a plan: what ``auto`` stands for, one label and one key for what is the same."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness import hookimpl
from harness.certificates import Certificate
from harness.datasets.base import Dataset, checked
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.defenses.bagging import Bagging, BaggingParameters
from harness.errors import UsageError
from harness.features.base import Features
from harness.features.hog import Hog
from harness.features.raw import Raw
from harness.plugins.registry import PluginManager, Registry
from harness.plugins.suites import DEFAULT, load_suite
from harness.results.cells import Cell
from harness.running.keys import code_of
from harness.running.plan import make_plan
from harness.threats import Threat


def plan(registry: Registry, data: Dataset, *selections: str) -> tuple[Cell, ...]:
    return make_plan(
        registry, selections, data, threats=[Threat.ANY], alpha=0.001, seed=0
    ).cells  # fmt: skip


@pytest.fixture
def table() -> Dataset:
    """Examples that are no images."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 6)), np.arange(40) % 2
    return checked("table", x, y, x[:9], y[:9])


def test_auto_is_the_features_that_fit_and_the_label_does_not_say_so(
    registry: Registry, tiny: Dataset, table: Dataset
) -> None:
    for data, fitting in ((tiny, "hog"), (table, "raw")):
        usual, chosen = plan(registry, data, "bagging", f"bagging[features={fitting}]")
        assert usual.label == "bagging"
        assert chosen.label == f"bagging[features={fitting}]"
        assert usual.key == chosen.key
        for cell in (usual, chosen):
            assert cell.defense is not None
            assert cell.defense.params.features == fitting
    (other,) = plan(registry, tiny, "bagging[features=raw]")
    assert other.key != plan(registry, tiny, "bagging")[0].key


@pytest.mark.parametrize("text", ["auto", " auto ", "auto()"])
def test_auto_may_be_said(registry: Registry, tiny: Dataset, text: str) -> None:
    with pytest.raises(UsageError, match="bagging is selected twice"):
        plan(registry, tiny, "bagging", f"bagging[features={text}]")


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (["hog(cells=7,bins=8)", "hog( bins = 8, cells = 7 )"], "bagging[features=hog(cells=7)]"),
        (["hog()", "hog(cells=4)", "hog(smoothing=1)"], "bagging[features=hog]"),
        (["hog(smoothing=2)", "hog(smoothing=2.0)"], "bagging[features=hog(smoothing=2.0)]"),
    ],
)
def test_one_kind_of_features_has_one_label_and_one_key(
    registry: Registry, tiny: Dataset, texts: list[str], label: str
) -> None:
    cells = [plan(registry, tiny, f"bagging[features={text}]")[0] for text in texts]
    assert {cell.label for cell in cells} == {label}
    assert len({cell.key for cell in cells}) == 1
    assert plan(registry, tiny, label)[0].key == cells[0].key


@pytest.mark.parametrize("defense", ["bagging", "dp", "label-flip", "dpa", "ss-dpa",
                                     "finite-aggregation"])  # fmt: skip
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "hgo",
            (
                "unknown features 'hgo'; did you mean hog? "
                "Allowed: auto, binarised, hog, pretrained, raw"
            ),
        ),
        ("auot", "unknown features 'auot'; did you mean auto?"),
        ("hog(cell=7)", "unknown parameter of features hog: 'cell'; did you mean cells?"),
        ("hog(cells=0)", "hog: cells=0 is not allowed; wanted an integer >= 1, <= 64"),
        ("hog(bins=1)", "hog: bins=1 is not allowed; wanted an integer >= 2, <= 64"),
        ("hog(cells=2.5)", "hog: cells=2.5 is not allowed"),
        ("hog(pooling=2)", "hog: pooling=2 is not allowed; wanted a number > 0, <= 1"),
        ("hog(cells=9)", "of at least 9 x 9, and an example here has shape (8, 8); raw takes any"),
        ("auto(cells=7)", "features auto has no parameters; found 'auto(cells=7)'"),
        ("raw(scale=2)", "features raw has no parameters; found 'scale'"),
        ("hog(7)", "features 'hog(7)': wanted name or name(key=value, ...)"),
        ("hog(a.b)", "features 'hog(a.b)': wanted name or name(key=value, ...)"),
        ("hog(cells=len(''))", "features \"hog(cells=len(''))\": cells is not a plain value"),
        ("hog(cells=7", "brackets or quotes do not match"),
        ("numpy.abs", "unknown features 'numpy.abs'"),
    ],
)  # fmt: skip
def test_features_that_cannot_be(
    registry: Registry, tiny: Dataset, defense: str, text: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(registry, tiny, f"{defense}[features={text}]")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_learner_that_sees_images_takes_no_features(
    registry: Registry, tiny: Dataset, table: Dataset
) -> None:
    for text in ("bagging", "dpa", "finite-aggregation", "ss-dpa"):
        representation = ",representation=none" if text == "ss-dpa" else ""
        for extra in ("", ",features=auto"):
            selection = f"{text}[learner=cnn{extra}{representation}]"
            (cell,) = plan(registry, tiny, selection)
            assert cell.error is None
            assert "features" not in cell.label
        for features in ("hog", "raw", "hog(cells=2)"):
            selection = f"{text}[learner=cnn,features={features}{representation}]"
            with pytest.raises(UsageError) as caught:
                plan(registry, tiny, selection)
            assert str(caught.value) == (
                f"{text}: learner=cnn sees images and no features, so features={features} is not "
                "allowed; leave features out"
            )
    with pytest.raises(UsageError, match="learner=cnn needs images"):
        plan(registry, table, "bagging[learner=cnn]")
    with pytest.raises(UsageError, match="at least 10 x 10 pixels for architecture='cifar10'; an "):
        plan(registry, tiny, "bagging[learner=cnn(architecture='cifar10')]")


class Fixed(BaggingParameters):
    learner: str = "cnn"
    features: str = "raw"


def test_a_default_of_a_plugin_is_not_chosen(tiny: Dataset) -> None:
    class Seeing(Bagging):
        name = "seeing"
        Params = Fixed

    manager = PluginManager()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_defenses=hookimpl(lambda: [Seeing]))
    manager.register(own, "seeing", "seeing 1.0")
    assert plan(manager.registry(), tiny, "seeing")[0].error is None
    with pytest.raises(UsageError, match="features=hog is not allowed"):
        plan(manager.registry(), tiny, "seeing[features=hog]")


def test_the_default_comparison_of_a_table_leaves_nothing_out(
    registry: Registry, table: Dataset
) -> None:
    cells = load_suite(DEFAULT).cells
    made = make_plan(
        registry, cells, table, threats=[Threat.ANY], alpha=0.001, seed=0, lenient=True
    )
    assert tuple(cell.label for cell in made.cells) == cells
    assert made.left_out == ()


class Half(Raw):
    name = "half"
    summary = "the first half of the values"

    def count(self, example: tuple[int, ...]) -> int:
        return super().count(example) // 2

    def rows(self, x: NDArray[Any]) -> torch.Tensor:
        return super().rows(x)[:, : self.count(x.shape[1:])]


class Quiet(Parameters):
    n_models: int = 3


class Asking(Defense[Quiet]):
    """Asks for features by their names, as the scaffold does."""

    name = title = paper = "asking"
    Params = Quiet

    def covers(self) -> frozenset[Threat]:
        return frozenset()

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        raise NotImplementedError

    def gather(self, task: Task) -> Arrays:
        task.features("half")
        task.features("auto")
        task.features("of nobody")
        return {}


@pytest.mark.parametrize(
    ("defense", "classes"),
    [
        (Bagging(BaggingParameters(features="half")), {Half}),
        (Bagging(BaggingParameters(features="hog(cells=2)")), {Hog}),
        (Bagging(BaggingParameters(learner="cnn")), set()),
        (Asking(Quiet()), {Half, Hog, Raw}),
    ],
)
def test_a_key_covers_the_features_that_are_used(
    monkeypatch: pytest.MonkeyPatch, defense: Defense[Any], classes: set[type]
) -> None:
    manager = PluginManager()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_features=hookimpl(lambda: [Half]))
    manager.register(own, "half", "half 1.0")
    monkeypatch.setattr("harness.running.keys.code_digest", lambda *roots: roots)
    seen: Any = code_of(defense, manager.registry())
    assert {r for r in seen if isinstance(r, type) and issubclass(r, Features)} == classes


def test_features_that_two_plugins_register_or_a_broken_one_lost(
    registry: Registry, tiny: Dataset
) -> None:
    clashes = replace(registry.features, entries={}, clashes={"hog": ("a 1", "b 2")})
    for text in ("bagging", "bagging[features=hog(cells=2)]"):
        with pytest.raises(UsageError, match=re.escape("registered by a 1 and by b 2")):
            plan(replace(registry, features=clashes), tiny, text)
    manager = PluginManager()
    manager.load(installed=[])
    misspelt = SimpleNamespace(harness_register_feature=hookimpl(lambda: [Half]))
    manager.register(misspelt, "lost", "lost 1.0")
    with pytest.raises(UsageError, match=r"unknown features 'half'; .*plugin lost \(lost 1\.0\): "):
        plan(manager.registry(), tiny, "bagging[features=half]")
