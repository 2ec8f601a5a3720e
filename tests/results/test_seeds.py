"""Several seeds as one: means, with the lowest and the highest beside them."""

import itertools

import numpy as np
import pytest

from harness.results.reader import accuracy_at, combine, load_run
from harness.results.seeds import SEEDS, over_seeds


@pytest.fixture
def seeded(made_cell):
    """``seeded("bagging", [5, 6], [7, 8])``: a cell for each seed, with those radii."""

    def cells(name, *radii, alpha=0.001, **options):
        group = name if alpha == 0.001 else f"{name}@alpha={alpha}"
        made = []
        for seed, values in enumerate(radii):
            parts = [f"seed={seed}"] * (seed > 0) + [f"alpha={alpha}"] * (alpha != 0.001)
            label = f"{name}@{','.join(parts)}" if parts else name
            more = {"seed": seed, "alpha": alpha, "group": group}
            made.append(made_cell(label, {"any": values}, more=more, **options))
        return made

    return cells


RADII = ([5, 5, 5, -1], [6, 6, 2, 2], [4, 4, 4, 4])


def accuracy(radii, r):
    return np.mean(np.array(radii) >= r)


def test_a_curve_is_the_mean_and_the_extremes_at_every_r(made_run, seeded):
    result = over_seeds(load_run(made_run("run", *seeded("bagging[k=5]", *RADII))))
    assert set(result.curves["defense"]) == {"bagging[k=5]"}
    for r in range(9):
        every = [accuracy(radii, r) for radii in RADII]
        found = [accuracy_at(one.curves, r) for one in (result, result.lowest, result.highest)]
        assert found == pytest.approx([np.mean(every), min(every), max(every)])
    assert list(result.curves["r"]) == list(result.lowest.curves["r"])


def test_the_summary_has_means_of_each_seeds_own_numbers(made_run, seeded):
    result = over_seeds(load_run(made_run("run", *seeded("bagging", *RADII))))
    (row,), (low,), (high,) = (
        one.summary.to_dict("records") for one in (result, result.lowest, result.highest)
    )
    assert row[SEEDS] == "3 seeds"
    assert (low["median_radius"], row["median_radius"], high["median_radius"]) == (4, 5, 6)
    assert low["abstained"] == 0
    assert row["abstained"] == pytest.approx(0.25 / 3)
    assert row["kind"] == "pointwise"


def test_equal_values_have_equal_means_in_any_order(made_run, seeded):
    """So that cells that tie are seen to tie: 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1."""
    found = []
    tenths = [[0] * n + [-1] * (10 - n) for n in (1, 2, 3)]
    for i, radii in enumerate(itertools.permutations(tenths)):
        result = over_seeds(load_run(made_run(f"run{i}", *seeded("bagging", *radii))))
        found.append(result.summary["certified_accuracy@0"].item())
    assert len(found) == 6
    assert set(found) == {0.2}


def test_a_run_with_one_seed_is_returned_as_it_is(made_run, made_cell, seeded):
    older = load_run(made_run("older", made_cell("bagging", {"any": [1, 2]})))
    one = load_run(made_run("one", *seeded("bagging", [1, 2])))
    assert over_seeds(older) is older
    assert over_seeds(one) is one
    assert one.lowest is one.highest is one.by_seed is one


def test_what_was_made_is_not_made_again(made_run, seeded):
    result = load_run(made_run("run", *seeded("bagging", [1], [2])))
    made = over_seeds(result)
    assert over_seeds(made) is made
    assert made.by_seed is result


def test_alphas_stay_apart(made_run, seeded):
    cells = [*seeded("bagging", [1], [2]), *seeded("bagging", [3], [4], alpha=0.01)]
    result = over_seeds(load_run(made_run("run", *cells)))
    assert [cell["label"] for cell in result.cells] == ["bagging", "bagging@alpha=0.01"]
    assert list(result.summary["median_radius"]) == [1.5, 3.5]


def test_a_seed_that_failed_is_counted_but_not_averaged(made_run, made_cell, seeded):
    lost = made_cell("bagging@seed=2", {}, error="no", more={"seed": 2, "group": "bagging"})
    result = over_seeds(load_run(made_run("run", *seeded("bagging", [1], [2]), lost)))
    assert result.summary[SEEDS].item() == "2 of 3 seeds"
    assert result.cells[0][SEEDS] == "2 of 3 seeds"
    assert result.cells[0]["status"] == "finished"
    gone = made_cell("dp", {}, error="no", more={"group": "dp"})
    gone_too = made_cell("dp@seed=1", {}, error="no", more={"group": "dp"})
    result = over_seeds(load_run(made_run("gone", *seeded("bagging", [1], [2]), gone, gone_too)))
    assert [(cell["label"], cell["status"]) for cell in result.cells] == [
        ("bagging", "finished"), ("dp", "failed"),
    ]  # fmt: skip


def test_costs_are_reduced_phase_by_phase(made_run, seeded):
    cells = seeded("bagging", [1], [2])
    cells[0].seconds = {"train": 1.0, "predict": 5.0, "certify": 0.5}
    cells[1].seconds = {"train": 2.0, "predict": 3.0, "certify": 0.5}
    result = over_seeds(load_run(made_run("run", *cells)))
    seconds = [one.cells[0]["seconds"] for one in (result.lowest, result, result.highest)]
    assert [one["train"] for one in seconds] == [1, 1.5, 2]
    assert [one["predict"] for one in seconds] == [3, 4, 5]


def test_seeds_of_runs_that_are_combined_stay_together(made_run, seeded):
    """A label that both have gets a prefix, and so does its other seed, which one alone has."""
    one = load_run(made_run("one", *seeded("bagging", [1], [2])))
    two = load_run(made_run("two", *seeded("bagging", [5])))
    both = over_seeds(combine([one, two]))
    assert [cell["label"] for cell in both.cells] == ["one/bagging", "two/bagging"]
    assert list(both.summary["median_radius"]) == [1.5, 5]
