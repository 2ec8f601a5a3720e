"""``harness attack`` with its defaults refutes what does not hold, and nothing else."""

import numpy as np
import pytest

import harness
from harness.attacking.told import said_of


@pytest.fixture(scope="module")
def small():
    """160 and 60 examples of MNIST 1/7; a fourth of the labels is wrong: leads are small."""
    data = harness.plan("bagging").plan.dataset
    rng = np.random.default_rng(0)
    train = rng.choice(data.n_train, 160, replace=False)
    y = data.y_train[train].copy()
    y[::4] = 1 - y[::4]
    return harness.Dataset.from_arrays(
        data.x_train[train],
        y,
        data.x_test[:60],
        data.y_test[:60],
        label_set=[0, 1],
        range=(0, 255),
        n_public=160,
        name="small",
    )


def attacked(kind, parameters, threat, data, folder):
    made = kind(kind.Params(**parameters))
    run = harness.run([made], dataset=data, threats=threat, output=folder, store="off")
    return run, harness.attack(run, dataset=data, defenses=kind, store="off", examples=8)


@pytest.mark.parametrize(
    ("name", "parameters", "threat"),
    [
        ("OneTooLarge", {"n_models": 14}, "insert"),
        ("ByPlace", {"n_models": 14}, "delete"),
        ("LabelInHash", {"n_models": 40}, "label-flip"),
        ("Centred", {"k": 31}, "modify"),
        ("CentredParts", {"n_models": 14}, "insert"),
        ("Fails", {"n_models": 14}, "insert"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refuted_without_a_hint(
    name, parameters, threat, small, tmp_path, unsound
):
    kind = getattr(unsound, name)
    run, found = attacked(kind, parameters, threat, small, tmp_path / "run")
    assert found.refuted, found.table.to_string()
    row = found.refuted[0]
    assert row.reached <= row.proved
    assert said_of(row, run.result).startswith(f"REFUTED: {row.defense}, {threat}, test example")


@pytest.mark.parametrize(
    ("name", "parameters", "threat"),
    [
        ("Parts", {"n_models": 14}, "insert"),
        ("Parts", {"n_models": 40}, "label-flip"),
        ("Parts", {"n_models": 14}, "any"),
        ("Cosine", {"k": 31}, "modify"),
    ],
)
def test_one_that_holds_is_not(name, parameters, threat, small, tmp_path, unsound):
    _, found = attacked(getattr(unsound, name), parameters, threat, small, tmp_path / "run")
    assert len(found.table) > 10
    assert not found.refuted
