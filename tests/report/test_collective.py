"""Collective certificates have a line of their own, and are not ranked with single examples."""

import io

import pytest
from rich.console import Console

from harness.api import load
from harness.errors import UsageError
from harness.report import answers
from harness.report.front import front
from harness.report.pareto_figure import pareto_figure
from harness.report.tables import summary_markdown
from harness.report.terminal import SummaryTable
from harness.report.write import write_report
from harness.results.reader import load_run

DPA, TOGETHER = "dpa", "dpa[certificate=collective]"
SAID = (
    "Collective accuracy, of the whole test set after one attack: dpa[certificate=collective] "
    "proves 100% at r = 0, 90.00% at r = 10 and 40.00% at r = 50."
)


@pytest.fixture
def folder(made_run, made_cell):
    return made_run(
        "run",
        made_cell(DPA, {"any": [9] * 2 + [20] * 8}),
        made_cell(TOGETHER, {"any": [9] + [49] * 5 + [60] * 4}, kind="collective-accuracy"),
        made_cell("dp", {"any": [30] * 10}, kind="expected-accuracy"),
    )


def test_it_has_a_sentence_and_is_not_ranked(folder):
    answer = answers.threat_answer(load_run(folder), "any")
    assert "collective" not in answers.headline(answer)
    assert answers.collective_accuracy(answer) == SAID
    assert len(answers.statements(answer)) == 3
    assert front(load_run(folder), "any").leaders == [DPA]


def test_every_report_says_what_it_is(folder):
    write_report(folder)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(SummaryTable(load_run(folder)))
    assert SAID in " ".join(console.export_text().split())
    text = (folder / "summary.md").read_text().replace("\\", "")
    assert text.count(SAID) == 1
    assert f"| {TOGETHER} | deterministic, collective accuracy |" in text
    assert text.count("- **Collective accuracy:**") == 1
    page = (folder / "report.html").read_text()
    assert SAID in page
    assert "It does not say which examples stay right" in page


def test_a_report_without_any_does_not_explain_them(made_run, made_cell):
    text = summary_markdown(load_run(made_run("run", made_cell(DPA, {"any": [9]}))))
    assert "Collective accuracy" not in text


def test_lines_of_both_kinds_can_be_told_apart(folder):
    figure = pareto_figure(load_run(folder))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == ["expected accuracy, not ranked", "collective accuracy, not ranked"]
    dashes = {line.get_label(): line.get_linestyle() for line in figure.axes[0].lines}
    widths = {line.get_label(): line._unscaled_dash_pattern for line in figure.axes[0].lines}
    assert set(dashes) >= {TOGETHER, "dp"}
    assert widths[TOGETHER] != widths["dp"]


def test_it_says_nothing_of_single_examples(folder):
    with pytest.raises(UsageError) as caught:
        load(folder).certificates(TOGETHER, "any")
    said = f"{TOGETHER} certifies the collective accuracy, and nothing of single examples"
    assert str(caught.value) == said
