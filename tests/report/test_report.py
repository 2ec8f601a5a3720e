"""The report of a run folder: figures, tables, one HTML file, several runs in one."""

import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.errors import RunFolderError, UsageError
from harness.report import answers, words
from harness.report.accuracy_figure import accuracy_figure
from harness.report.cost_figure import cost_figure
from harness.report.figures import render
from harness.report.tables import summary_markdown
from harness.report.terminal import SummaryTable
from harness.report.write import write_combined, write_report
from harness.results.reader import RunResult, accuracy_at, combine, load_run
from harness.results.schema import SCHEMA

AT = (0, 10, 50, 100, 200, 500, 1000)
PROBABLE = "probabilistic (alpha=0.001 per defense)"
Curve = tuple[str, str, str, dict[int, float]]
LABELLED: list[Curve] = [
    ("bagging", "any", PROBABLE, {0: 0.99, 50: 0.985, 120: 0.5, 160: 0.0}),
    ("bagging", "label-flip", PROBABLE, {0: 0.99, 50: 0.985, 120: 0.5, 160: 0.0}),
    ("dp", "any", "estimate", {0: 0.995, 2: 0.6, 5: 0.0}),
    ("dp", "label-flip", "estimate", {0: 0.995, 4: 0.6, 9: 0.0}),
    ("label-flip", "any", "not covered", {}),
    ("label-flip", "label-flip", "deterministic", {0: 0.98, 150: 0.9, 800: 0.4, 2000: 0.0}),
]


def at(steps: dict[int, float], r: int) -> float:
    return steps[max(step for step in steps if step <= r)]


