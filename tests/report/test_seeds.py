"""How a report shows several seeds: one row and one curve with a band, and what a mean is not."""

import io
import itertools
from pathlib import Path

import pytest
from rich.console import Console

from harness.report import answers, words
from harness.report.accuracy_figure import accuracy_figure
from harness.report.cost_figure import cost_figure
from harness.report.front import front
from harness.report.pareto_figure import pareto_figure
from harness.report.publish import publish
from harness.report.tables import setting, summary_markdown
from harness.report.terminal import SummaryTable
from harness.report.write import write_report
from harness.results.reader import load_run

PUBLISHED = Path(__file__).parents[2] / "reports" / "mnist17"
NAMES = ("bagging[k=10]", "bagging[k=50]")


@pytest.fixture
def folder(made_run, made_cell):
    """Two cells with three seeds each; the second is better on average, but not with each."""
    radii = (
        ([20] * 9 + [0], [20] * 8 + [0] * 2, [20] * 7 + [0] * 3),
        ([30] * 9 + [0], [30] * 9 + [-1], [60] * 7 + [-1] * 3),
    )
    cells = [
        made_cell(
            name if seed == 0 else f"{name}@seed={seed}",
            {"any": found, "insert": None},
            seconds={"train": 1.0 + seed, "predict": 0.5, "certify": 0.01},
            more={"seed": seed, "alpha": 0.001, "group": name},
        )
        for name, every in zip(NAMES, radii, strict=True)
        for seed, found in enumerate(every)
    ]
    return made_run("run", *cells)


def shown(folder: Path, width: int = 80) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(SummaryTable(load_run(folder)))
    return console.export_text().splitlines()


def test_sentences_are_about_means(folder):
    answer = answers.threat_answer(load_run(folder), "any")
    assert [row.name for row in answer.rows] == list(NAMES)
    assert answers.headline(answer) == (
        "On average over the seeds, bagging[k=10] proves most at r = 0 (100%); bagging[k=50] "
        "proves most at r = 10 and 50 (83.33% and 23.33%). The largest radius of any example is 60 "
        "(bagging[k=50])."
    )
    found = front(load_run(folder), "any")
    assert [(lead.names, lead.first, lead.last) for lead in found.leads] == [
        (("bagging[k=10]",), 0, 0), (("bagging[k=50]",), 1, 60),
    ]  # fmt: skip


def test_the_terminal_has_a_row_a_group_with_the_range_below_it_in_80_columns(folder):
    lines = shown(folder)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    first = next(i for i, line in enumerate(lines) if line.startswith("bagging[k=50] (3 seeds)"))
    assert lines[first].split()[-6:] == ["100", "86.6", "83.3", "23.3", "40", "40"]
    assert lines[first + 1].split() == ["lowest", "100", "70.0", "70.0", "0", "30", "30"]
    assert lines[first + 2].split() == ["highest", "100", "100", "90.0", "70.0", "60", "60"]
    assert "@seed" not in text
    assert words.SEEDS_APART in " ".join(text.split())


def test_extremes_that_read_the_same_have_no_lines(made_run, made_cell):
    cells = [
        made_cell(label, {"any": [5, 5]}, more={"group": "dpa"}) for label in ("dpa", "dpa@seed=1")
    ]
    text = "\n".join(shown(made_run("same", *cells)))
    assert "dpa (2 seeds)" in text
    assert "lowest" not in text


