"""The plan: one key and one label for what is the same, mistakes found before anything trains."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import Field

from harness import hookimpl
from harness.certificates import Certificate
from harness.datasets.base import Dataset
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.defenses.bagging import Bagging, BaggingParameters
from harness.errors import UsageError
from harness.plugins.registry import PluginManager, Registry
from harness.results.cells import Cell
from harness.running.keys import code_of
from harness.running.plan import make_plan
from harness.threats import Threat


def plan(registry: Registry, data: Dataset, *selections: str) -> tuple[Cell, ...]:
    return make_plan(
        registry, selections, data, threats=[Threat.ANY], alpha=0.001, seed=0
    ).cells  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (
            ["ridge", "ridge()", "ridge(penalty=0.02)", " ridge( penalty = 2e-2 )"],
            "bagging[features=raw]",
        ),
        (
            ["ridge(penalty=1)", "ridge(penalty = 1.0)"],
            "bagging[learner=ridge(penalty=1.0),features=raw]",
        ),
        (
            ["logistic(penalty=0.02,steps=9)", "logistic(steps=9)", "logistic(steps=9, )"],
            "bagging[learner=logistic(steps=9),features=raw]",
        ),
        (
            [
                "pipeline(sklearn.decomposition.PCA, sklearn.svm.SVC(kernel='rbf'))",
                "pipeline( sklearn.decomposition.PCA(copy=True),sklearn.svm.SVC( ) )",
            ],
            "bagging[learner=pipeline(sklearn.decomposition.PCA, sklearn.svm.SVC),features=raw]",
        ),
        (
            [
                "sklearn.tree.DecisionTreeClassifier(max_depth=None, min_samples_leaf=2)",
                "sklearn.tree.DecisionTreeClassifier( min_samples_leaf = 2 )",
            ],
            "bagging[learner=sklearn.tree.DecisionTreeClassifier(min_samples_leaf=2),features=raw]",
        ),
    ],
)
def test_one_learner_has_one_label_and_one_key(
    registry: Registry, tiny: Dataset, texts: list[str], label: str
) -> None:
    cells = [
        plan(registry, tiny, f"bagging[features=raw,learner={text}]")[0]
        for text in texts
    ]  # fmt: skip
    assert {cell.label for cell in cells} == {label}
    assert len({cell.key for cell in cells}) == 1
    (again,) = plan(registry, tiny, label)
    assert (again.label, again.key) == (label, cells[0].key)


def test_different_learners_have_different_keys(registry: Registry, tiny: Dataset) -> None:
    texts = ["ridge", "ridge(penalty=0.03)", "logistic", "logistic(penalty=0.03)"]
    cells = plan(registry, tiny, *(f"bagging[features=raw,learner={text}]" for text in texts))
    assert len({cell.key for cell in cells}) == len({cell.label for cell in cells}) == 4


class Quiet(Parameters):
    n_models: int = 3


class Asking(Defense[Quiet]):
    """Asks for learners by their names, as the scaffold does."""

    name = title = paper = "asking"
    Params = Quiet

    def covers(self) -> frozenset[Threat]:
        return frozenset()

    def gather(self, task: Task) -> Arrays:
        task.learner("logistic")
        task.learner("of nobody")
        return {}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("defense", "modules"),
    [
        (Bagging(BaggingParameters()), ["bagging", "ridge"]),
        (Bagging(BaggingParameters(learner="cnn")), ["bagging", "cnn"]),
        (
            Bagging(BaggingParameters(learner="sklearn.tree.DecisionTreeClassifier")),
            ["bagging", "estimator", "_classes"],
        ),
        (Asking(Quiet()), ["logistic"]),
    ],
)
def test_a_key_covers_the_defense_its_learners_and_what_they_rest_on(
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    defense: Defense[Any],
    modules: list[str],
) -> None:
    monkeypatch.setattr("harness.running.keys.code_digest", lambda *roots: roots)
    seen: Any = code_of(defense, registry)
    names = [root.__module__ if isinstance(root, type) else root.__name__ for root in seen]
    assert type(defense) in seen
    assert type(defense.params) in seen
    assert {"harness.features.tensors", "harness.running.task"} <= set(names)
    found = {name.rpartition(".")[2] for name in names}
    learners = {"ridge", "logistic", "cnn", "naive_bayes", "nearest", "estimator", "_classes"}
    assert set(modules) - {"bagging"} == found & learners
    assert set(modules) <= found


def test_the_same_learner_twice_is_the_same_cell_twice(registry: Registry, tiny: Dataset) -> None:
    with pytest.raises(UsageError, match="is selected twice"):
        plan(
            registry, tiny,
            "bagging[features=raw]", "bagging[features=raw,learner=ridge(penalty=0.02)]",
        )  # fmt: skip


class Verbose(Parameters):
    n_models: int = 3
    k: int = 5
    learner: str = Field("ridge(penalty=0.02)")
    features: str = "raw"


class Wordy(Bagging):
    name = "wordy"
    Params = Verbose  # type: ignore[assignment]


def test_a_default_that_is_spelt_out_stays_the_default(tiny: Dataset) -> None:
    manager = PluginManager()
    manager.load(installed=[])
    own = SimpleNamespace(harness_register_defenses=hookimpl(lambda: [Wordy]))
    manager.register(own, "wordy", "wordy 1.0")
    registry = manager.registry()
    cells = [plan(registry, tiny, f"wordy{text}")[0] for text in ("", "[learner=ridge]")]
    assert cells[0].label == cells[1].label == "wordy"
    assert cells[0].key == cells[1].key
    assert cells[0].defense is not None
    assert cells[0].defense.params.learner == "ridge(penalty=0.02)"


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("bagging[learner=ridge(penalty=-1)]", r"ridge: penalty=-1 is not allowed"),
        ("bagging[learner=ridge(penalty=1" + "0" * 400 + ")]", r"too large"),
        (
            "bagging[features=raw,learner=sklearn.linear_model.LogisticRegression(max_iter=-1)]",
            r"LogisticRegression\(max_iter=-1\)': The 'max_iter' parameter .* Got -1",
        ),
        (
            "bagging[features=raw,learner=sklearn.tree.DecisionTreeClassifier(criterion='x')]",
            r"The 'criterion' parameter",
        ),
        ("dp[features=raw,epsilon=1e-4,accountant=rdp]", r"no noise gives epsilon=0\.0001"),
        ("dp[features=raw,epsilon=1e-4,accountant=rdp]", r"allowed: an epsilon above 0\.00361"),
        ("dp[features=raw,epsilon=1e-3,sample_rate=0.5]", r"no noise gives epsilon=0\.001"),
        ("dp[features=raw,accountant=prv,sample_rate=0.5]", r"prv bounds nothing"),
    ],
)
def test_what_cannot_be_trained_is_known_before(
    registry: Registry, tiny: Dataset, selection: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        plan(registry, tiny, selection)
    assert "\n" not in str(caught.value)


def test_a_learner_of_a_broken_plugin(registry: Registry, tiny: Dataset) -> None:
    manager = PluginManager()
    manager.load(installed=[])
    misspelt = SimpleNamespace(harness_register_lerners=hookimpl(lambda: [Bagging]))
    manager.register(misspelt, "lost", "lost 1.0")
    with pytest.raises(UsageError, match=r"unknown learner 'x'; .*plugin lost \(lost 1\.0\): "):
        plan(manager.registry(), tiny, "bagging[features=raw,learner=x]")
    clashes = replace(registry.learners, clashes={"two": ("a 1", "b 2")})
    with pytest.raises(UsageError, match=re.escape("registered by a 1 and by b 2")):
        plan(replace(registry, learners=clashes), tiny, "bagging[features=raw,learner=two]")