def write_run(folder: Path, rows: list[Curve] = LABELLED, **manifest: Any) -> Path:
    """A run folder as the runner leaves it, with curves that are step functions."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = ["defense,certificate,threat,guarantee,r,certified_accuracy"]
    heads = ["clean_accuracy", "abstained", "median_radius", "max_radius"]
    heads += [f"certified_accuracy@{r}" for r in AT]
    heads += ["train_s", "predict_s", "certify_s", "n_models", "peak_rss_mb"]
    summary = ["defense,certificate,threat,guarantee,kind," + ",".join(heads)]
    for defense, threat, guarantee, steps in rows:
        start = f'"{defense}",theorem,{threat},{guarantee}'
        if not steps:
            summary.append(start + "," * (1 + len(heads)))
            continue
        curves += [f"{start},{r},{value}" for r, value in steps.items()]
        last = max(steps)
        median = max((r - 1 for r, v in steps.items() if v < 0.5), default=last)
        values = [0.995, 0.01, median, last - 1, *(at(steps, r) for r in AT)]
        values = ["pointwise", *values]
        summary.append(start + "," + ",".join(map(str, [*values, 1.5, 0.02, 0.001, 1000, 700])))
    labels = list(dict.fromkeys(row[0] for row in rows))
    content = {
        "schema": SCHEMA,
        "command": ["harness", "run"],
        "created": "2026-01-01T00:00:00+00:00",
        "dataset": {
            "name": "toy", "digest": "d1", "n_train": 1000, "n_test": 100,
            "label_names": ["0", "1"],
        },
        "seed": 0,
        "alpha": 0.001,
        "threats": ["any", "label-flip"],
        "cells": [cell(label) for label in labels],
        "versions": {"python": "3.11"},
        "machine": {"cores": 2},
        "device": "cpu",
        "threads": 2,
        "git": {"commit": "abc", "dirty": True},
    }  # fmt: skip
    (folder / "curves.csv").write_text("\n".join(curves) + "\n")
    (folder / "summary.csv").write_text("\n".join(summary) + "\n")
    (folder / "manifest.json").write_text(json.dumps(content | manifest))
    return folder


def cell(label: str, error: str | None = None) -> dict[str, Any]:
    return {
        "label": label,
        "defense": label.split("[")[0],
        "title": f"about {label}",
        "paper": "a paper",
        "params": {"k": 5},
        "status": "failed" if error else "finished",
        "error": error,
        "n_models": None if error else 1000,
        "seconds": None if error else {"train": 1.5, "predict": 0.02, "certify": 0.0},
        "peak_rss_mb": None if error else 700,
        "distribution": "poisoning-harness 0.1.0",
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def test_a_report_is_written_whole_and_the_same_each_time(run: Path) -> None:
    written = write_report(run)
    assert {str(p.relative_to(run)) for p in written} == {
        "figures/certified_accuracy.svg", "figures/certified_accuracy.png",
        "figures/cost.svg", "figures/cost.png", "summary.md", "report.html",
    }  # fmt: skip
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_report(run)] == before
    assert not list(run.rglob("*.tmp"))


def test_the_accuracy_figure_has_a_panel_a_threat_and_a_step_curve_a_certificate(
    run: Path,
) -> None:
    figure = accuracy_figure(load_run(run))
    first, second = figure.axes
    assert [line.get_label() for line in first.lines] == ["bagging", "dp"]
    assert [line.get_label() for line in second.lines] == ["bagging", "dp", "label-flip"]
    (bagging, _) = first.lines
    assert bagging.get_drawstyle() == "steps-post"
    assert list(bagging.get_xdata()) == [0, 50, 120, 160]
    assert list(bagging.get_ydata()) == [0.99, 0.985, 0.5, 0.0]
    assert {axis.get_xscale() for axis in figure.axes} == {"symlog"}
    assert first.get_ylim() == (0, 1)
    assert any("not covered: label-flip" in text.get_text() for text in first.texts)
    assert not any("not covered" in text.get_text() for text in second.texts)
    assert "flipped labels" in second.get_xlabel()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["bagging", "dp (estimate)", "label-flip"]
    styles = {(str(line.get_linestyle()), line.get_marker()) for line in second.lines}
    assert len(styles) == 3, "told apart without colour"


@pytest.mark.parametrize("count", [1, 3, 8, 12])
def test_nothing_overlaps_whatever_the_number_and_length_of_labels(
    tmp_path: Path, count: int
) -> None:
    labels = [
        f"bagging[k={i},learner=logistic(penalty=0.1),features=raw,n_models=100000]"
        for i in range(count)
    ]
    steps = {0: 0.9, 40: 0.0}
    rows = [(label, "any", PROBABLE, steps) for label in labels]
    result = load_run(write_run(tmp_path, rows, threats=["any"]))
    figure = accuracy_figure(result)
    (axis,), (legend,) = figure.axes, figure.legends
    box, panel = legend.get_window_extent(), axis.get_tightbbox()
    assert panel is not None
    assert box.y1 <= panel.y0 + 1
    assert box.x0 >= -1
    assert box.x1 <= figure.bbox.x1 + 1
    shown = cost_figure(result).axes[0].get_tightbbox()
    assert shown is not None
    assert shown.x0 >= -1


def test_the_titles_of_a_row_are_at_one_height(tmp_path: Path) -> None:
    missing = [f"defense-number-{i}[learner=ridge(penalty=0.1)]" for i in range(6)]
    threats = ["any", "modify", "insert"]
    rows: list[Curve] = [("bagging", threat, PROBABLE, {0: 0.9, 9: 0.0}) for threat in threats]
    for i, name in enumerate(missing):
        rows.append((name, "any", "not covered", {}))
        covered: Curve = (name, "modify", "deterministic", {0: 0.8, 7: 0.0})
        rows.append(covered if i else (name, "modify", "not covered", {}))
        rows.append((name, "insert", "deterministic", {0: 0.8, 7: 0.0}))
    figure = accuracy_figure(load_run(write_run(tmp_path, rows, threats=threats)))
    notes = [sum("not covered" in t.get_text() for t in axis.texts) for axis in figure.axes]
    assert notes == [1, 1, 0]
    figure.canvas.draw()
    found = [{t.get_text(): t.get_window_extent() for t in axis.texts} for axis in figure.axes]
    heads = [boxes[threat] for boxes, threat in zip(found, threats, strict=True)]
    assert len({round(head.y0, 3) for head in heads}) == 1
    assert heads[0].y1 <= figure.bbox.y1
    (note,) = (text for text in figure.axes[0].texts if "not covered" in text.get_text())
    assert set(note.get_text().removeprefix("not covered:").replace(",", " ").split()) == {
        *missing
    }, "no name is broken"
    meaning = found[0]["modify, insert or delete an example"]
    assert figure.axes[0].bbox.y1 <= note.get_window_extent().y0
    assert note.get_window_extent().y1 <= meaning.y0
    assert meaning.y1 <= heads[0].y0


@pytest.mark.parametrize(("furthest", "threats"), [(260, 3), (2000, 3), (60_000, 2), (10**6, 3)])
def test_labels_of_ticks_do_not_touch(tmp_path: Path, furthest: int, threats: int) -> None:
    named = ["any", "modify", "insert"][:threats]
    rows: list[Curve] = [("bagging", t, PROBABLE, {0: 0.9, furthest: 0.0}) for t in named]
    figure = accuracy_figure(load_run(write_run(tmp_path, rows, threats=named)))
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    apart = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
    assert min(apart) > 0.03 * figure.dpi


@pytest.mark.parametrize("seconds", [0.02, 0.9, 1.5, 10.0, 99.0, 4321.0])
def test_the_cost_axis_has_no_tick_beyond_the_largest_value(tmp_path: Path, seconds: float) -> None:
    cells = [cell("a"), cell("b")]
    cells[1]["seconds"] = {"train": seconds, "predict": 0.015, "certify": 0.0}
    cells[0]["seconds"] = {"train": seconds / 2, "predict": 0.015, "certify": 0.0}
    rows: list[Curve] = [("a", "any", PROBABLE, {0: 0.9, 9: 0.0})]
    axis = cost_figure(load_run(write_run(tmp_path, rows, cells=cells))).axes[0]
    ticks = axis.get_xticks()
    assert 2 <= len(ticks) <= 5
    assert max(ticks) <= max(seconds, 0.015) * (1 + 1e-9)
    assert min(ticks) <= 0.015


def test_the_cost_figure_writes_the_values(run: Path) -> None:
    figure = cost_figure(load_run(run))
    train, predict, certify = figure.axes
    assert [text.get_text() for text in train.texts] == ["1.5 s"] * 3
    assert [text.get_text() for text in predict.texts] == ["20 ms"] * 3
    assert [text.get_text() for text in certify.texts] == ["0 s"] * 3
    assert {axis.get_xscale() for axis in figure.axes} == {"log"}
    assert b"<svg" in render(figure)["svg"]


def test_the_markdown_has_the_numbers(run: Path) -> None:
    text = summary_markdown(load_run(run))
    table = text.split("## Threat: any")[1].split("##")[0]
    bagging = next(line for line in table.splitlines() if line.startswith("| bagging"))
    numbers = (
        "| 99.50% | **99.00%** | **99.00%** | **98.50%** | **98.50%** | 0 | 0 | 0 | 159 | 159 |"
    )
    assert numbers in bagging
    heads = [f"r = {r:,}" for r in (0, 10, 50, 100, 200, 500, 1000)]
    assert " | ".join(heads) in table
    missing = next(line for line in table.splitlines() if line.startswith("| label-flip"))
    assert "not covered" in missing
    assert "0%" not in missing
    assert "label-flip proves most at r = 200" in text
    assert "1,000 training and 100 test examples" in text


def test_an_estimate_is_shown_but_never_best(run: Path) -> None:
    answer = answers.threat_answer(load_run(run), "any")
    assert answer.best[0].names == ["bagging"]
    assert next(row for row in answer.rows if row.name == "dp").at[0] > answer.best[0].accuracy


def terminal(result: RunResult, width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(SummaryTable(result))
    return console.export_text().splitlines()


def test_the_terminal_table_fits_80_columns(run: Path) -> None:
    lines = terminal(load_run(run), 80)
    text = "\n".join(lines)
    assert "dp (estimate)" in text
    assert "not covered: label-flip" in text
    assert max(map(len, lines)) <= 80
    assert re.search(r"bagging +99\.5 +99\.0 +99\.0 +98\.5 +98\.5", text)


LONG = [
    "bagging[k=20,learner=logistic,features=raw]",
    "bagging[learner=sklearn.tree.DecisionTreeClassifier(max_depth=3)]",
    "dpa[n_models=1000,learner=sklearn.ensemble.RandomForestClassifier(max_depth=3),features=raw]",
    "dp",
]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_terminal_breaks_no_label_inside_a_name(tmp_path: Path, width: int) -> None:
    steps = {0: 0.99, 40: 0.8, 400: 0.3, 1500: 0.0}
    rows: list[Curve] = [(label, "any", PROBABLE, steps) for label in LONG]
    lines = terminal(load_run(write_run(tmp_path / "run", rows, threats=["any"])), width)
    assert max(map(len, lines)) <= width
    last = max(i for i, line in enumerate(lines) if line.endswith("  1,499"))
    table = lines[3 : last + 1]
    numbers = [line for line in table if re.search(r"99\.0 +80\.0 +80\.0 .* 1,499$", line)]
    assert len(numbers) == len(LONG)
    assert {len(line) for line in numbers} == {len(lines[2].rstrip())}
    pieces = [line.split("  ")[0].strip() for line in table]
    assert "".join(pieces) == "".join(LONG)
    assert all(not piece or piece[-1] in "]," or piece == "dp" for piece in pieces)


def test_a_headline_names_three_of_those_that_tie(tmp_path: Path) -> None:
    names = [f"bagging[k={k}]" for k in range(7)]
    rows: list[Curve] = [(name, "any", PROBABLE, {0: 0.9, 150: 0.0}) for name in names]
    result = load_run(write_run(tmp_path / "run", rows, threats=["any"]))
    said = answers.headline(answers.threat_answer(result, "any"))
    assert said.startswith("bagging[k=0], bagging[k=1], bagging[k=2] and 4 more prove equally much")
    assert "k=3" not in said


def test_the_html_is_one_file_and_safe(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = [(evil, "any", PROBABLE, {0: 0.9, 9: 0.0})]
    cells = [cell(evil), cell("lost", f"ValueError: {evil}")]
    write_report(write_run(tmp_path, rows, cells=cells, threats=["any"]))
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "url(http" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert used <= set(ids)
    assert "<script" not in (tmp_path / "summary.md").read_text().replace("\\<", "")


def test_a_run_in_which_everything_failed_says_so(tmp_path: Path) -> None:
    write_report(write_run(tmp_path, [], cells=[cell("lost", "RuntimeError: no luck")]))
    for name in ("summary.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "RuntimeError: no luck" in text
        assert "No certificate in this run covers this attacker" in text


def test_several_runs_in_one_report(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one")
    two = write_run(tmp_path / "two", [("parts", "any", "deterministic", {0: 0.8, 30: 0.0})])
    three = write_run(tmp_path / "three", LABELLED[:1], threats=["any"])
    out = tmp_path / "all"
    write_combined([load_run(p) for p in (one, two, three)], out)
    both = load_run(out)
    assert [c["label"] for c in both.cells] == [
        "one/bagging", "dp", "label-flip", "parts", "three/bagging",
    ]  # fmt: skip
    assert len(both.runs) == 3
    assert "three/bagging" in (out / "summary.md").read_text()


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        (lambda p: (p / "curves.csv").unlink(), "not a finished run: curves.csv is missing"),
        (lambda p: (p / "manifest.json").write_text("{"), r"manifest\.json is not JSON"),
        (lambda p: (p / "manifest.json").write_text("{}"), "is not the manifest of a run"),
        (lambda p: (p / "summary.csv").write_text("a,b\n1,2\n"), "lacks the columns defense"),
        (lambda p: (p / "curves.csv").write_bytes(b"\xff\xfe"), "cannot be read"),
    ],
)
def test_a_folder_that_is_no_run(run: Path, break_: Callable[[Path], object], message: str) -> None:
    break_(run)
    with pytest.raises(RunFolderError, match=message) as caught:
        load_run(run)
    assert "\n" not in str(caught.value)


def test_runs_on_different_data_are_refused(tmp_path: Path) -> None:
    one = load_run(write_run(tmp_path / "one"))
    other = {**one.manifest["dataset"], "digest": "d2"}
    two = load_run(write_run(tmp_path / "two", dataset=other))
    with pytest.raises(UsageError, match="different data sets"):
        combine([one, two])
    with pytest.raises(UsageError, match="given twice"):
        combine([one, one])


def test_a_curve_is_a_step_function(run: Path) -> None:
    result: RunResult = load_run(run)
    curve = result.curves[(result.curves["defense"] == "bagging")].head(4)
    assert [accuracy_at(curve, r) for r in (0, 49, 50, 160, 10**6)] == [0.99, 0.99, 0.985, 0, 0]


def test_percentages_are_rounded_down() -> None:
    assert words.percent(0.99999) == "99.99%"
    assert words.percent(0.985) == "98.50%"
    assert words.percent(1e-6) == "<0.01%"
    assert words.percent(float("nan")) == words.NOTHING


def test_a_run_that_certifies_nothing_is_drawn(tmp_path: Path) -> None:
    rows: list[Curve] = [("bagging", "any", PROBABLE, {0: 0.0})]
    assert write_report(write_run(tmp_path, rows))
    assert "Nothing is proved against this attacker" in (tmp_path / "summary.md").read_text()
