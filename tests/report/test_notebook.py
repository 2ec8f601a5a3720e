"""What a notebook shows for a run."""

import base64
import re
import subprocess
import sys

import matplotlib
import pytest

from harness.report import answers, words
from harness.report.notebook import figure, repr_html
from harness.results.reader import load_run

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def result(made_run, made_cell):
    return load_run(
        made_run(
            "run",
            made_cell("bagging", {"any": [30] * 8 + [-1] * 2, "insert": None}),
            made_cell("dp", {"any": [9] * 10, "insert": None}, guarantee="estimate",
                      kind="expected-accuracy"),
        )
    )  # fmt: skip


def test_it_has_the_table_the_sentences_and_the_figure(result):
    html = repr_html(result)
    answer = answers.threat_answer(result, "any")
    assert answers.headline(answer) in html
    body = "".join(re.findall(r"<tbody>(.*?)</tbody>", html, re.DOTALL))
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", body)
    assert cells == [
        "bagging", "100%", "<b>80.0%</b>", "<b>80.0%</b>", "30", "30",
        "dp (estimate, expected accuracy)", "100%", "100%", "0", "9", "9",
    ]  # fmt: skip
    assert "not covered: bagging and dp" in html
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert base64.b64decode(picture).startswith(PNG)


def test_several_seeds_have_ranges_and_the_note(made_run, made_cell):
    cells = [
        made_cell("a", {"any": [3] * 4}, more={"group": "a"}),
        made_cell("a@seed=1", {"any": [3] * 3 + [-1]}, more={"group": "a"}),
    ]
    html = repr_html(load_run(made_run("run", *cells)))
    assert "<b>87.5% (75.0–100%)</b>" in html
    assert words.SEEDS_APART.replace("'", "&#39;") in html


def test_what_comes_from_a_run_is_escaped(made_run, made_cell):
    evil = '<script>alert("1")</script>'
    lost = made_cell("lost", {}, error=evil)
    html = repr_html(load_run(made_run("run", made_cell(evil, {"any": [1]}), lost)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 2
    assert "<style" not in html


def test_no_colour_is_set_for_text_or_paper(result):
    """So that it is read on a dark page as on a light one."""
    assert not re.search(r"(?<![-\w])(color|background)\s*:", repr_html(result))


def test_a_figure_shows_itself_as_one_picture(result):
    drawn = figure(result)
    assert drawn._repr_png_().startswith(PNG)
    assert [axis.texts[0].get_text() for axis in drawn.axes] == ["any", "insert"]


def test_pyplot_would_show_it_again_and_does_not_know_of_it(result, tmp_path):
    code = (
        "import sys\n"
        "from harness.report.notebook import figure\n"
        "from harness.results.reader import load_run\n"
        "figure(load_run(sys.argv[1]))\n"
        "import matplotlib.pyplot as plt\n"
        "assert plt.get_fignums() == []\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(result.folder)], capture_output=True, text=True,
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_it_looks_the_same_whatever_the_users_settings(result, tmp_path):
    """Such as a notebook's: a figure that a user saves is drawn outside the harness."""
    pictures = []
    for size in (9, 25):
        with matplotlib.rc_context({"xtick.labelsize": size, "axes.labelsize": size}):
            drawn = figure(result)
            drawn.savefig(tmp_path / "a.png", dpi=50, metadata={"Software": None})
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] == pictures[1]
