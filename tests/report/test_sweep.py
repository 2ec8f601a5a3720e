"""The figure of a sweep: which parameter is on the axis, what makes lines, when it is drawn."""

import itertools

import pytest

from harness.report.publish import publish
from harness.report.sweep import r_that_matter, sweeps
from harness.report.sweep_figure import sweep_figure, worth_drawing
from harness.report.write import write_combined, write_report
from harness.results.reader import load_run

PROBABLE = "probabilistic (alpha=0.001 per defense)"


@pytest.fixture
def swept(made_run, made_cell):
    """``swept("name", {"k": 1}, {"k": 2}, seeds=3)``: the folder of a run with those parameters."""

    def make(name, *settings, seeds=1, radii=None, alphas=None, **options):
        cells = []
        for i, params in enumerate(settings):
            for seed in range(seeds):
                inner = ",".join(f"{key}={value}" for key, value in params.items())
                group = f"made[{inner}]" + (f"@alpha={alphas[i]}" if alphas else "")
                more = {"group": group, "seed": seed, "alpha": alphas[i] if alphas else 0.001}
                label = f"{group}@seed={seed}" if seed else group
                found = [10 + seed] * 10 if radii is None else radii[i]
                cells.append(made_cell(label, {"any": found}, params=params, more=more, **options))
        return made_run(name, *cells)

    return make


def ks(*values, **more):
    return [{"k": value, "n": 9, **more} for value in values]


def test_three_values_of_a_number_are_a_sweep_and_two_are_none(swept):
    assert not worth_drawing(load_run(swept("two", *ks(10, 20))))
    (sweep,) = sweeps(load_run(swept("three", *ks(20, 5, 10))))
    assert (sweep.parameter, sweep.numeric, list(sweep.values)) == ("k", True, [5, 10, 20])
    assert [line.name for line in sweep.lines] == ["made"]
    with pytest.raises(ValueError, match="no parameter was swept"):
        sweep_figure(load_run(swept("again", *ks(10, 20))))


def test_two_names_are_a_sweep_in_the_order_of_the_plan(swept):
    settings = [{"learner": "ridge"}, {"learner": "cnn"}]
    (sweep,) = sweeps(load_run(swept("run", *settings)))
    assert (sweep.parameter, sweep.numeric) == ("learner", False)
    assert list(sweep.values) == ["ridge", "cnn"]
    axis = sweep_figure(load_run(swept("again", *settings))).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["ridge", "cnn"]


def test_the_parameter_with_most_values_is_the_axis_and_others_are_lines(swept):
    settings = [{"learner": learner, "k": k} for learner in ("ridge", "cnn") for k in (1, 2, 4)]
    (sweep,) = sweeps(load_run(swept("run", *settings)))
    assert sweep.parameter == "k"
    assert [line.name for line in sweep.lines] == ["made[learner=ridge]", "made[learner=cnn]"]
    figure = sweep_figure(load_run(swept("again", *settings)))
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["made[learner=ridge]", "made[learner=cnn]"]
    assert lines[0].get_color() != lines[1].get_color()
    assert lines[0].get_marker() != lines[1].get_marker(), "told apart without colour"


def test_alpha_counts_as_a_parameter(swept):
    result = load_run(swept("run", *ks(5, 5, 5), alphas=[0.001, 0.01, 0.1]))
    (sweep,) = sweeps(result)
    assert (sweep.parameter, list(sweep.values)) == ("alpha", [0.001, 0.01, 0.1])
    assert sweep_figure(result).axes[0].get_xscale() == "log"


def test_seeds_are_a_band_and_no_parameter(swept):
    result = load_run(swept("run", *ks(1, 2, 3), seeds=3))
    (sweep,) = sweeps(result)
    assert [line.name for line in sweep.lines] == ["made (3 seeds)"]
    radii = sweep_figure(result).axes[0]
    assert list(radii.lines[0].get_ydata()) == [11, 11, 11]
    (band, *_) = radii.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (10, 12)


@pytest.mark.parametrize(("values", "scale"), [((1, 2, 5), "linear"), ((1, 2, 10), "log")])
def test_a_decade_is_logarithmic(swept, values, scale):
    figure = sweep_figure(load_run(swept("run", *ks(*values))))
    assert [axis.get_xscale() for axis in figure.axes] == [scale] * 3


def test_the_panels_have_radius_accuracies_and_seconds(swept):
    radii = [[100] * 10, [60] * 9 + [-1], [20] * 10]
    figure = sweep_figure(load_run(swept("run", *ks(1, 2, 3), radii=radii)))
    radius, accuracy, cost = figure.axes
    assert list(radius.lines[0].get_ydata()) == [100, 60, 20]
    assert radius.get_ylabel() == "median certified radius"
    assert [list(line.get_ydata()) for line in accuracy.lines] == [
        [1, 1, 1], [1, 0.9, 1], [1, 0.9, 0], [1, 0, 0],
    ]  # fmt: skip
    assert list(cost.lines[0].get_ydata()) == [2, 2, 2]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "made",
        "clean accuracy",
        *(f"certified accuracy at r = {r}" for r in (0, 50, 100)),
    ]


