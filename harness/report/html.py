"""``report.html``: one file that needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from harness.report import answers, costs, front, problem, reached_tables, tables, words
from harness.report.reached import Attacks, attacks
from harness.results.earlier import made_before
from harness.results.seeds import over_seeds

if TYPE_CHECKING:
    from harness.results.reader import RunResult

TEMPLATE = "report.html.jinja"


def report_html(result: RunResult, figures: Mapping[str, bytes]) -> str:
    """The report; ``figures`` are SVG files by their name: ``cost`` and so on."""
    result = over_seeds(result)
    attacked = attacks(result)
    source = (files("harness.report.templates") / TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({TEMPLATE: source}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=tables.title(result),
        setting=tables.setting(result),
        seeds_note=tables.seeds_note(result),
        unlabelled=problem.unlabelled(result),
        domain=problem.domain(result),
        trusted=problem.trusted(result),
        not_fitted=problem.not_fitted(result),
        what_they_do=problem.NOT_FITTED,
        threats=[
            _threat(answer, front.leader_rows(front.front(result, answer.threat)))
            for answer in answers.threat_answers(result)
        ],
        figures={name: inline_svg(svg, name) for name, svg in figures.items()},
        who_proves_most=words.WHO_PROVES_MOST,
        from_the_curves=words.FROM_THE_CURVES,
        leader_columns=front.LEADER_COLUMNS,
        alarm=reached_tables.banner(attacked),
        attacked=_attacked(attacked) if attacked else None,
        cost_columns=tables.COST_COLUMNS,
        costs=tables.cost_rows(result),
        together=costs.together(result),
        failed=answers.failed_cells(result),
        terms=[
            *words.how_to_read(set(result.summary["kind"])).items(),
            *((name, words.guarantee_meaning(name)) for name in answers.guarantees(result)),
        ],
        cells=[_cell(cell) for cell in result.cells],
        runs=[_provenance(run) for run in result.by_seed.runs],
    )


def inline_svg(svg: bytes, prefix: str) -> Markup:
    """An SVG drawing to stand in an HTML page.

    Its ids get a prefix, for two drawings may use the same ones. The drawing comes from
    matplotlib, which escapes the text in it.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(href=")#', rf"\1#{prefix}-", text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return Markup(text)


def _threat(answer: answers.ThreatAnswer, leaders: list[list[str]]) -> dict[str, Any]:
    rows = [
        {
            "cells": _breakable(tables.cells(answer, row)),
            "best": [3 + i for i, r in enumerate(answer.r) if answer.is_best(row, r)],
            "covered": row.covered,
        }
        for row in answer.rows
    ]
    return {
        "name": answer.threat,
        "meaning": words.threat_meaning(answer.threat),
        "headline": answers.headline(answer),
        "about_accuracy": answers.about_accuracy(answer),
        "columns": tables.columns(answer),
        "rows": rows,
        "not_run": words.listing(answer.not_run),
        "leaders": leaders,
    }


def _attacked(found: Attacks) -> dict[str, Any]:
    """What the section on attacks says."""
    every = (
        (reached_tables.WHAT_IT_IS, reached_tables.COLUMNS, reached_tables.rows(found)),
        (reached_tables.JOINT_IS, reached_tables.JOINT_COLUMNS, reached_tables.joint_rows(found)),
    )
    return {
        "title": reached_tables.TITLE,
        "refuted": reached_tables.refuted(found),
        "tables": [
            {"about": about, "heads": heads, "rows": [_breakable(row) for row in rows]}
            for about, heads, rows in every
            if rows
        ],
    }


def _breakable(cells: list[str]) -> list[str]:
    """The cells of a row, its name with places where a line may end: after a bracket or comma."""
    pieces = re.split(r"(?<=[\[,=(])", cells[0])
    return [Markup("<wbr>").join(pieces), *cells[1:]]


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    params = cell.get("params") or {}
    return {
        "label": cell["label"],
        "title": cell.get("title") or "",
        "paper": cell.get("paper") or "",
        "distribution": cell.get("distribution") or "",
        "params": ", ".join(f"{key}={value}" for key, value in params.items()),
    }


def _provenance(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where one run comes from: names and values, in the order of the manifest."""
    rows = {
        "command": words.command(run.get("command", [])),
        "finished": run.get("created"),
        "data": (run.get("dataset") or {}).get("digest"),
        "seed": _listed(run, "seed"),
        "alpha": _listed(run, "alpha"),
        "device": run.get("device"),
        "threads": run.get("threads"),
        "machine": _pairs(run.get("machine")),
        "versions": _pairs(run.get("versions")),
        "git commit": _commit(run.get("git")),
        "plugins' commits": "; ".join(
            f"{name}: {_commit(source)}"
            for name, source in (run.get("sources") or {}).items()
            if _commit(source)
        ),
    }
    before = [
        (f"before it, for {words.listing(labels)}", _earlier(made))
        for labels, made in made_before(run.get("cells") or [])
    ]
    known = [(name, str(value)) for name, value in rows.items() if value not in (None, "")]
    return [*known, *before]


def _earlier(made: Mapping[str, Any]) -> str:
    """In a line where the cells come from that were kept from an earlier run."""
    suite, commit = made.get("suite"), _commit(made.get("git"))
    parts = [
        words.command(made.get("command") or []),
        suite and f"suite {suite}",
        made.get("created") and f"finished {made['created']}",
        made.get("device") and f"device {made['device']}",
        _pairs(made.get("versions")),
        commit and f"git commit {commit}",
    ]
    return "; ".join(part for part in parts if part)


def _listed(run: Mapping[str, Any], key: str) -> str:
    return ", ".join(map(str, tables.values(run.get("cells") or [], run, key)))


def _commit(source: Mapping[str, Any] | None) -> str:
    """The commit of a checkout, and whether it was changed; empty where there is none."""
    if not source or not source.get("commit"):
        return ""
    return str(source["commit"]) + " (changed)" * bool(source.get("dirty"))


def _pairs(content: object) -> str:
    if not isinstance(content, Mapping):
        return "" if content is None else json.dumps(content)
    return ", ".join(f"{key} {value}" for key, value in content.items())
