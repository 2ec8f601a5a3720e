"""What two runs are compared by, which direction is worse, and what a gate tolerates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparing.defaults import DEFAULT_GATES
from harness.errors import UsageError, unknown
from harness.proofs.curves import SUMMARY_R

ACCURACY = "certified_accuracy"


@dataclass(frozen=True)
class Metric:
    """A number of a run. ``higher``: whether more is better. ``units``: those of a tolerance.

    ``floor``: a smaller difference than this is never worth a word, whatever its ratio.
    """

    name: str
    kind: str
    higher: bool
    units: Sequence[str]
    floor: float = 0.0

    @property
    def sign(self) -> str:
        """The sign of a change for the worse."""
        return "-" if self.higher else "+"


_FRACTION, _RADIUS, _SECONDS = ("pp", "%", ""), ("", "%"), ("%", "s", "")

METRICS = {
    metric.name: metric
    for metric in (
        Metric("clean_accuracy", "fraction", True, _FRACTION),  # noqa: FBT003 - a table
        Metric(ACCURACY, "fraction", True, _FRACTION),  # noqa: FBT003
        Metric("abstained", "fraction", False, _FRACTION),  # noqa: FBT003
        Metric("median_radius", "radius", True, _RADIUS, floor=1),  # noqa: FBT003
        Metric("max_radius", "radius", True, _RADIUS, floor=1),  # noqa: FBT003
        Metric("train_s", "seconds", False, _SECONDS, floor=0.1),  # noqa: FBT003
        Metric("predict_s", "seconds", False, _SECONDS, floor=0.1),  # noqa: FBT003
        Metric("certify_s", "seconds", False, _SECONDS, floor=0.1),  # noqa: FBT003
        Metric("total_s", "seconds", False, _SECONDS, floor=0.1),  # noqa: FBT003
        Metric("peak_rss_mb", "memory", False, ("%", "MB", ""), floor=50),  # noqa: FBT003
    )
}
COSTS = ("train_s", "predict_s", "certify_s", "total_s", "peak_rss_mb")


@dataclass(frozen=True)
class Rule:
    """How far a metric may become worse. ``at``: the r it is for; None for every r.

    ``amount`` > 0 is in ``unit``: ``pp`` (percentage points), ``%`` (of the base), ``s``, ``MB`` or
    none (the metric's own unit). ``gates``: whether going beyond it is an error.
    """

    metric: Metric
    amount: float
    unit: str
    at: int | None = None
    gates: bool = True

    def worst(self, base: float) -> float:
        """The worst value that is tolerated beside that base; nothing is divided."""
        allowed = self.amount
        if self.unit == "pp":
            allowed = self.amount / 100
        elif self.unit == "%":
            allowed = abs(base) * self.amount / 100
        allowed = max(allowed, self.metric.floor if self.unit == "%" else 0.0)
        return base - allowed if self.metric.higher else base + allowed

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit and self.unit != "%" else self.unit
        return f"{self.metric.sign}{self.amount:g}{unit}"


_DEFAULT_JUDGEMENTS = (
    *DEFAULT_GATES,
    "abstained:+0.5pp",
    "max_radius:-10%",
    *(f"{name}:+50%" for name in COSTS if name != "peak_rss_mb"),
    "peak_rss_mb:+20%",
)
_RULE = re.compile(
    r"(?P<metric>\w+)(?:@(?P<at>\d+))?:(?P<sign>[+-]?)(?P<amount>\d+\.?\d*|\.\d+)(?P<unit>%|[a-zA-Z]*)"
)
_FORM = "METRIC[@R]:CHANGE, such as certified_accuracy@50:-0.5pp or train_s:+50%"


def parse_rule(text: str, *, gates: bool = True) -> Rule:
    """The rule that ``METRIC[@R]:CHANGE`` spells. Raises UsageError that says what is wrong.

    >>> str(parse_rule("certified_accuracy@50:-0.5pp")), parse_rule("train_s:+50%").worst(2.0)
    ('-0.5 pp', 3.0)
    """
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--fail-on {text!r} cannot be read; wanted {_FORM}")
    if match["metric"] not in METRICS:
        raise unknown("metric", match["metric"], METRICS)
    metric = METRICS[match["metric"]]
    if match["at"] is not None and metric.name != ACCURACY:
        raise UsageError(f"--fail-on {text!r}: only {ACCURACY} is taken at an r")
    if match["unit"] not in metric.units:
        allowed = ", ".join(unit or "no unit" for unit in metric.units)
        found = match["unit"] or "plain numbers"
        raise UsageError(
            f"--fail-on {text!r}: {metric.name} is not counted in {found}; allowed: {allowed}"
        )
    amount = float(match["amount"])
    limit = {"pp": 100, "%": 100 if metric.higher else float("inf")}.get(
        match["unit"], 1 if metric.kind == "fraction" else float("inf")
    )
    if amount >= limit:
        unit = match["unit"]
        raise UsageError(
            f"--fail-on {text!r} tolerates everything: wanted less than {limit:g}{unit}"
        )
    if match["sign"] != metric.sign:
        worse = "falls" if metric.higher else "rises"
        right = f"{metric.sign}{match['amount']}{match['unit']}"
        raise UsageError(f"--fail-on {text!r}: {metric.name} {worse} when it worsens: {right}")
    at = int(match["at"]) if match["at"] is not None else None
    return Rule(metric, amount, match["unit"], at, gates)


@dataclass(frozen=True)
class Rules:
    """What is tolerated of every metric, and which of them gate."""

    chosen: Sequence[Rule]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Rules:
        """The defaults, and on top of them what is given; ``none`` drops the defaults' gates."""
        given = [parse_rule(text) for text in texts if text.strip() != "none"]
        keep = len(given) == len(texts)
        gates = [parse_rule(text, gates=keep) for text in DEFAULT_GATES]
        judged = [parse_rule(text, gates=False) for text in _DEFAULT_JUDGEMENTS]
        return cls([*reversed(given), *gates, *judged])

    def of(self, name: str, at: int | None = None) -> Rule:
        """The rule for a metric, at an r or not: the most specific, of those the last given."""
        fitting = [rule for rule in self.chosen if rule.metric.name == name]
        exact = [rule for rule in fitting if at is not None and rule.at == at]
        return (exact or [rule for rule in fitting if rule.at is None])[0]

    @property
    def r(self) -> list[int]:
        """The r to compare at: those of summaries and those that rules name."""
        named = {rule.at for rule in self.chosen if rule.at is not None}
        return sorted({*SUMMARY_R, *named})
