"""Who proves most at which r: the front, its table and its figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import front as fronts
from harness.report.figures import render
from harness.report.front import Lead, front, leader_rows
from harness.report.pareto_figure import pareto_figure, worth_drawing
from harness.report.tables import summary_markdown
from harness.report.write import write_report
from harness.results.reader import RunResult, load_run
from harness.results.schema import SCHEMA

PROBABLE = "probabilistic (alpha=0.001 per defense)"
Steps = dict[int, float]
Row = tuple[str, str, str, Steps]

SWEEP: list[Row] = [
    ("bagging[k=10]", "any", PROBABLE, {0: 0.9, 300: 0.4, 900: 0.0}),
    ("bagging[k=20]", "any", PROBABLE, {0: 0.95, 200: 0.0}),
    ("bagging[k=50]", "any", PROBABLE, {0: 0.99, 40: 0.95, 60: 0.0}),
    ("bagging[k=99]", "any", PROBABLE, {0: 0.8, 10: 0.0}),
    ("dp[epsilon=1]", "any", "estimate", {0: 1.0, 500: 0.0}),
    ("label-flip", "any", "not covered", {}),
]
LEADS = [
    Lead(("bagging[k=50]",), 0, 39, 0.99, 0.99),
    Lead(("bagging[k=20]", "bagging[k=50]"), 40, 59, 0.95, 0.95),
    Lead(("bagging[k=20]",), 60, 199, 0.95, 0.95),
    Lead(("bagging[k=10]",), 200, 899, 0.9, 0.4),
]


def at(steps: Steps, r: int) -> float:
    return steps[max(step for step in steps if step <= r)]


def write_run(folder: Path, rows: list[Row], threats: tuple[str, ...] = ("any",)) -> RunResult:
    folder.mkdir(parents=True, exist_ok=True)
    curves = ["defense,certificate,threat,guarantee,r,certified_accuracy"]
    heads = ["defense", "certificate", "threat", "guarantee", "kind", "clean_accuracy", "abstained"]
    heads += ["median_radius", "max_radius", "certified_accuracy@0", "certified_accuracy@100"]
    summary = [",".join(heads)]
    for name, threat, guarantee, steps in rows:
        start = f'"{name}",theorem,{threat},{guarantee}'
        curves += [f"{start},{r},{value}" for r, value in steps.items()]
        values = [0.99, 0, 1, max(steps) - 1, at(steps, 0), at(steps, 100)] if steps else [""] * 6
        kind = "pointwise" if steps else ""
        summary.append(f"{start},{kind},{','.join(map(str, values))}")
    labels = list(dict.fromkeys(row[0] for row in rows))
    manifest = {
        "schema": SCHEMA,
        "dataset": {"name": "toy", "digest": "d", "n_train": 9, "n_test": 9, "label_names": []},
        "threats": list(threats),
        "cells": [{"label": n, "defense": n.split("[")[0], "status": "finished"} for n in labels],
    }
    (folder / "curves.csv").write_text("\n".join(curves) + "\n")
    (folder / "summary.csv").write_text("\n".join(summary) + "\n")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_run(folder)


def test_the_front_is_exact_and_leaves_estimates_out(tmp_path: Path) -> None:
    found = front(write_run(tmp_path, SWEEP), "any")
    assert list(found.leads) == LEADS
    assert found.leaders == ["bagging[k=50]", "bagging[k=20]", "bagging[k=10]"]
    steps = dict(zip(found.r.tolist(), found.accuracy.tolist(), strict=True))
    assert [at(steps, r) for r in (0, 39, 40, 199, 200, 299, 300, 899, 900)] == [
        0.99, 0.99, 0.95, 0.95, 0.9, 0.9, 0.4, 0.4, 0,
    ]  # fmt: skip


def falling(values: list[int]) -> list[float]:
    return [value / 4 for value in sorted(values, reverse=True)] + [0.0]


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), min_size=1, max_size=4))
def test_the_front_agrees_with_a_look_at_every_r(cells: list[list[int]]) -> None:
    curves = {f"cell {i}": falling(values) for i, values in enumerate(cells)}

    class Fake:
        def __init__(self, name: str, y: list[float]) -> None:
            self.name, self.x, self.y = name, list(range(len(y))), y

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fronts, "ranked_curves", lambda result, threat: [Fake(*c) for c in curves.items()]
        )
        found = front(None, "any")  # type: ignore[arg-type]
    said = {r: (lead.names, lead) for lead in found.leads for r in range(lead.first, lead.last + 1)}
    for r in range(10):
        here = {name: y[r] if r < len(y) else 0.0 for name, y in curves.items()}
        best = max(here.values())
        assert (r in said) == (best > 0)
        if r in said:
            names, lead = said[r]
            assert set(names) == {name for name, value in here.items() if value == best}
            assert lead.lowest <= best <= lead.highest


def test_a_row_for_each_leader(tmp_path: Path) -> None:
    rows = leader_rows(front(write_run(tmp_path, SWEEP), "any"))
    assert rows == [
        ["bagging[k=50]", "0–39, 40–59 (tied)", "99.00% to 95.00%"],
        ["bagging[k=20]", "40–59 (tied), 60–199", "95.00%"],
        ["bagging[k=10]", "200–899", "90.00% to 40.00%"],
    ]


def test_a_lead_that_alternates_is_cut_short_but_its_end_is_named(tmp_path: Path) -> None:
    ours = {r: 0.9 - 0.02 * r for r in range(0, 40, 2)} | {40: 0.0}
    theirs = {0: 0.89} | {r: 0.89 - 0.02 * r for r in range(1, 40, 2)} | {41: 0.0}
    result = write_run(tmp_path, [("a", "any", PROBABLE, ours), ("b", "any", PROBABLE, theirs)])
    first = leader_rows(front(result, "any"))[0][1]
    assert first.startswith("0–1, 3, 5, 7")
    assert first.endswith("23, and 8 more up to 39")


def test_the_table_is_in_both_reports(tmp_path: Path) -> None:
    result = write_run(tmp_path, SWEEP)
    section = summary_markdown(result).split("## Who proves most, by r")[1].split("\n## ")[0]
    assert "| any | bagging\\[k=10\\] | 200–899 | 90.00% to 40.00% |" in section
    assert "dp" not in section
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Who proves most, by r" in page
    assert "40–59 (tied), 60–199" in page
    assert "The Pareto front" in page
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_nothing_is_said_where_nothing_is_proved(tmp_path: Path) -> None:
    result = write_run(tmp_path, [("dp[epsilon=1]", "any", "estimate", {0: 0.9, 9: 0.0})])
    assert front(result, "any").leads == ()
    assert "Who proves most, by r" not in summary_markdown(result)
    written = {path.name for path in write_report(tmp_path)}
    assert "pareto.svg" not in written
    assert "Who proves most, by r" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("rows", "worth"),
    [
        (SWEEP, True),
        (SWEEP[:1], False),
        (SWEEP[4:], False),
        ([SWEEP[0], SWEEP[5]], False),
        ([("a", *SWEEP[0][1:]), ("b", *SWEEP[1][1:])], False),
        ([("a", *SWEEP[0][1:]), ("b[k=1]", *SWEEP[1][1:])], True),
    ],
)
def test_a_figure_where_parameters_were_compared(
    tmp_path: Path, rows: list[Row], worth: bool
) -> None:
    assert worth_drawing(write_run(tmp_path, rows)) is worth


def lines(figure: Any, name: str) -> list[Any]:
    return [line for line in figure.axes[0].lines if line.get_label() == name]


def test_the_figure_has_the_front_and_letters_for_who_leads(tmp_path: Path) -> None:
    result = write_run(tmp_path, SWEEP)
    figure, found = pareto_figure(result), front(result, "any")
    (axis,) = figure.axes
    (band,) = lines(figure, "_front")
    assert band.get_drawstyle() == "steps-post"
    assert float(np.max(band.get_ydata())) == 0.99
    assert band.get_xdata()[-1] == 900
    assert [line.get_xdata()[0] for line in lines(figure, "_change")] == [40, 60, 200]
    letters = [text for text in axis.texts if text.get_weight() == "bold"][1:]
    placed = {text.get_text(): text.xy[0] for text in letters}
    assert list(placed) == ["A", "B", "C"], "there is no room where A and B tie"
    assert 0 <= placed["A"] < 40
    assert 60 <= placed["B"] < 200
    assert 200 <= placed["C"] < 900
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "A  bagging[k=50]", "B  bagging[k=20]", "C  bagging[k=10]",
        "the most that any proves", "nowhere best", "estimate, not ranked",
    ]  # fmt: skip
    assert any("not covered: label-flip" in text.get_text() for text in axis.texts)
    leading = [lines(figure, name)[0] for name in found.leaders]
    assert len({(str(line.get_linestyle()), line.get_marker()) for line in leading}) == 3
    (beaten,) = lines(figure, "bagging[k=99]")
    (estimate,) = lines(figure, "dp[epsilon=1]")
    assert beaten.get_linewidth() < 1 > estimate.get_linewidth()


def test_a_tie_has_the_letters_of_all(tmp_path: Path) -> None:
    same = {0: 0.9, 400: 0.0}
    ahead: Steps = {0: 0.95, 2: 0.9, 400: 0.0}
    names = ["e[k=1]", "d[k=1]", "c[k=1]", "b[k=1]"]
    rows: list[Row] = [(name, "any", PROBABLE, same) for name in names]
    figure = pareto_figure(write_run(tmp_path, [*rows[:2], ("a", "any", PROBABLE, ahead)]))
    assert "A=B=C" in [text.get_text() for text in figure.axes[0].texts]
    figure = pareto_figure(write_run(tmp_path, rows))
    assert "A=B=C…" in [text.get_text() for text in figure.axes[0].texts]


def test_the_same_figure_the_same_bytes(tmp_path: Path) -> None:
    result = write_run(tmp_path, SWEEP)
    assert render(pareto_figure(result)) == render(pareto_figure(result))


@pytest.mark.parametrize("count", [2, 12, 40])
def test_many_cells_are_drawn_without_overlap(tmp_path: Path, count: int) -> None:
    rows: list[Row] = [
        (f"bagging[k={i},n_models=100000,features=raw]", threat, PROBABLE,
         {0: 0.99 - i / 50, 20 * (i + 1): 0.0})
        for i in range(count) for threat in ("any", "modify")
    ]  # fmt: skip
    figure = pareto_figure(write_run(tmp_path, rows, ("any", "modify")))
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= -1
    assert legend.x1 <= figure.bbox.x1 + 1
    for axis in figure.axes:
        panel = axis.get_tightbbox()
        assert panel is not None
        assert legend.y1 <= panel.y0 + 1
        bold = [t for t in axis.texts if t.get_weight() == "bold"][1:]
        boxes = [text.get_window_extent() for text in bold]
        assert boxes
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]), (
            "letters do not run into one another"
        )


def test_a_threat_that_nobody_covers_has_an_empty_panel(tmp_path: Path) -> None:
    result = write_run(tmp_path, SWEEP, ("any", "insert"))
    figure = pareto_figure(result)
    assert len(figure.axes) == 2
    assert any("covers this attacker" in text.get_text() for text in figure.axes[1].texts)
