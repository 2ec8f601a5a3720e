"""What a notebook shows for a run: its table, what it says, and certified accuracy against r."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from matplotlib.figure import Figure

from harness.report import answers, reached_tables, tables, words
from harness.report.accuracy_figure import accuracy_figure
from harness.report.figures import render
from harness.report.reached import attacks
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

TEMPLATE = "notebook.html.jinja"
_DPI = 160
"""Twice the dots that it is shown with: sharp on screens of either kind."""


def figure(result: RunResult) -> Figure:
    """Certified accuracy against r, a panel for each threat, as the report has it.

    A notebook shows it once, where it is a cell's value; ``figure(result).savefig(...)`` works
    anywhere. It needs no window system, and changes no setting of matplotlib.
    """
    return accuracy_figure(result)


def repr_html(result: RunResult) -> str:
    """The run as HTML for a notebook: a table and the headline for each threat, and the figure.

    It holds no script and no colour but the figure's: it is read on light and dark. All text from
    the run is escaped.
    """
    result = over_seeds(result)
    source = (files("harness.report.templates") / TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({TEMPLATE: source}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = accuracy_figure(result)
    return environment.get_template(TEMPLATE).render(
        title=tables.title(result),
        setting=tables.setting(result),
        threats=[_threat(answer) for answer in answers.threat_answers(result)],
        alarm=reached_tables.banner(attacks(result)),
        seeds_note=tables.seeds_note(result),
        failed=answers.failed_cells(result),
        picture=base64.b64encode(render(drawn, _DPI)["png"]).decode(),
        width=round(drawn.get_figwidth() * _DPI / 2),
    )


def _threat(answer: answers.ThreatAnswer) -> dict[str, Any]:
    return {
        "name": answer.threat,
        "meaning": words.threat_meaning(answer.threat),
        "columns": ["clean", *(f"r = {r:,}" for r in answer.alive), "median r", "largest"],
        "rows": [_row(answer, row) for row in answer.covered],
        "not_covered": words.listing(answer.not_covered),
        "said": answers.statements(answer),
    }


def _row(answer: answers.ThreatAnswer, row: answers.Row) -> dict[str, Any]:
    def shown(form: Callable[[float], str], what: Callable[[answers.Row], float]) -> str:
        return words.ranged(form, what(row), what(row.lowest), what(row.highest))

    def percent(value: float) -> str:
        return words.percent(value, 1)

    return {
        "name": row.marked,
        "cells": [
            (shown(percent, lambda one: one.clean_accuracy), False),
            *((shown(percent, _at(r)), answer.is_best(row, r)) for r in answer.alive),
            (shown(words.radius, lambda one: one.median_radius), False),
            (shown(words.radius, lambda one: one.max_radius), False),
        ],
    }


def _at(r: int) -> Callable[[answers.Row], float]:
    return lambda row: row.at[r]