def test_the_tables_have_the_range_in_brackets_and_say_what_a_mean_is(folder, tmp_path):
    write_report(folder)
    publish(folder, tmp_path / "published")
    row = (
        "| bagging\\[k=50\\] (3 seeds) | deterministic | 100% | 86.66% (70.00–100%) | "
        "**83.33% (70.00–90.00%)** | **23.33% (0–70.00%)** | 0 | 0 | 0 | 0 | 40 (30–60) | "
        "40 (30–60) |"
    )
    cost = "| bagging\\[k=50\\] (3 seeds) | 10 | 2.0 s (1.0–3.0 s) | 500 ms | 10 ms | 500 MB |"
    for page in (folder / "summary.md", tmp_path / "published" / "README.md"):
        text = page.read_text()
        assert row in text
        assert cost in text
        assert text.count(words.SEEDS_APART) == 1
    html = (folder / "report.html").read_text()
    assert html.count("Each seed&#39;s certificate holds by itself") == 1
    assert "83.33% (70.00–90.00%)" in html
    assert setting(load_run(folder)).endswith("alpha 0.001, seeds 0, 1 and 2")


def test_what_is_published_has_every_seed(folder, tmp_path):
    publish(folder, tmp_path / "published")
    again = load_run(tmp_path / "published")
    assert sorted(again.summary["defense"].unique()) == sorted(
        f"{name}{seed}" for name in NAMES for seed in ("", "@seed=1", "@seed=2")
    )


def test_a_curve_has_a_band_and_the_legend_one_entry_a_group(folder):
    figure = accuracy_figure(load_run(folder))
    axis = figure.axes[0]
    lines = [line for line in axis.lines if line.get_label() in NAMES]
    assert [line.get_label() for line in lines] == list(NAMES)
    assert len(axis.collections) == 2, "a band each"
    band = axis.collections[1].get_paths()[0].vertices
    at_zero = [y for x, y in band if x == 0]
    assert (min(at_zero), max(at_zero)) == (0.7, 1.0)
    for line, area in zip(lines, axis.collections, strict=True):
        assert tuple(area.get_facecolor()[0][:3]) == pytest.approx(tuple(line.get_color()))
        assert area.get_facecolor()[0][3] < 0.5
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [f"{name} (3 seeds)" for name in NAMES] + ["lowest to highest of the seeds"]
    assert len(pareto_figure(load_run(folder)).axes[0].collections) == 2


def test_seeds_that_agree_have_no_band(made_run, made_cell):
    cells = [
        made_cell(label, {"any": [5, 5]}, more={"group": "dpa"}) for label in ("dpa", "dpa@seed=1")
    ]
    figure = accuracy_figure(load_run(made_run("same", *cells)))
    assert not figure.axes[0].collections
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dpa (2 seeds)"]


def test_the_cost_figure_has_a_row_a_group_and_no_text_leaves_its_panel(folder):
    figure = cost_figure(load_run(folder))
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["2.0 s (1.0–3.0 s)"] * 2
    figure.canvas.draw()
    assert all(text.get_window_extent().x1 <= axis.bbox.x1 for text in axis.texts)
    ticks = [label.get_window_extent() for label in axis.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(ticks))


def test_a_failed_seed_is_listed_by_its_own_name(made_run, made_cell):
    cells = [
        made_cell("dp", {"any": [3]}, more={"group": "dp"}),
        made_cell("dp@seed=1", {"any": [5]}, more={"group": "dp"}),
        made_cell("dp@seed=2", {}, error="RuntimeError: no", more={"group": "dp"}),
    ]
    text = summary_markdown(load_run(made_run("run", *cells)))
    assert "| dp (2 of 3 seeds) |" in text
    assert "- dp@seed=2: RuntimeError: no" in text


@pytest.mark.parametrize("width", [14, 20, 38])
def test_a_number_of_seeds_is_not_broken(width):
    wrapped = words.wrap_label("bagging[k=20,features=raw] (estimate, 2 of 3 seeds)", width)
    assert any("2 of 3 seeds" in line for line in wrapped.splitlines())


def test_the_report_of_one_seed_is_as_it_was():
    """The committed one was written before there were several."""
    text = summary_markdown(load_run(PUBLISHED))
    head, _, rest = text.partition("\n## ")
    published = (PUBLISHED / "README.md").read_text()
    assert published.startswith(head)
    assert published.endswith(rest)
