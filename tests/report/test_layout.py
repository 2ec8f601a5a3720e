"""Where lines are broken, which ticks have room, how large markers are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from harness.report import words
from harness.report.accuracy_figure import look
from harness.report.figures import new_figure
from harness.report.panels import r_ticks
from harness.report.terminal import label_table


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("not covered: label-flip, feature-flip", 30, ["not covered: label-flip,", "feature-flip"]),
        ("dp[epsilon=0.3,delta=1e-5] (estimate)", 30, ["dp[epsilon=0.3,delta=1e-5]", "(estimate)"]),
        ("dpa[parts=9,learner=ridge(a=1)]", 22, ["dpa[parts=9,", "learner=ridge(a=1)]"]),
        ("a.b.ClassName(depth=3)", 14, ["a.b.ClassName(", "depth=3)"]),
        ("abcdefgh", 5, ["abcde", "fgh"]),
        ("a\nb", 5, ["a b"]),
    ],
)  # fmt: skip
def test_lines_are_broken_between_words_then_at_commas(
    text: str, width: int, lines: list[str]
) -> None:
    assert words.wrap_label(text, width).splitlines() == lines


@given(st.text(max_size=60), st.integers(1, 30))
def test_wrapping_loses_nothing(text: str, width: int) -> None:
    wrapped = words.wrap_label(text, width)
    assert all(len(line) <= width for line in wrapped.splitlines())
    assert "".join(wrapped.split()) == "".join(words.one_line(text).split())


def test_markers_are_equally_visible() -> None:
    """Pixels of each marker's own colour; a thin cross or star would have a quarter of a square."""
    areas = []
    for i in range(8):
        figure = new_figure(1, 1)
        figure.set_dpi(400)  # at 100, markers snap to whole pixels
        style = {**look(i), "linestyle": "", "markevery": None, "color": "black"}
        figure.add_axes((0, 0, 1, 1), frameon=False).plot([0], [0], **style)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., 0]  # type: ignore[attr-defined]
        areas.append(np.sum(255 - pixels.astype(float)) / 255)
    assert min(areas) > 0.8 * max(areas)


def test_ticks_have_room() -> None:
    assert r_ticks(5, 3.3) == [0, 1, 2, 3, 4, 5]
    assert r_ticks(2000, 3.3) == [0, 2, 5, 10, 20, 50, 100, 200, 1000]
    assert r_ticks(300, 3.3) == [0, 2, 5, 10, 20, 50, 100, 200]
    assert set(r_ticks(2000, 1.2)) < set(r_ticks(2000, 6.0))


def test_a_table_of_labels_has_its_columns_under_one_another() -> None:
    rows = [("short", [Text("1")]), ("much,longer,than,the,rest", [Text("1,000")])]
    assert label_table("name", ["models"], rows, 20).plain.splitlines() == [
        "name   models",
        "short       1",
        "much,longer,than,",
        "the,rest",
        "        1,000",
    ]
