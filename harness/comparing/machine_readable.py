"""A comparison for other programs: JSON, and JUnit's XML for the test panels of CI services."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree

from harness.comparing.change import NOT_COMPARABLE, REGRESSION, Change
from harness.comparing.comparison import CellChange, Comparison
from harness.comparing.tables import verdict
from harness.comparing.words import told
from harness.report.words import one_line

SCHEMA = 1


def as_json(found: Comparison) -> str:
    """Everything that was compared; numbers that are not known are null."""
    content = {
        "schema": SCHEMA,
        "base": found.base,
        "new": found.new,
        "exit_code": found.exit_code,
        "verdict": verdict(found),
        "regressions": found.regressions,
        "notes": list(found.notes),
        "cells": [_cell(cell) for cell in found.cells],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(cell: CellChange) -> dict[str, Any]:
    return {
        "cell": cell.label,
        "compared_with": cell.pair.new["label"] if cell.pair.new else None,
        "verdict": cell.verdict or None,
        "reason": cell.reason or None,
        "parameters_changed": {
            key: [_finite(value) for value in both] for key, both in cell.pair.changed.items()
        },
        "threats": [
            {
                "threat": threat.threat,
                "guarantee": {"base": threat.guarantees[0], "new": threat.guarantees[1]},
                "verdict": threat.verdict or None,
                "reason": threat.reason or None,
                "metrics": [_change(change) for change in threat.changes],
            }
            for threat in cell.threats
        ],
        "cost": [_change(change) for change in cell.costs],
    }


def _change(change: Change) -> dict[str, Any]:
    test = change.paired
    return {
        "metric": change.name,
        "base": _number(change.base),
        "new": _number(change.new),
        "expected": _number(change.expected),
        "difference": _number(change.new - change.base),
        "tolerated": str(change.rule),
        "gates": change.rule.gates,
        "verdict": change.verdict,
        "examples_worse": test.worse if test else None,
        "examples_better": test.better if test else None,
        "p_value": test.p_value if test else None,
        "note": change.note or None,
    }


def _finite(value: Any) -> Any:
    """A parameter as it is; an infinite one as text, for JSON has none."""
    infinite = isinstance(value, float) and not math.isfinite(value)
    return str(value) if infinite else value


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_junit(found: Comparison) -> str:
    """A suite for each cell, a case for each gate: failed, passed, or skipped with the reason."""
    suites = ElementTree.Element("testsuites", name="harness compare")
    if not found.cells or found.reason:
        suite = ElementTree.SubElement(suites, "testsuite", name="comparison")
        case = ElementTree.SubElement(suite, "testcase", classname="comparison", name="comparable")
        kind = "failure" if found.exit_code else "skipped"
        ElementTree.SubElement(case, kind, message=one_line(verdict(found)))
    for cell in found.cells:
        _suite(ElementTree.SubElement(suites, "testsuite", name=one_line(cell.label)), cell)
    for suite in suites:
        _count(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _suite(suite: ElementTree.Element, cell: CellChange) -> None:
    def case(name: str, outcome: str = "", message: str = "") -> None:
        shown = {"classname": one_line(cell.label), "name": one_line(name)}
        found = ElementTree.SubElement(suite, "testcase", shown)
        if outcome:
            ElementTree.SubElement(found, outcome, message=one_line(message))

    if cell.verdict:
        outcome = {REGRESSION: "failure", "new": ""}.get(cell.verdict, "skipped")
        case("present", outcome, cell.reason)
    for threat in cell.threats:
        if threat.verdict == REGRESSION:
            case(f"{threat.threat} guarantee", "failure", threat.reason)
        elif threat.verdict == NOT_COMPARABLE:
            case(f"{threat.threat} guarantee", "skipped", threat.reason)
    if not cell.compared and cell.pair.base is not None and cell.pair.new is not None:
        case("comparable", "failure", "nothing of it could be compared")
    for threat_name, change in cell.changes():
        if not change.rule.gates:
            continue
        name = f"{threat_name} {change.name}".strip()
        if change.verdict == NOT_COMPARABLE:
            case(name, "skipped", change.note)
        else:
            case(name, "failure" if change.fails else "", told(change))


def _count(suite: ElementTree.Element) -> None:
    """The totals that readers of JUnit's files expect."""
    suite.set("tests", str(len(suite)))
    for kind, name in (("failure", "failures"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(kind) is not None for case in suite)))
    suite.set("errors", "0")
