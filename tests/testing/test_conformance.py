"""Every defense that is installed, and its variants, keep the rules that certificates rest on."""

import pytest

from harness.defenses.bagging import Bagging, BaggingParameters
from harness.plugins.registry import Registry, load_registry
from harness.plugins.selection import Selection
from harness.testing import DefenseConformance, check_defense, tiny_dataset

VARIANTS = [
    "bagging[learner=logistic,k=8,split=per-example]",
    "bagging[learner=naive-bayes,features=binarised,k=1]",
    "bagging[learner=kernel,n_models=20]",
    "bagging[learner=cnn(epochs=1),n_models=2]",
    "bagging[learner=sklearn.tree.DecisionTreeClassifier,features=raw,n_models=5]",
    (
        "bagging[n_models=5,learner=pipeline("
        "sklearn.preprocessing.StandardScaler, sklearn.naive_bayes.GaussianNB)]"
    ),
    "dp[certificate=pointwise,steps=2]",
    "dp[certificate=gdp,steps=2]",
    "dp[engine=opacus,n_models=2,steps=2]",
    "label-flip[q=0.1,features=raw]",
    "label-flip[q=0.1,certificate=kl]",
    "feature-flip[beta=0.49,n_models=500]",
    "matched-clusters[clusters=4]",
    "bagflip[noised=features-and-labels,k=3,keep=0.6,learner=naive-bayes]",
    "feature-flip[learner=ridge,n_models=3,certificate=kl]",
    "knn[k=11,features=raw,metric=manhattan]",
    "knn[k=7,certificate=collective]",
    "rnn[radius=4,features=raw,certificate=collective]",
    "hash-bagging[partitions=3,parts=7,hash=content,certificate=collective]",
    "exact-ridge[features=raw,penalty=0.3]",
    "dpa[certificate=white-box,n_models=7]",
    "ss-dpa[certificate=white-box,n_models=3,representation=none]",
    "dpa[certificate=collective]",
    "ss-dpa[certificate=collective]",
    "finite-aggregation[certificate=collective,hash=content]",
]


@pytest.mark.parametrize("selection", [*load_registry().defenses.values(), *VARIANTS])
def test_it_conforms(registry: Registry, selection: str) -> None:
    report = check_defense(selection, registry=registry)
    assert len(report.held) + len(report.skipped) == 23
    assert len(report.held) >= 12


@pytest.mark.parametrize(
    "selection",
    [
        "bagging",
        "bagging[learner=logistic]",
        "bagflip[k=4]",
        "matched-clusters[features=raw]",
        "dpa[election=run-off]",
        "hash-bagging[partitions=3,parts=7]",
        "finite-aggregation",
        "knn[k=5]",
        "exact-ridge",
        "dpa[certificate=collective]",
    ],
)
def test_it_conforms_with_three_labels(registry: Registry, selection: str) -> None:
    check_defense(selection, registry=registry, dataset=tiny_dataset(n_labels=3))


@pytest.mark.parametrize(
    "parameters",
    ["k=3", "k=20", "k=3,learner=logistic", "k=1,learner=naive-bayes,features=binarised"],
)
def test_what_is_outside_a_subsample_moves_no_vote(registry: Registry, parameters: str) -> None:
    bagging = Selection.parse(f"bagging[n_models=10,{parameters}]").build(Bagging)
    assert "isolation" in check_defense(bagging, registry=registry).held


class TestBaggingAsAPluginAuthorWouldTestIt(DefenseConformance):
    defense = Bagging(BaggingParameters(k=6, n_models=40))
