"""Comparing two runs: pairs cells, and judges every metric of every pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.comparing import paired
from harness.comparing.change import IMPROVEMENT, NOISE, NOT_COMPARABLE, REGRESSION, SAME, Change
from harness.comparing.comparison import CellChange, Comparison, ThreatChange
from harness.comparing.metrics import ACCURACY, COSTS, Rule, Rules
from harness.comparing.pairing import Pair, pair_cells
from harness.report.words import guarantee_kind
from harness.results.pointwise import Pointwise, load_pointwise
from harness.results.reader import RunResult, accuracy_at
from harness.results.schema import NOT_COVERED

_STRENGTH = ("deterministic", "probabilistic", "estimate", NOT_COVERED)
"""Guarantees from the strongest to none."""


_Points = tuple[Mapping[tuple[str, str], Pointwise], Mapping[tuple[str, str], Pointwise]]


def compare_runs(
    base: RunResult, new: RunResult, rules: Rules, wanted: Sequence[str] = ()
) -> Comparison:
    """Compares two runs, or their published reports.

    ``wanted``: only these cells or defenses. Raises UsageError for one that does not exist.
    """
    names = str(base.folder), str(new.folder)
    one, other = (run.manifest["dataset"].get("digest") for run in (base, new))
    if one != other or one is None:
        called = [run.manifest["dataset"].get("name") for run in (base, new)]
        return Comparison(*names, reason=f"their data differ: {called[0]} ({_short(one)}) and "
                          f"{called[1]} ({_short(other)}){_of_votes(base, new)}")  # fmt: skip
    points = load_pointwise(base), load_pointwise(new)
    cells = [_cell(pair, base, new, points, rules) for pair in pair_cells(base, new, wanted)]
    found = Comparison(*names, cells, _notes(base, new, points))
    return found if found.comparable else Comparison(*names, cells, found.notes, _why_not(found))


def _of_votes(base: RunResult, new: RunResult) -> str:
    """Why certificates of somebody's votes are of other data, if that is what they are."""
    foreign = ["votes" in run.manifest["dataset"] for run in (base, new)]
    if not any(foreign):
        return ""
    if not all(foreign):
        return "; votes of somebody else do not tell which examples they are about"
    if not (base.labelled and new.labelled):
        return "; without the true labels only certificates of the same votes can be compared"
    return "; their true labels or numbers of training examples are not the same"


def _short(digest: Any) -> str:
    return str(digest)[:12]


def _why_not(found: Comparison) -> str:
    reasons = dict.fromkeys(
        text
        for cell in found.cells
        for text in (cell.reason, *(t.reason for t in cell.threats))
        if text
    )
    return "; ".join(reasons) or "they have no cell in common"


