"""Suites: named comparisons in TOML files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torchvision import models

from harness.cli.program import program
from harness.datasets.base import Dataset
from harness.errors import HarnessError, UsageError
from harness.features import pretrained
from harness.features.network import Network
from harness.plugins.alternatives import expand
from harness.plugins.lookup import Installed
from harness.plugins.registry import Registry, load_dataset
from harness.plugins.suites import DEFAULT, Suite, built_in, load_suite
from harness.results.cells import shape_of
from harness.running.plan import make_plan
from harness.running.session import prepare
from harness.threats import Threat

MINE = """
name = "mine"
summary = "Two cells."
dataset = "mnist17"
seeds = [0, 1]
alphas = [0.01]
threats = ["any"]
cells = ["bagging[k=5,n_models=20]", "dpa"]
"""


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published networks, which would be downloaded, are as small ones."""

    def small(model: str, weights: str | None) -> Network:
        assert model in models.list_models()
        return Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 139**2, 2)), "")

    monkeypatch.setattr(pretrained, "load", small)


def data_of(name: str, registry: Registry) -> Dataset:
    """The data set; for one that is downloaded, two images of its shape, its labels and size."""
    if name == "mnist17":
        return load_dataset(registry, name, None)
    x = np.zeros((2, *{"mnist": (28, 28), "cifar10": (32, 32, 3)}[name]), np.uint8)
    size = {"mnist": 60_000, "cifar10": 50_000}[name]
    return Dataset.from_arrays(x, [0, 1], x, [0, 1], name=name, label_set=range(10), n_public=size)


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_suite_can_be_planned_as_it_stands(
    name: str, registry: Registry, weights: None
) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.summary.endswith(".")
    plan = make_plan(
        registry,
        suite.cells,
        data_of(suite.dataset, registry),
        threats=[Threat(t) for t in suite.threats],
        alpha=suite.alphas,
        seed=suite.seeds,
    )
    assert [cell.error for cell in plan.cells] == [None] * len(suite.cells)


def test_what_harness_run_does_without_arguments_is_the_papers_comparison() -> None:
    suite = load_suite(DEFAULT)
    assert suite.cells == ("bagging", "dp", "label-flip", "feature-flip")
    assert suite.threats == ("modify", "any", "label-flip")


@pytest.mark.parametrize(("name", "k"), [("mnist", 100), ("cifar10", 1000)])
def test_figure_2_varies_one_parameter_at_a_time_and_trains_no_model_twice(
    name: str, k: int, registry: Registry
) -> None:
    suite = load_suite(f"jia2021-figure2-{name}")
    data = data_of(name, registry)
    shape = shape_of(data)
    cells = make_plan(
        registry, suite.cells, data, threats=[Threat.ANY], alpha=suite.alphas, seed=suite.seeds
    ).cells
    varied: dict[tuple[str, ...], set[float]] = {}
    trained: dict[tuple[str, range], int] = {}
    for cell in cells:
        assert cell.defense is not None
        params = cell.defense.params.model_dump()
        here = {"k": params["k"], "n_models": params["n_models"], "alpha": cell.alpha}
        base = {"k": k, "n_models": 1000, "alpha": 0.001}
        names = tuple(key for key in base if here[key] != base[key])
        assert len(names) <= 1
        varied.setdefault(names, set()).update(here[key] for key in names)
        for block in cell.defense.blocks(shape, Installed(registry, shape.example)):
            trained[cell.blocks_stem, block] = len(block)
    assert {names: len(values) for names, values in varied.items()} == {
        (): 0, ("k",): 2, ("n_models",): 2, ("alpha",): 2,
    }  # fmt: skip
    # Three k of 1,000 models each. Only a last block that is cut short has models of its own.
    assert 3000 <= sum(trained.values()) < 3010


