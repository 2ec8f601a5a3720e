"""The figure of parameters that are varied one at a time: when it is drawn, and how."""

import numpy as np
import pytest

from harness.report.impact import impacts
from harness.report.impact_figure import impact_figure, worth_drawing
from harness.report.pictures import pictures
from harness.report.write import write_report
from harness.results.reader import load_run

STAR = [(100, 9, 1), (30, 9, 1), (50, 9, 1), (100, 9, 4), (100, 9, 2), (100, 3, 1), (100, 6, 1)]
"""k, N and alpha in thousandths, around the first."""


@pytest.fixture
def varied(made_run, made_cell):
    """``varied("name", (k, n, alpha), ...)``: the run with these cells, whose radii follow."""

    def make(name, *cells, seeds=1, threats=("any",), **options):
        found = []
        for k, n, alpha in cells:
            for seed in range(seeds):
                group = f"made[k={k},n={n}]@alpha={alpha / 1000}"
                more = {"group": group, "seed": seed, "alpha": alpha / 1000}
                radii = {threat: [3000 // k + n + alpha + seed, 2] for threat in threats}
                label = f"{group}@seed={seed}" if seed else group
                params = {"k": k, "n": n, "kept": "same"}
                found.append(made_cell(label, radii, params=params, more=more, **options))
        return load_run(made_run(name, *found))

    return make


def test_each_parameter_that_was_varied_by_itself_has_a_panel(varied):
    (impact,) = impacts(varied("run", *STAR))
    assert impact.base == "made[k=100,n=9]@alpha=0.001"
    assert impact.kept == {"k": 100, "n": 9, "alpha": 0.001}
    assert {one.parameter: list(one.cells) for one in impact.varied} == {
        "k": [30, 50, 100],
        "n": [3, 6, 9],
        "alpha": [0.001, 0.002, 0.004],
    }
    assert impact.varied[1].cells[6] == "made[k=100,n=6]@alpha=0.001"


def test_the_base_may_stand_anywhere(varied):
    assert impacts(varied("run", *STAR[::-1])) == impacts(varied("again", *STAR))


@pytest.mark.parametrize(
    "cells",
    [
        STAR[:3],  # one parameter alone: a sweep
        STAR[:2] + STAR[3:4] + STAR[5:6],  # two values each
        [*STAR, (30, 3, 1)],  # something else as well
        [(k, n, 1) for k in (1, 2, 3) for n in (1, 2, 3)],  # every combination
        [(30, 9, 1), (50, 6, 1), (100, 3, 1)],
    ],
)
def test_what_is_arranged_otherwise_has_no_such_figure(varied, cells):
    result = varied("run", *cells)
    assert impacts(result) == []
    assert not worth_drawing(result)
    with pytest.raises(ValueError, match="one at a time"):
        impact_figure(result)


def test_a_curve_is_called_by_its_value_and_darker_the_larger_that_is(varied):
    figure = impact_figure(varied("run", *STAR))
    k, n, alpha = figure.axes
    assert [text.get_text() for text in n.get_legend().get_texts()] == ["3", "6", "9"]
    assert [text.get_text() for text in alpha.get_legend().get_texts()] == [
        "0.001", "0.002", "0.004",
    ]  # fmt: skip
    brightness = [np.mean(line.get_color()) for line in k.lines]
    assert brightness == sorted(brightness, reverse=True)
    assert len({line._unscaled_dash_pattern for line in k.lines}) == 3, "told apart without colour"
    assert [list(line.get_xdata())[-1] for line in k.lines] == [111, 71, 41]
    assert (k.get_xscale(), k.get_ylabel()) == ("linear", "certified accuracy")
    said = [text.get_text() for text in k.texts]
    assert said[:2] == ["k", "n = 9, alpha = 0.001"]
    assert said[2].startswith("made[k=100,n=9]@alpha=0.001, any: modify, insert")


def test_a_row_for_each_threat_and_bands_for_seeds(varied):
    figure = impact_figure(varied("run", *STAR, seeds=2, threats=("any", "modify")))
    assert len(figure.axes) == 6
    assert len(figure.axes[0].collections) == 3, "a band for each curve"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "lowest to highest of the seeds"
    ]


def test_what_is_not_covered_has_no_row(varied, made_run, made_cell):
    result = varied("run", *STAR)
    cells = [
        made_cell(
            str(cell["label"]),
            {"any": [5, 3], "label-flip": None},
            params=cell["params"],
            more={"alpha": cell["alpha"]},
        )
        for cell in result.cells
    ]
    assert len(impact_figure(load_run(made_run("other", *cells))).axes) == 3


def test_reports_show_it_in_place_of_a_sweep_that_would_say_less(varied, made_run, made_cell):
    result = varied("run", *STAR)
    assert list(pictures(result)) == ["certified_accuracy", "cost", "pareto", "impact"]
    written = write_report(result.folder)
    assert result.folder / "figures" / "impact.svg" in written
    assert "varied by itself" in (result.folder / "report.html").read_text()


def test_a_sweep_of_another_defense_is_still_drawn(varied, made_run, made_cell):
    cells = [
        made_cell(str(c["label"]), {"any": [5, 3]}, params=c["params"], more={"alpha": c["alpha"]})
        for c in varied("run", *STAR).cells
    ]
    cells += [
        made_cell(f"other[p={p}]", {"any": [p, 3]}, params={"p": p}, defense="other")
        for p in (1, 2, 3)
    ]
    drawn = pictures(load_run(made_run("both", *cells)))
    assert {"impact", "sweep"} <= drawn.keys()
