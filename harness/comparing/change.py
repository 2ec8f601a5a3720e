"""What became of one metric of one cell between two runs."""

from __future__ import annotations

from dataclasses import dataclass

from harness.comparing import paired
from harness.comparing.metrics import Rule

REGRESSION, IMPROVEMENT, NOISE, SAME = "regression", "improvement", "noise", "same"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Change:
    """What became of one metric. ``at``: the r of a certified accuracy.

    ``verdict``: ``regression`` or ``improvement`` where the difference is beyond what ``rule``
    tolerates and, if examples can be paired, beyond chance; else ``noise``, or ``same``. NaN in
    ``base`` or ``new``: not known. ``expected``: the base as it would be on the new run's machine.
    """

    metric: str
    at: int | None
    base: float
    new: float
    expected: float
    rule: Rule
    verdict: str
    paired: paired.Paired | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The metric as it is typed: ``certified_accuracy@50``."""
        return self.metric if self.at is None else f"{self.metric}@{self.at}"

    @property
    def fails(self) -> bool:
        """Whether it is a regression that a gate is there for."""
        return self.verdict == REGRESSION and self.rule.gates