def test_no_median_radius_is_an_x_and_no_zero(swept):
    radii = [[5] * 10, [5] * 4 + [-1] * 6, [0] * 10]
    figure = sweep_figure(load_run(swept("run", *ks(1, 2, 3), radii=radii)))
    line, none = figure.axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 3], [5, 0])
    assert (list(none.get_xdata()), none.get_marker()) == ([2], "x")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "no median radius, less than half is certified at r = 0" in texts


def test_expected_accuracy_has_no_median_radius_and_panels_of_its_own(made_run, made_cell):
    cells = [
        made_cell(f"a[k={k}]", {"any": [9] * 5}, params={"k": k}, defense="a") for k in (1, 2, 3)
    ] + [
        made_cell(f"dp[k={k}]", {"any": [9] * 5}, params={"k": k}, defense="dp",
                  kind="expected-accuracy", guarantee=PROBABLE)
        for k in (1, 2, 3)
    ]  # fmt: skip
    result = load_run(made_run("run", *cells))
    found = sweeps(result)
    assert [(s.pointwise, [line.name for line in s.lines]) for s in found] == [
        (True, ["a"]), (False, ["dp (expected accuracy)"]),
    ]  # fmt: skip
    labels = [axis.get_ylabel() for axis in sweep_figure(result).axes]
    assert labels.count("median certified radius") == 1
    assert any("expected accuracy" in label for label in labels)


def test_threats_with_the_same_numbers_share_a_row(made_run, made_cell):
    def cell(k, flips):
        radii = {"any": [k] * 4, "modify": [k] * 4, "label-flip": [flips] * 4, "insert": None}
        return made_cell(f"a[k={k}]", radii, params={"k": k})

    figure = sweep_figure(load_run(made_run("run", *(cell(k, 2 * k) for k in (1, 2, 3)))))
    titles = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert titles[::2] == ["any and modify", "cost", "label-flip"]
    assert len(figure.axes) == 5


def test_the_r_that_matter_are_where_cells_differ(swept):
    radii = [[10] * 10, [60] * 10, [200] * 10]
    found = sweeps(load_run(swept("run", *ks(1, 2, 3), radii=radii)))
    assert r_that_matter(found, 9) == [50, 100, 200]
    assert r_that_matter(found, 1) == [50]


def test_runs_that_were_combined_are_lines_of_their_own(swept, tmp_path):
    runs = [load_run(swept(name, *ks(1, 2, 3))) for name in ("one", "two")]
    write_combined(runs, tmp_path / "both")
    (sweep,) = sweeps(load_run(tmp_path / "both"))
    assert [line.name for line in sweep.lines] == ["one/made", "two/made"]


def test_failed_cells_are_left_out(made_run, made_cell):
    cells = [made_cell(f"a[k={k}]", {"any": [k]}, params={"k": k}) for k in (1, 2, 3)]
    lost = made_cell("a[k=4]", {}, params={"k": 4}, error="no")
    (sweep,) = sweeps(load_run(made_run("run", *cells, lost)))
    assert list(sweep.values) == [1, 2, 3]


LEARNERS = ("ridge", "sklearn.tree.DecisionTreeClassifier(max_depth=3)", "naive-bayes", "cnn(e=12)")


@pytest.mark.parametrize(
    "settings",
    [
        ks(*(10**i for i in range(7))),
        ks(*range(1000, 1030)),
        [{"learner": learner} for learner in LEARNERS],
        [{"learner": learner, "k": k} for learner in LEARNERS for k in range(1, 9)],
    ],
)
def test_no_texts_touch(swept, settings):
    figure = sweep_figure(load_run(swept("run", *settings, seeds=2)))
    figure.canvas.draw()
    top = figure.legends[0].get_window_extent().y1
    for axis in figure.axes:
        box = axis.get_tightbbox()
        assert box.y0 >= top
        assert box.x1 <= figure.bbox.x1
        assert box.x0 >= 0
        shown = [label.get_window_extent() for label in axis.get_xticklabels()]
        if axis.get_xticklabels()[0].get_rotation() == 0:
            assert all(a.x1 < b.x0 for a, b in itertools.pairwise(shown))


def test_it_is_in_the_report_and_in_what_is_published(swept, tmp_path):
    folder = swept("run", *ks(1, 2, 3), seeds=2)
    written = {str(path.relative_to(folder)) for path in write_report(folder)}
    assert {"figures/sweep.svg", "figures/sweep.png"} <= written
    assert "What the parameters do" in (folder / "report.html").read_text()
    publish(folder, tmp_path / "published")
    assert "](figures/sweep.png)" in (tmp_path / "published" / "README.md").read_text()
    assert (tmp_path / "published" / "figures" / "sweep.png").exists()
    alone = swept("alone", *ks(1))
    assert not any("sweep" in path.name for path in write_report(alone))
    assert "What the parameters do" not in (alone / "report.html").read_text()
