"""What a run cost: features that cells share are shown by themselves, once."""

import pytest

from harness.report.cost_figure import cost_figure
from harness.report.costs import features, together
from harness.report.tables import summary_markdown
from harness.report.write import write_combined, write_report
from harness.results.reader import load_run


@pytest.fixture
def cells(made_cell):
    made = [
        made_cell(
            f"bagging[k={k}]{suffix}",
            {"any": [k]},
            params={"k": k},
            more={"group": f"bagging[k={k}]", "features": {"features hog": 2.31}},
        )
        for k in (1, 2)
        for suffix in ("", "@seed=1")
    ]
    return [*made, made_cell("label-flip", {"any": [3]}, more={"features": {"images": 40.0}})]


def test_features_are_counted_once_for_all_cells_and_seeds(made_run, cells):
    result = load_run(made_run("run", *cells))
    assert [(one.name, one.seconds, one.cells) for one in features(result)] == [
        ("features hog", 2.31, 4), ("images", 40.0, 1),
    ]  # fmt: skip
    assert together(result) == (
        "Seconds of a cell are its own. All cells 17.5 s, the features once 42.3 s, "
        "together 59.8 s."
    )


def test_cells_that_differ_in_alpha_are_trained_once(made_run, made_cell):
    made = [
        made_cell(label, {"any": [1]}, more={"evidence": "a-1", "features": {"features hog": 2.0}})
        for label in ("a", "a@alpha=0.1")
    ]
    assert "All cells 4.0 s" in together(load_run(made_run("run", *made)))


def test_tables_and_figure_have_a_row_for_them(made_run, cells):
    folder = made_run("run", *cells)
    write_report(folder)
    text = (folder / "summary.md").read_text()
    row = "| features hog, made once, shared by 4 cells | – | 2.3 s | – | – | – |"
    assert text.count(row) == 1
    assert together(load_run(folder)) in text
    html = (folder / "report.html").read_text()
    assert "features hog, made once, shared by 4 cells" in html
    assert together(load_run(folder)) in html
    train, predict, _ = cost_figure(load_run(folder)).axes
    labels = [" ".join(label.get_text().split()) for label in train.get_yticklabels()]
    assert labels[-2:] == [
        "features hog, made once, shared by 4 cells", "images, made once, used by 1 cell",
    ]  # fmt: skip
    assert [text.get_text() for text in train.texts][-2:] == ["2.3 s", "40.0 s"]
    assert len(predict.texts) == len(train.texts) - 2


def test_runs_that_were_combined_made_their_own(made_run, cells, tmp_path):
    runs = [load_run(made_run(name, *cells[:1])) for name in ("one", "two")]
    write_combined(runs, tmp_path / "both")
    assert len(features(load_run(tmp_path / "both"))) == 2


def test_an_older_run_says_nothing_of_features(made_run, made_cell):
    result = load_run(made_run("run", made_cell("bagging", {"any": [1]})))
    assert features(result) == []
    assert together(result) == ""
    assert "features" not in summary_markdown(result).split("## Cost")[1].split("## How")[0]
