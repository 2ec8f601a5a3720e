"""Proved and reached in a report: numbers, the picture, the alarm, and what is published."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RunFolderError
from harness.report.notebook import repr_html
from harness.report.publish import publish
from harness.report.reached import Reached, attacks, survival
from harness.report.reached_figure import reached_figure
from harness.report.run import Run
from harness.report.tables import summary_markdown
from harness.report.write import write_combined, write_report
from harness.results.attacks import Attacked, JointAttacked, write_attacks, write_joint_attacks
from harness.results.findings import load_findings
from harness.results.folder import RunFolder
from harness.results.reader import combine, load_run

RADII = [1, 2, 3, 4, 5, 6, 7, -1, 3, 2]
"""Of ten test examples; the ninth is predicted wrongly."""
PREDICTED = [1] * 8 + [0, 1]
Rows = list[Attacked]


def row(example: int, reached: int | None, attack: str = "copies", **more: object) -> Attacked:
    one = Attacked("dpa", "made", "any", attack, example, "sampled", RADII[example], reached,
                   64, 3, 0.5, "attacks/a.npz" if reached else "")  # fmt: skip
    return replace(one, **more)  # type: ignore[arg-type]


@pytest.fixture
def attacked(made_run, made_cell) -> Callable[..., Path]:
    def make(rows: Rows, joint: Sequence[JointAttacked] = (), name: str = "run") -> Path:
        folder: Path = made_run(
            name,
            made_cell("knn", {"any": [2] * 10, "insert": None}),
            made_cell("dpa", {"any": RADII, "insert": None}, predictions=PREDICTED),
            made_cell("dp", {"any": [3, 5] * 5}, kind="expected-accuracy"),
        )
        write_attacks(RunFolder(folder), rows)
        write_joint_attacks(RunFolder(folder), joint)
        return folder

    return make


def of(folder: Path) -> Reached:
    found = attacks(load_run(folder))
    assert found is not None
    (one,) = found.reached
    return one


SOME = [row(0, 3), row(0, 2, "nearest"), row(1, None), row(1, 4, "nearest"), row(2, None)]
JOINT = JointAttacked("dp", "made", "any", "copies", 4, 0.5, 0.7, 3, 1.0)


def test_the_strongest_attack_counts_and_what_is_not_turned_is_infinite(attacked):
    one = of(attacked(SOME))
    assert [(e.proved, e.at, e.attack) for e in one.examples][:2] == [
        (1, 2, "nearest"), (2, 4, "nearest"),
    ]  # fmt: skip
    assert (one.turned, one.proved, one.reached, one.ratio) == (2, 2, 4, 2)
    assert (one.strongest, one.tried) == ("nearest", 64)
    assert of(attacked([row(2, None), *SOME[:2], row(3, None)], name="b")).reached == math.inf


def test_what_was_looked_at_for_its_small_radius_is_in_no_median(attacked):
    weak = row(3, 100, chosen="weakest")
    untried = row(4, None, largest=0)
    assert of(attacked([*SOME, weak, untried])) == of(attacked(SOME, name="b"))


def test_what_survives_is_exact_where_all_were_attacked(attacked):
    sizes = {0: 3, 1: 3, 2: 9, 3: 9, 4: 9, 5: 20, 6: None, 9: 4}
    folder = attacked([row(i, size) for i, size in sizes.items()])
    found = survival(load_run(folder), of(folder))
    right, certain = 0.9, 0.8
    for r, y in zip(found.x, found.y, strict=True):
        turned = np.mean([size is not None and size <= r for size in sizes.values()])
        assert y == pytest.approx(right - certain * turned), r


@pytest.mark.parametrize("drawn", [[0], [6], [0, 6], [2, 3, 9]])
def test_no_draw_makes_a_sound_certificate_look_refuted(attacked, drawn):
    folder = attacked([row(i, RADII[i] + 1) for i in drawn])
    result = load_run(folder)
    found = survival(result, of(folder))
    table = result.curves[result.curves["defense"] == "dpa"].set_index("r")["certified_accuracy"]
    proved = [table.get(r, 0.0) for r in found.x]
    assert (found.y >= np.array(proved) - 1e-9).all()
    assert (np.diff(found.y) <= 1e-9).all()


def test_what_the_run_no_longer_proves_is_not_told(attacked):
    stale = [replace(SOME[0], proved=2), row(1, 4, defense="gone"), replace(SOME[0], example=99)]
    assert not load_findings(load_run(attacked(stale, [replace(JOINT, certified_accuracy=0.4)])))
    assert attacks(load_run(attacked([], name="b"))) is None


def test_the_report_has_the_section_and_no_alarm(attacked):
    folder = attacked(SOME, [JOINT])
    written = {path.name for path in write_report(folder)}
    assert "reached.svg" in written
    text = (folder / "summary.md").read_text()
    assert text.startswith("# Certified")
    assert "| dpa | any | 3 | 2 | 2 | 4 | 2.00 | nearest | no |" in text
    assert "| dp | any | 4 | 50.00% | 70.00% | copies | no |" in text
    html = (folder / "report.html").read_text()
    assert "<h2>Proved and reached</h2>" in html
    assert "alarm" not in html
    assert "REFUTED" not in html + text


def test_without_attacks_nothing_is_said_of_them(attacked):
    folder = attacked([])
    assert "reached.svg" not in {path.name for path in write_report(folder)}
    pages = (folder / "summary.md").read_text() + (folder / "report.html").read_text()
    assert "Proved and reached" not in pages
    assert Run(folder).attacks is None


@pytest.mark.parametrize("chosen", ["sampled", "weakest"])
def test_a_refuted_certificate_cannot_be_missed(attacked, chosen, tmp_path):
    folder = attacked([*SOME, row(5, 6, chosen=chosen)])
    write_report(folder)
    publish(folder, tmp_path / "published")
    html = (folder / "report.html").read_text()
    body = html[html.index("<body>") :]
    assert body.splitlines()[1].startswith('<p class="alarm" role="alert">REFUTED: ')
    assert "dpa under any" in body.splitlines()[1]
    for page in (folder / "summary.md", tmp_path / "published" / "README.md"):
        assert page.read_text().startswith("> **REFUTED: ")
        assert "for test example 5 a radius of 6 is proved, and copies changed" in page.read_text()
    assert "REFUTED (1)" in html
    assert "REFUTED" in repr_html(load_run(folder))
    crosses = [line for line in reached_figure(load_run(folder)).axes[0].lines
               if line.get_label() == "_refuted"]  # fmt: skip
    assert [list(cross.get_xdata()) for cross in crosses] == [[6]]


def test_a_refuted_accuracy_is_one_too(attacked):
    folder = attacked([], [replace(JOINT, reached=0.4)])
    text = summary_markdown(load_run(folder))
    assert text.startswith("> **REFUTED: ")
    assert "at r = 4 an accuracy of 0.5000 is proved, and copies left 0.4000" in text


def test_the_picture_has_a_panel_for_each_threat_that_was_attacked(attacked):
    figure = reached_figure(load_run(attacked(SOME, [JOINT])))
    (axis,) = figure.axes
    lines = {str(line.get_label()): line for line in axis.lines}
    assert {"dpa", "dp", "_reached", "_joint"} <= lines.keys()
    assert "knn" not in lines
    assert lines["dpa"].get_linestyle() == "-"
    assert lines["_reached"].get_linestyle() == "--"
    assert lines["_reached"].get_color() == lines["dpa"].get_color()
    assert list(lines["_joint"].get_xdata()) == [4]
    assert list(lines["_joint"].get_ydata()) == [0.7]
    assert axis.get_ylabel() == "accuracy"


def test_what_is_published_is_under_the_seal_and_is_read(attacked, tmp_path):
    folder, target = attacked(SOME, [JOINT]), tmp_path / "published"
    RunFolder(folder).write("attacks/a.npz", b"rows")
    written = {path.relative_to(target).as_posix() for path in publish(folder, target)}
    assert {"attacks.csv", "attacks-joint.csv", "figures/reached.png"} <= written
    assert not (target / "attacks").exists()
    assert attacks(load_run(target)) == attacks(load_run(folder))
    path = target / "attacks.csv"
    path.write_text(path.read_text().replace(",1,3,64,2,", ",1,4,64,3,"))
    with pytest.raises(RunFolderError, match=r"attacks\.csv was edited"):
        load_run(target)


def test_what_somebody_put_beside_a_published_report_is_not_read(attacked, tmp_path):
    publish(attacked([]), tmp_path / "published")
    write_attacks(RunFolder(tmp_path / "published"), [row(0, 1)])
    assert attacks(load_run(tmp_path / "published")) is None


def test_runs_side_by_side_keep_their_attacks(attacked, tmp_path):
    folders = [attacked(SOME, name="a"), attacked([row(5, 8)], [JOINT], name="b")]
    found = load_findings(combine([load_run(folder) for folder in folders]))
    assert {one.defense for one in found.rows} == {"a/dpa", "b/dpa"}
    assert {one.defense for one in found.joint} == {"b/dp"}
    assert found.rows[-1].poisoning == str(folders[1] / "attacks/a.npz")
    write_combined([load_run(folder) for folder in folders], tmp_path / "both")
    text = (tmp_path / "both" / "summary.md").read_text()
    assert "| b/dpa | any | 1 | 1 | 6 | 8 |" in text
    assert load_findings(load_run(tmp_path / "both")).rows == found.rows


def test_python_users_hold_a_table(attacked):
    table = Run(attacked(SOME)).attacks
    assert table is not None
    assert list(table["proof_gap"].dropna()) == [2, 1, 2]
    assert table["reached"].isna().sum() == 2
    assert table["example"].dtype == np.int64
