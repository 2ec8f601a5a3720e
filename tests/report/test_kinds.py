"""Proofs about single examples are ranked; expected accuracy has a line of its own."""

import io
import json
import shutil

import pytest
from rich.console import Console

from harness.errors import RunFolderError, SchemaError
from harness.report import answers
from harness.report.accuracy_figure import accuracy_figure
from harness.report.front import front
from harness.report.pareto_figure import pareto_figure, worth_drawing
from harness.report.publish import publish
from harness.report.terminal import SummaryTable
from harness.report.write import write_combined, write_report
from harness.results.reader import load_run
from harness.results.schema import SCHEMA, SUMMARY_TEXTS

GDP = "dp[certificate=gdp]"
PROBABLE = "probabilistic (alpha=0.001 per defense)"
LINE = "Expected accuracy, on average over training and not about single examples: "
SAID = f"{LINE}{GDP} proves 100% at r = 0, 100% at r = 10 and 40.00% at r = 50."


@pytest.fixture
def average(made_cell):
    """Above everything else at every r, and for longer, but about no single example."""
    radii = {threat: [49] * 6 + [80] * 4 for threat in ("any", "insert")}
    return made_cell(GDP, radii, guarantee=PROBABLE, kind="expected-accuracy")


@pytest.fixture
def folder(made_run, made_cell, average):
    return made_run(
        "run",
        made_cell("bagging[k=10]", {"any": [20] * 9 + [0], "insert": None}),
        made_cell("bagging[k=50]", {"any": [30] * 5 + [-1] * 5, "insert": None}),
        average,
        made_cell("dp", {"any": [90] * 10, "insert": None}, guarantee="estimate",
                  kind="expected-accuracy"),
    )  # fmt: skip


def test_a_headline_ranks_proofs_about_single_examples(folder):
    answer = answers.threat_answer(load_run(folder), "any")
    said = answers.headline(answer)
    assert "dp" not in said
    assert said.endswith("The largest radius of any example is 30 (bagging[k=50]).")
    assert not any(
        answer.is_best(row, r) for row in answer.rows if row.name == GDP for r in (0, 50)
    )
    assert answers.expected_accuracy(answer) == SAID


def test_what_is_proved_of_the_average_alone_is_no_answer_about_examples(folder):
    answer = answers.threat_answer(load_run(folder), "insert")
    assert (
        answers.headline(answer) == "Nothing is proved about single examples against this attacker."
    )
    assert answers.expected_accuracy(answer) == SAID


def test_an_estimate_of_the_expected_accuracy_is_no_proof_of_it(made_run, made_cell):
    estimate = made_cell("dp", {"any": [9] * 5}, guarantee="estimate", kind="expected-accuracy")
    answer = answers.threat_answer(load_run(made_run("run", estimate)), "any")
    assert answers.headline(answer) == "Nothing is proved against this attacker."
    assert answers.expected_accuracy(answer) == ""


def test_the_line_of_expected_accuracy_has_the_most_at_each_r(made_run, made_cell, average):
    rivals = [
        made_cell(name, {"any": radii}, guarantee=PROBABLE, kind="expected-accuracy")
        for name, radii in (("a", [9] * 9 + [200]), ("b", [9] * 9 + [200]))
    ]
    answer = answers.threat_answer(load_run(made_run("run", average, *rivals)), "any")
    assert answers.expected_accuracy(answer).removeprefix(LINE) == (
        f"{GDP}, a and b prove 100% at r = 0; {GDP} proves 100% at r = 10 and 40.00% at r = 50; "
        "a and b prove 10.00% at r = 100 and 10.00% at r = 200."
    )


def test_the_front_leaves_expected_accuracy_out(folder, average, made_run):
    result = load_run(folder)
    found = front(result, "any")
    assert found.leaders == ["bagging[k=10]", "bagging[k=50]"]
    assert found.leads[-1].last == 30
    assert front(result, "insert").leads == ()
    assert not worth_drawing(load_run(made_run("alone", average)))
    figure = pareto_figure(result)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == ["expected accuracy, not ranked", "estimate, not ranked"]
    widths = {line.get_label(): line.get_linewidth() for line in figure.axes[0].lines}
    assert widths["bagging[k=10]"] > 1 > widths[GDP]


def test_every_report_has_the_line_and_says_what_is_expected_accuracy(folder, tmp_path):
    write_report(folder)
    publish(folder, tmp_path / "published")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(SummaryTable(load_run(folder)))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    said = " ".join(SAID.split())
    assert said in " ".join(shown.split())
    assert f"{GDP} (expected accuracy)" in shown
    assert said in (folder / "report.html").read_text()
    for page in (folder / "summary.md", tmp_path / "published" / "README.md"):
        text = page.read_text().replace("\\", "")
        assert text.count(said) == 2
        assert f"| {GDP} | {PROBABLE}, expected accuracy |" in text
        assert "| dp | estimate, expected accuracy |" in text
        leaders = text.split("## Who proves most, by r")[1].split("\n## ")[0]
        assert "dp" not in leaders


def test_the_legend_says_what_is_expected_accuracy(folder):
    (legend,) = accuracy_figure(load_run(folder)).legends
    assert [" ".join(text.get_text().split()) for text in legend.get_texts()] == [
        "bagging[k=10]", "bagging[k=50]", f"{GDP} (expected accuracy)",
        "dp (estimate, expected accuracy)",
    ]  # fmt: skip


def test_the_kind_survives_a_report_of_several_runs(folder, made_run, made_cell, tmp_path):
    other = made_run("other", made_cell("dpa", {"any": [5] * 10}))
    write_combined([load_run(folder), load_run(other)], tmp_path / "both")
    both = load_run(tmp_path / "both")
    assert answers.expected_accuracy(answers.threat_answer(both, "any")) == SAID
    kinds = both.summary.set_index(["defense", "threat"])["kind"]
    assert kinds["bagging[k=10]", "insert"] == ""
    assert kinds["dpa", "any"] == "pointwise"


def test_a_run_of_an_earlier_schema_is_refused_in_a_line_that_says_what_to_do(folder, tmp_path):
    published = tmp_path / "published"
    publish(folder, published)
    for path, advice in ((folder, "run its command again"), (published, "and publish that")):
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}))
        with pytest.raises(SchemaError) as caught:
            load_run(path)
        said = str(caught.value)
        assert "\n" not in said
        assert f"has schema 1; this version reads schema {SCHEMA}" in said
        assert said.endswith(advice)


def test_a_summary_without_kinds_cannot_be_ranked(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    text = (copy / "summary.csv").read_text()
    (copy / "summary.csv").write_text(text.replace(SUMMARY_TEXTS[-1], "sort", 1))
    with pytest.raises(RunFolderError, match="lacks the columns kind"):
        load_run(copy)
