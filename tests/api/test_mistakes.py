"""What is of the wrong kind altogether is a line too, whatever its kind; never a raw exception."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import harness
from harness.cli.program import program
from harness.datasets.base import Dataset
from harness.defenses.bagging import Bagging
from harness.errors import CellFailed, HarnessError

SMALL = "bagging[k=5,n_models=20,features=raw]"


def said(call: Any, kind: type[HarnessError] = HarnessError) -> str:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": 5}, "store=5 is no path"),
        ({"store": "a\0b"}, "store='a\\x00b' is no path: it holds a null character"),
        ({"store": "~nosuchuser/x"}, "store='~nosuchuser/x': ~nosuchuser is nobody's home"),
        ({"output": 5}, "output=5 is no path; wanted a text or a pathlib.Path"),
        ({"output": "a\0b"}, "output='a\\x00b' is no path"),
        ({"data_root": 5}, "data_root=5 is no path"),
        ({"timeout": "5"}, "must be a number of seconds above 0, found '5'"),
        ({"timeout": True}, "must be a number of seconds above 0, found True"),
        ({"threats": 5}, "threats=5 is no threat; allowed, one or several: any, modify"),
        ({"threats": []}, "no threat is given; allowed: any, modify"),
        ({"threats": [5]}, "unknown threat '5'"),
        ({"device": None}, "unknown device None; allowed: cpu"),
        ({"device": 5}, "unknown device 5; allowed: cpu"),
        ({"seed": True}, "the seed must be a whole number of at least 0, found True"),
        ({"progress": 1}, "progress=1 is not allowed; wanted True, False or an object with start"),
        ({"progress": object()}, "wanted True, False or an object with start, advance, finish and"),
        ({"progress": None}, "progress=None is not allowed"),
    ],
)
def test_options(tiny: Dataset, options: dict[str, Any], message: str) -> None:
    assert message in said(lambda: harness.run(SMALL, dataset=tiny, **options))


def test_numbers_of_numpy_are_numbers(tiny: Dataset) -> None:
    planned = harness.plan(
        SMALL, dataset=tiny, seed=np.int64(3), alpha=np.float64(0.1), timeout=np.int64(9)
    )
    assert (planned.plan.seed, planned.plan.alpha) == (3, 0.1)


def test_parameters_that_are_none(tiny: Dataset) -> None:
    wrong: Any = {"k": 3}
    message = "bagging was made of {'k': 3}; wanted Bagging(BaggingParameters(...))"
    assert message in said(lambda: harness.run(Bagging(wrong), dataset=tiny))


def test_the_home_of_nobody(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_STORE", "~nosuchuser/x")
    message = "HARNESS_STORE='~nosuchuser/x': ~nosuchuser is nobody's home"
    assert message in said(lambda: harness.run(SMALL, dataset=tiny))
    for words in (["run", "-d", "dpa"], ["cache"], ["cache", "clear"]):
        done = CliRunner().invoke(program, words)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
    done = CliRunner().invoke(program, ["doctor"])
    assert done.exit_code == 3
    assert f"WRONG: {message}" in done.stdout


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: harness.load(5), "folder=5 is no path"),  # type: ignore[arg-type]
        (lambda: harness.load("a\0b"), "is no path: it holds a null character"),
        (lambda: harness.compare(5, "x"), "base=5 is no path"),  # type: ignore[arg-type]
    ],
)
def test_folders(call: Any, message: str) -> None:
    assert message in said(call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": "x"}, "alpha must be above 0 and below 1, found x"),
        ({"n_train": "100"}, "n_train must be a whole number, found '100'"),
        ({"n_train": 100.0}, "n_train must be a whole number, found 100.0"),
        ({"n_labels": True}, "n_labels must be a whole number, found True"),
        ({"defense": Bagging}, "is no name of a defense; wanted NAME or NAME[key=value,...]"),
        ({"threat": []}, "no threat is given"),
        ({"threat": 5}, "threat=5 is no threat"),
        ({"votes": [[9, 1], [1]]}, "votes cannot be read as an array of numbers"),
    ],
)
def test_certifying(change: dict[str, Any], message: str) -> None:
    given = {"defense": "bagging", "votes": [[9, 1]], "n_train": 100, "k": 5} | change
    assert message in said(lambda: harness.certify(**given))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([Bagging], {}, "a sweep is over texts, NAME[KEY=VALUE|VALUE], found <class"),
        (Bagging, {}, "a sweep is over texts"),
        (5, {}, "a sweep is over texts, NAME[KEY=VALUE|VALUE], found 5"),
        ("bagging[k=1|2]", {"dataset": []}, "no data set is given; wanted at least one"),
        ("bagging[k=1..1e5000]", {}, "more than 1,000,000,000 values; allowed: 1,000"),
        ("bagging[k=1..1e999999999999999]", {}, "is too large; allowed: 1,000 values"),
        ("bagging[k=1..1e1000000:1e-1000000]", {}, "is too large; allowed: 1,000 values"),
        ("bagging[k=1..1000,n_models=1..1000]", {}, "stands for 1,000,000 cells; allowed: 1,000"),
        (["bagging[k=1..600]", "dpa[n_models=1..600]"], {}, "has 1,200 cells; allowed: 1,000"),
    ],
)
def test_sweeps(given: Any, options: dict[str, Any], message: str) -> None:
    assert message in said(lambda: harness.sweep(given, **options))
    if isinstance(given, str) and not options:
        done = CliRunner().invoke(program, ["sweep", "-d", given])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr


def test_a_failure_can_be_sent_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(CellFailed({"dp": "RuntimeError: x"})))  # noqa: S301
    assert error.failures == {"dp": "RuntimeError: x"}
    assert error.run is None
    assert str(error) == str(CellFailed({"dp": "RuntimeError: x"}))


def test_every_error_can_be_caught_by_its_name() -> None:
    assert {"NoSpaceError", "SchemaError"} <= set(harness.__all__)
    assert issubclass(harness.SchemaError, harness.RunFolderError)
