"""A run as pandas tables."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.errors import UsageError
from harness.results.frames import certificates_frame, curves_frame, summary_frame
from harness.results.reader import combine, load_run

BAGGING = {"k": 20, "n_models": 100, "learner": "ridge", "exact": True, "limit": None}


@pytest.fixture
def folder(made_run, made_cell):
    """Every true label is 1."""
    radii = {"any": [3, 5, -1, 2], "insert": None}
    seeds = [{"group": "bagging", "seed": 0, "alpha": 0.01},
             {"group": "bagging", "seed": 1, "alpha": 0.01}]  # fmt: skip
    return made_run(
        "run",
        made_cell("bagging", radii, predictions=[1, 0, 1, 1], params=BAGGING, more=seeds[0]),
        made_cell("bagging@seed=1", radii, params=BAGGING, more=seeds[1]),
        made_cell("dp", {"any": [3, 5, 1, 2]}, kind="expected-accuracy",
                  params={"epsilon": 0.5, "kind": "gdp"}),
        made_cell("lost", {}, error="ValueError: no"),
    )  # fmt: skip


@pytest.fixture
def result(folder):
    return load_run(folder)


def test_the_summary_is_followed_by_what_the_cells_are(result):
    frame = summary_frame(result)
    columns = list(result.summary.columns)
    assert list(frame.columns[: len(columns)]) == columns
    assert list(frame.columns[len(columns) :]) == [
        "seed", "alpha",
        "k", "param_n_models", "learner", "exact", "limit", "epsilon", "param_kind",
    ]  # fmt: skip
    assert list(frame["defense"].unique()) == ["bagging", "bagging@seed=1", "dp"]
    assert list(frame["seed"]) == [0, 0, 1, 1, 0], "the run's where the cell has none"
    assert list(frame["alpha"]) == [0.01] * 4 + [0.001]


def test_numbers_are_numbers_and_what_a_defense_has_not_is_missing(result):
    frame = summary_frame(result)
    assert frame["seed"].dtype == np.int64
    assert frame["k"].dtype == frame["epsilon"].dtype == np.float64
    assert list(frame["k"].isna()) == [False] * 4 + [True]
    assert list(frame["learner"].isna()) == [False] * 4 + [True]
    assert frame["limit"].isna().all()
    bagging = frame[frame["defense"] == "bagging"]
    assert bagging["exact"].all()
    assert frame.groupby("k")["clean_accuracy"].max().loc[20] == 1


def test_integers_stay_integers_where_none_is_missing(made_run, made_cell):
    cells = [made_cell(f"a[k={k}]", {"any": [k]}, params={"k": k, "on": k > 1}) for k in (1, 2)]
    frame = summary_frame(load_run(made_run("run", *cells)))
    assert (frame["k"].dtype, frame["on"].dtype) == (np.int64, bool)
    assert frame["median_radius"].dtype == frame["max_radius"].dtype == np.int64


@pytest.mark.parametrize(
    "name", ["n_models", "seed", "alpha", "certificate", "r", "certified_accuracy@50", "train_s"]
)
def test_a_parameter_that_is_called_as_a_column_has_a_prefix(made_run, made_cell, name):
    folder = made_run("run", made_cell("a", {"any": [1]}, params={name: 7}))
    path = folder / "summary.csv"
    table = pd.read_csv(path)
    table.assign(n_models=5, train_s=1.0).to_csv(path, index=False)
    for frame in (summary_frame(load_run(folder)), curves_frame(load_run(folder))):
        assert set(frame[f"param_{name}"]) == {7}
        assert not frame.columns.duplicated().any()


def test_curves_have_integer_r_and_the_parameters(result):
    frame = curves_frame(result)
    assert frame["r"].dtype == np.int64
    one = frame[(frame["defense"] == "bagging") & (frame["threat"] == "any")]
    assert dict(zip(one["r"], one["certified_accuracy"], strict=True))[3] == 0.25
    assert set(one["k"]) == {20}
    assert "insert" not in set(frame["threat"])


def test_a_combined_report_has_the_seeds_of_its_runs(made_run, made_cell):
    runs = [
        load_run(made_run(name, made_cell(name, {"any": [1]}), seed=4)) for name in ("one", "two")
    ]
    assert list(summary_frame(combine(runs))["seed"]) == [4, 4]


def test_certificates_are_by_example(result):
    frame = certificates_frame(result, "bagging", "any")
    assert list(frame.columns) == ["example", "label", "prediction", "radius"]
    assert set(frame.dtypes) == {np.dtype("int64")}
    assert frame.to_numpy().tolist() == [[0, 1, 1, 3], [1, 1, 0, 5], [2, 1, 1, -1], [3, 1, 1, 2]]
    assert frame.attrs["label_names"] == ["0", "1"]
    certified = (frame["label"] == frame["prediction"]) & (frame["radius"] >= 2)
    assert certified.mean() == 0.5
    other = certificates_frame(result, "bagging@seed=1", "any")
    assert list(other["prediction"]) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("defense", "threat", "message"),
    [
        ("baging", "any", r"unknown defense 'baging'; did you mean bagging"),
        ("bagging", "inset", r"unknown threat 'inset'; did you mean insert\?"),
        ("bagging", "insert", "bagging does not cover insert"),
        ("dp", "any", "dp certifies the expected accuracy, and nothing of single examples"),
        ("dp", "insert", "dp was not asked about insert"),
        ("lost", "any", "lost failed: ValueError: no"),
    ],
)
def test_what_has_no_certificate_of_examples_is_said_in_a_line(result, defense, threat, message):
    with pytest.raises(UsageError, match=message) as caught:
        certificates_frame(result, defense, threat)
    assert "\n" not in str(caught.value)


def test_a_run_that_keeps_nothing_by_example(folder):
    (folder / "certificates.npz").unlink()
    with pytest.raises(UsageError, match="keeps nothing by example"):
        certificates_frame(load_run(folder), "bagging", "any")


def test_an_older_run_without_alpha_or_seed_has_no_such_columns(made_run, made_cell):
    folder = made_run("run", made_cell("a", {"any": [1]}))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["seed"], manifest["alpha"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert not {"seed", "alpha"} & set(summary_frame(load_run(folder)).columns)
