"""What a comparison is written as: text, Markdown, JSON, JUnit, a figure."""

import io
import json
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness.comparing.comparison import Comparison
from harness.comparing.figure import figure
from harness.comparing.judge import compare_runs
from harness.comparing.machine_readable import as_json, as_junit
from harness.comparing.metrics import Rules
from harness.comparing.tables import markdown, verdict
from harness.comparing.terminal import ComparisonTable
from harness.report.figures import render
from harness.results.reader import load_run

N = 400
ODD = "a[learner='x|y*_<b>']"


@pytest.fixture
def runs(made_run, made_cell):
    kept = made_cell("kept", {"any": [60] * N, "label-flip": None}, defense="kept")
    gone = made_cell("gone", {"any": [60] * N}, defense="gone")
    base = made_cell(ODD, {"any": [60] * N, "label-flip": [5] * N})
    new = made_cell(ODD, {"any": [30] * 9 + [60] * (N - 9), "label-flip": [7] * N}, machine="there")
    folders = made_run("base", kept, gone, base), made_run("new", kept, new)
    return tuple(load_run(folder) for folder in folders)


@pytest.fixture
def found(runs):
    return compare_runs(*runs, Rules.parse([]))


def shown(found, width=80):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(ComparisonTable(found))
    return file.getvalue()


def test_the_terminal_names_each_regression_and_ends_with_the_verdict(found):
    text = shown(found, width=200)
    assert f"REGRESSION {ODD} under any: certified_accuracy@50" in text
    assert "9 examples worse, 0 better" in text
    assert "REGRESSION gone: vanished" in text
    assert text.strip().splitlines()[-1].startswith("2 regressions (")
    assert max(map(len, shown(found).splitlines())) <= 80


def test_markdown_escapes_what_names_hold_and_begins_with_the_verdict(found):
    text = markdown(found)
    assert text.startswith("# ❌ 2 regressions")
    assert "<b>" not in text.replace("\\<b\\>", "")
    for table in text.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({row.count("|") - row.count("\\|") for row in rows}) <= 1
    assert "100% -\\> 97.75%" in text


def test_json_holds_every_number_and_no_nan(found):
    content = json.loads(as_json(found), parse_constant=pytest.fail)
    assert content["exit_code"] == 1
    cell = next(cell for cell in content["cells"] if cell["cell"] == ODD)
    at_50 = next(m for m in cell["threats"][0]["metrics"] if m["metric"] == "certified_accuracy@50")
    assert at_50["verdict"] == "regression"
    assert (at_50["examples_worse"], at_50["examples_better"]) == (9, 0)
    assert at_50["base"] == 1
    assert at_50["new"] == pytest.approx(1 - 9 / N)
    memory = next(m for m in cell["cost"] if m["metric"] == "peak_rss_mb")
    assert memory["expected"] is None
    assert memory["verdict"] == "not comparable"


def test_junit_counts_what_fails_and_what_is_skipped(found):
    suites = ElementTree.fromstring(as_junit(found))  # our own output
    by_name = {suite.get("name"): suite for suite in suites}
    assert by_name["gone"].get("failures") == "1"
    assert by_name["kept"].get("failures") == "0"
    suite = by_name[ODD]
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["any certified_accuracy@50"]
    assert suite.get("tests") == str(len(suite))


def test_costs_are_cases_only_where_they_gate(runs):
    names = {
        case.get("name"): case
        for suite in ElementTree.fromstring(
            as_junit(compare_runs(*runs, Rules.parse(["peak_rss_mb:+20%"])))
        )
        for case in suite
    }
    assert names["peak_rss_mb"].find("skipped") is not None
    text = shown(compare_runs(*runs, Rules.parse(["peak_rss_mb:+20%"])), width=200)
    assert f"{ODD}: the gate peak_rss_mb +20% cannot be judged: another machine" in text
    assert "train_s" not in names


@pytest.mark.parametrize(
    ("nothing", "told", "outcome"),
    [
        (Comparison("a", "b", reason="their data differ"), "nothing is comparable", "failure"),
        (Comparison("a", "b", missing_baseline=True), "no baseline", "skipped"),
    ],
)
def test_nothing_to_compare_is_said_in_every_form(nothing, told, outcome):
    assert told in verdict(nothing)
    assert told in shown(nothing)
    assert told in markdown(nothing)
    assert told in json.loads(as_json(nothing))["verdict"]
    case = ElementTree.fromstring(as_junit(nothing)).find(".//testcase")
    assert case is not None
    assert case.find(outcome) is not None


def test_the_figure_has_a_panel_for_each_cell_and_threat(found, runs):
    drawn = figure(found, *runs)
    titles = [axis.get_title(loc="left") for axis in drawn.axes]
    assert len(titles) == 4
    assert titles[0] == "kept, any"
    assert "kept, label-flip" in titles
    shaded = [len(axis.collections) for axis in drawn.axes]
    assert shaded[0] == 2  # loss and gain, both empty
    pictures = render(drawn)
    assert pictures["png"].startswith(b"\x89PNG")
    assert pictures["svg"] == render(figure(found, *runs))["svg"]
    with pytest.raises(ValueError, match="no two curves"):
        figure(Comparison("a", "b"), *runs)