def _notes(base: RunResult, new: RunResult, points: _Points) -> list[str]:
    """What differs between the runs and explains differences without forbidding to compare."""
    notes = [
        f"{run.folder} keeps nothing by example: the tolerance alone decides"
        for run, kept in zip((base, new), points, strict=True)
        if not kept and any(points)
    ]
    votes = [run.manifest["dataset"].get("votes") for run in (base, new)]
    if votes[0] != votes[1]:
        told = f"{_short(votes[0])} and {_short(votes[1])}"
        notes.append(f"votes differ: {told}; that the examples are the same, the labels alone say")
    if not base.labelled:
        notes.append("the true labels are not known: certified means predicted the same, not right")
    for key, what in (("seed", "seeds"), ("device", "devices"), ("threads", "numbers of threads")):
        before, after = base.manifest.get(key), new.manifest.get(key)
        if before != after:
            notes.append(f"{what} differ: {before} and {after}")
    before, after = (run.manifest.get("versions", {}) for run in (base, new))
    changed = [
        f"{name} {before.get(name, '?')} -> {after.get(name, '?')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return [*notes, f"versions differ: {', '.join(changed)}"] if changed else notes


def _cell(pair: Pair, base: RunResult, new: RunResult, points: _Points, rules: Rules) -> CellChange:
    if pair.base is None:
        return CellChange(pair, verdict="new", reason="not in the base")
    if pair.base["status"] == "failed":
        return CellChange(pair, verdict=NOT_COMPARABLE, reason="it failed in the base")
    if pair.new is None:
        return CellChange(pair, verdict=REGRESSION, reason="vanished: the new run has no such cell")
    if pair.new["status"] == "failed":
        reason = f"fails now: {pair.new.get('error')}"
        return CellChange(pair, verdict=REGRESSION, reason=reason)
    before, after = _rows(base, pair.base), _rows(new, pair.new)
    threats = [
        _threat(threat, pair, (before.get(threat), after.get(threat)), (base, new), points, rules)
        for threat in dict.fromkeys((*before, *after))
    ]
    costs = _costs(pair, (base, new), rules)
    if not pair.replaced:
        return CellChange(pair, threats, costs)
    changed = ", ".join(f"{key} {b} -> {a}" for key, (b, a) in pair.changed.items())
    reason = f"vanished: the new run has {pair.new['label']} in its place ({changed})"
    return CellChange(pair, threats, costs, REGRESSION, reason)


def _rows(run: RunResult, cell: Mapping[str, Any]) -> dict[str, pd.Series[Any]]:
    """The cell's row of the summary under each threat."""
    rows = run.summary[run.summary["defense"] == cell["label"]]
    return {str(row["threat"]): row for _, row in rows.iterrows()}


def _threat(
    threat: str,
    pair: Pair,
    rows: tuple[pd.Series[Any] | None, pd.Series[Any] | None],
    runs: tuple[RunResult, RunResult],
    points: _Points,
    rules: Rules,
) -> ThreatChange:
    before, after = rows
    if before is None or after is None:
        where = "base" if before is None else "new run"
        guarantees = tuple("" if row is None else str(row["guarantee"]) for row in rows)
        reason = f"the {where} was not asked about {threat}"
        return ThreatChange(threat, (guarantees[0], guarantees[1]), (), NOT_COMPARABLE, reason)
    guarantees = str(before["guarantee"]), str(after["guarantee"])
    verdict, reason = _about(before, after) or _guarantee(guarantees)
    sure = {guarantee_kind(guarantee) for guarantee in guarantees}
    other_meaning = len(sure) > 1 and "estimate" in sure
    if verdict == NOT_COMPARABLE or NOT_COVERED in guarantees or other_meaning:
        return ThreatChange(threat, guarantees, (), verdict, reason)
    assert pair.base is not None and pair.new is not None
    labels = pair.base["label"], pair.new["label"]
    one, other = (points[i].get((labels[i], threat)) for i in (0, 1))
    both = (one, other) if one is not None and other is not None else None
    curves = [
        run.curves[(run.curves["defense"] == label) & (run.curves["threat"] == threat)]
        for run, label in zip(runs, labels, strict=True)
    ]
    changes = []
    for name in ("clean_accuracy", ACCURACY, "abstained", "median_radius", "max_radius"):
        for r in rules.r if name == ACCURACY else [None]:
            values = (
                (float(before[name]), float(after[name]))
                if r is None
                else (accuracy_at(curves[0], r), accuracy_at(curves[1], r))
            )
            known = not any(map(math.isnan, values))
            at = int(max(values)) if name == "median_radius" and known else r
            test = paired.compare(name, *both, at) if both else None
            changes.append(_judge(name, r, values, values[0], rules.of(name, r), test))
    methods = str(before["certificate"]), str(after["certificate"])
    if not reason and methods[0] != methods[1]:
        reason = f"its certificate is another: {methods[0]} -> {methods[1]}"
    return ThreatChange(threat, guarantees, changes, verdict, reason)


def _about(before: pd.Series[Any], after: pd.Series[Any]) -> tuple[str, str] | None:
    """The verdict where both rows prove something, but not about the same; else None."""
    kinds = str(before["kind"]), str(after["kind"])
    if kinds[0] == kinds[1] or NOT_COVERED in (before["guarantee"], after["guarantee"]):
        return None
    return NOT_COMPARABLE, f"its certificate is about something else: {kinds[0]} -> {kinds[1]}"


def _guarantee(guarantees: tuple[str, str]) -> tuple[str, str]:
    """Whether a guarantee was lost or won, or makes the numbers mean different things."""
    before, after = (guarantee_kind(g) for g in guarantees)
    if before == after:
        if guarantees[0] == guarantees[1]:
            return "", ""
        return NOT_COMPARABLE, f"its guarantees differ: {guarantees[0]} and {guarantees[1]}"
    if {before, after} <= set(_STRENGTH):
        lost = _STRENGTH.index(after) > _STRENGTH.index(before)
        verdict, word = (REGRESSION, "weaker") if lost else (IMPROVEMENT, "stronger")
        return verdict, f"its guarantee is {word} now: {guarantees[0]} -> {guarantees[1]}"
    return NOT_COMPARABLE, f"its guarantees differ: {guarantees[0]} and {guarantees[1]}"


_SLACK = 1e-9
"""Accuracies are stored with ten decimals: no difference as small as this is one."""


def _judge(
    name: str,
    at: int | None,
    values: tuple[float, float],
    expected: float,
    rule: Rule,
    test: paired.Paired | None = None,
    note: str = "",
) -> Change:
    """The verdict on a metric that was ``expected`` to stay and is ``values[1]`` now."""
    new = values[1]
    if math.isnan(new) and not math.isnan(values[0]) and name not in COSTS:
        verdict, note = REGRESSION, "not known any more"
    elif math.isnan(expected) or math.isnan(new):
        verdict, note = NOT_COMPARABLE, note or "not known"
    elif abs(new - expected) <= _SLACK and (test is None or not test.worse + test.better):
        verdict = SAME
    elif test is not None and test.noise:
        verdict = NOISE
    else:
        verdict = _beyond(rule, expected, new)
    return Change(name, at, *values, expected, rule, verdict, test, note)


def _beyond(rule: Rule, expected: float, new: float) -> str:
    """Which way the new value goes beyond what is tolerated; either way by the same amount."""
    worst = rule.worst(expected)
    best = 2 * expected - worst
    if not rule.metric.higher:
        worst, best, new = -worst, -best, -new
    if new < worst - _SLACK:
        return REGRESSION
    return IMPROVEMENT if new > best + _SLACK else NOISE


def _costs(pair: Pair, runs: tuple[RunResult, RunResult], rules: Rules) -> list[Change]:
    """Seconds and memory: judged on one kind of machine, or as multiples of the calibrations."""
    assert pair.base is not None and pair.new is not None
    cells = pair.base, pair.new
    machines = [
        cell["machine"] if "machine" in cell else run.manifest.get("fingerprint")
        for cell, run in zip(cells, runs, strict=True)
    ]
    yardsticks = [float(cell.get("calibration_s") or math.nan) for cell in cells]
    ratio = yardsticks[1] / yardsticks[0]
    same = machines[0] is not None and machines[0] == machines[1]
    changes = []
    for name in COSTS:
        values = _cost(cells[0], name), _cost(cells[1], name)
        scale, note = 1.0, ""
        if not same and name != "peak_rss_mb" and not math.isnan(ratio):
            scale = ratio
            note = f"another machine: the base times {ratio:.2f}, the ratio of their calibrations"
        elif not same:
            scale, note = math.nan, "another machine"
        changes.append(_judge(name, None, values, values[0] * scale, rules.of(name), note=note))
    return changes


def _cost(cell: Mapping[str, Any], name: str) -> float:
    seconds = cell.get("seconds") or {}
    known = {f"{phase}_s": value for phase, value in seconds.items()}
    known |= {"peak_rss_mb": cell.get("peak_rss_mb")}
    if name == "total_s" and seconds and None not in seconds.values():
        return float(sum(seconds.values()))
    value = known.get(name)
    return math.nan if value is None else float(value)