def test_a_file_says_all_of_a_comparison(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    planned = prepare(path).plan
    assert [cell.label for cell in planned.cells] == [
        "bagging[k=5,n_models=20]",
        "bagging[k=5,n_models=20]@seed=1",
        "dpa",
        "dpa@seed=1",
    ]
    assert (planned.alpha, planned.suite, planned.threats) == (0.01, "mine", (Threat.ANY,))


def test_options_win_over_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    planned = prepare(str(path), seed=3, alpha=0.1, threats=["insert"], defenses=["dpa"]).plan
    assert [cell.label for cell in planned.cells] == ["dpa"]
    assert (planned.seed, planned.alpha, planned.threats) == (3, 0.1, (Threat.INSERT,))
    assert planned.suite is None, "with other cells it is another comparison"


def shown(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(program, ["run", *arguments, "--dry-run"])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_line_takes_a_name_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    code, out, _ = shown(str(path), "--seed", "7")
    assert code == 0
    assert "alpha 0.01; seed 7" in out
    code, out, _ = shown("strongest-mnist17")
    assert code == 0
    assert "ss-dpa" in out
    assert shown()[1] == shown(DEFAULT)[1]


def test_a_suite_leaves_out_what_does_not_suit_the_data_and_says_so(tmp_path: Path) -> None:
    path, y = tmp_path / "three.npz", np.arange(30) % 3
    x = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    code, _, err = shown("--dataset", f"npz:{path}")
    assert code == 0
    assert err.startswith("left out: feature-flip is for data sets with two labels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", None),
        ("nonsense", "is not TOML"),
        ("x = 1", "unknown key 'x'; "),
        ("colour = 1", "Allowed: alphas, cells"),
        ("seeds = []", "seeds = [] is not allowed"),
        ("seeds = [1.5]", "seeds.0 = 1.5 is not allowed"),
        ("seeds = [-1]", "seeds.0 = -1 is not allowed"),
        ("alphas = [2]", "alphas.0 = 2 is not allowed"),
        ('threats = ["modfy"]', "unknown threat 'modfy'; did you mean modify"),
        ("cells = []", "cells = [] is not allowed"),
        ('name = "A Name"', "name = 'A Name' is not allowed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    tmp_path: Path, change: str, message: str | None
) -> None:
    key = change.partition(" ")[0]
    kept = [line for line in MINE.splitlines() if not line.startswith(f"{key} =") or not key]
    path = tmp_path / "mine.toml"
    path.write_text("\n".join([*kept, change]))
    if message is None:
        assert isinstance(load_suite(path), Suite)
        return
    with pytest.raises(HarnessError) as caught:
        load_suite(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jia2021-figure", "unknown suite 'jia2021-figure'; did you mean jia2021-figure3"),
        ("nowhere.toml", "the suite nowhere.toml cannot be read: No such file"),
    ],
)
def test_a_suite_that_does_not_exist(text: str, message: str) -> None:
    code, _, err = shown(text)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_suite_that_names_a_missing_defense(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace('"dpa"', '"dpaa"'))
    with pytest.raises(UsageError, match="unknown defense 'dpaa'; did you mean dpa"):
        prepare(path)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a[k=1..4]", ["1", "2", "3", "4"]),
        ("a[k=10..100:30]", ["10", "40", "70", "100"]),
        ("a[k=10..99:30]", ["10", "40", "70"]),
        ("a[k=0.1..0.3:0.1]", ["0.1", "0.2", "0.3"]),
        ("a[k=5|10..20:5|50]", ["5", "10", "15", "20", "50"]),
        ("a[k=-2..0]", ["-2", "-1", "0"]),
        ("a[k=7..7]", ["7"]),
        ("a[k=x..y]", ["x..y"]),
    ],
)
def test_ranges(text: str, values: list[str]) -> None:
    assert list(expand(text)) == [f"a[k={value}]" for value in values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a[k=5..1]", "k=5..1 in 'a[k=5..1]' has no values; wanted FIRST..LAST:STEP"),
        ("a[k=1..5:0]", "has no values"),
        ("a[k=1..9999]", "has 9,999 values; allowed: 1,000"),
        ("a[k=1..3|2]", "k=2 is given twice"),
    ],
)
def test_ranges_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(expand(text))
    assert message in str(caught.value)


def test_seeds_and_alphas_of_a_cell_have_alternatives_too() -> None:
    assert list(expand("a[k=1|2]@seed=0..1")) == [
        "a[k=1]@seed=0",
        "a[k=1]@seed=1",
        "a[k=2]@seed=0",
        "a[k=2]@seed=1",
    ]
    assert list(expand("a[alpha=0.1|0.01]")) == ["a[alpha=0.1]", "a[alpha=0.01]"]


def test_an_alpha_in_the_brackets_is_the_cells_own() -> None:
    cells = prepare([*expand("bagging[k=5,alpha=0.1|0.01]"), "bagging[k=5]"]).plan.cells
    assert [(cell.label, cell.alpha) for cell in cells] == [
        ("bagging[k=5]@alpha=0.1", 0.1),
        ("bagging[k=5]@alpha=0.01", 0.01),
        ("bagging[k=5]", 0.001),
    ]
    assert len({cell.key for cell in cells}) == 1


def test_a_suite_is_listed_and_shown() -> None:
    listed = CliRunner().invoke(program, ["list"]).output
    assert all(name in listed for name in built_in())
    result = CliRunner().invoke(program, ["show", DEFAULT])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == f"{DEFAULT}: {load_suite(DEFAULT).summary}"
    assert "  label-flip" in result.output.splitlines()
