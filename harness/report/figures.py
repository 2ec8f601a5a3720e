"""The pictures: certified accuracy against r, and what it cost."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1a1a1a"
FAINT = "#595959"
GRID = "#e3e3e3"

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so every machine draws the same
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "svg.fonttype": "path",
    "svg.hashsalt": "harness",  # otherwise ids are drawn anew each time
    "text.color": INK,
    "text.parse_math": False,  # a $ in a label is a $
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, whatever the user's own settings; they are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        look: dict[Any, Any] = {**seaborn.axes_style("ticks"), **_STYLE}
        matplotlib.rcParams.update(look)
        yield


class Picture(Figure):
    """A figure that a notebook shows where it is a cell's value, and nowhere else.

    pyplot, which shows all that it knows of once more, does not know of it.
    """

    def _repr_png_(self) -> bytes:
        return render(self, dpi=100)["png"]


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches that no window system and no global list knows of."""
    figure = Picture(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, dpi: int = 200) -> dict[str, bytes]:
    """The figure as ``svg`` and ``png``, this at that many dots an inch.

    The same figure, the same bytes.
    """
    rendered = {}
    with style(), warnings.catch_warnings():
        # A label may hold any character; one that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for kind, options in (
            ("svg", {"metadata": {"Date": None, "Creator": None}}),
            ("png", {"metadata": {"Software": None}, "dpi": dpi}),
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, facecolor="white", **options)
            rendered[kind] = buffer.getvalue()
    return rendered
