"""``harness list`` and ``harness show``: what there is, for people and for programs."""

import json

import pytest
from click.testing import CliRunner

from harness.cli.program import program
from harness.errors import UsageError
from harness.plugins.registry import load_registry
from harness.plugins.selection import Selection
from harness.threats import Threat


def said(*words: str) -> str:
    found = CliRunner().invoke(program, list(words))
    assert found.exit_code == 0, found.output
    return found.output


def test_programs_read_all_that_people_see() -> None:
    told, shown = json.loads(said("list", "--json")), said("list")
    assert list(told) == [
        *("defenses", "datasets", "learners", "features", "attacks", "suites", "threats"),
    ]
    for kind in told.values():
        for one in kind:
            assert one["name"] in shown
    by_name = {one["name"]: one for one in told["defenses"]}
    assert by_name["knn"]["threats"] == [threat.value for threat in Threat]
    assert by_name["label-flip"]["threats"] == ["label-flip"]
    assert by_name["bagging"]["paper"].startswith("Jia, Cao, Gong")
    arguments = {one["name"]: one["argument"] for one in told["datasets"]}
    assert arguments["npz"]
    assert not arguments["mnist17"]
    assert {"name": "delete", "summary": "remove an example"} in told["threats"]


def test_a_threat_is_shown_with_who_certifies_and_who_attacks_it() -> None:
    text = said("show", "modify")
    assert "the attacker may, r times, replace an example, features and label" in text
    assert "certified by: bagging, dp, feature-flip, dpa, " in text
    assert "attacked by: copies, near-copies, nearest, influence" in text
    assert "label-flip is a threat, too: r times, change an example's label" in said(
        "show", "label-flip"
    )


def test_a_selection_is_shown_with_its_values() -> None:
    lines = said("show", "bagging[k=10,learner=1nn]").splitlines()
    assert "guarantee: deterministic" in lines  # of these parameters, not of the defaults
    (row,) = [line for line in lines if line.split()[:1] == ["k"]]
    assert row.split()[:3] == ["k", "10", "50"]
    assert "value" not in said("show", "bagging").split("meaning")[0]


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        ("dpa[k=250]", "n_models"),
        ("ss-dpa[k=3000]", "n_models"),
        ("bagging[N=100]", "n_models"),
        ("finite-aggregation[d=3]", "spread"),
        ("hash-bagging[n_models=9]", "partitions times parts"),
        ("dp[lr=1]", "learning_rate"),
    ],
)
def test_the_papers_own_letters_are_understood(selection: str, meant: str) -> None:
    chosen = Selection.parse(selection)
    kind = load_registry().defenses[chosen.name].value
    with pytest.raises(UsageError, match=f"; did you mean {meant}\\? Allowed: "):
        chosen.build(kind)


def test_what_symbols_mean_are_parameters() -> None:
    for entry in load_registry().defenses.entries.values():
        params = entry.value.Params
        for symbol, meant in params.symbols.items():
            assert symbol not in params.model_fields
            assert meant.split()[0].strip(",") in params.model_fields
