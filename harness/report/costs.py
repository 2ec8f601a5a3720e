"""What a run cost: each cell's own seconds, and the features that several cells share, once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.report import words
from harness.results.reader import RunResult
from harness.results.seeds import SEEDS, over_seeds


@dataclass(frozen=True)
class Cost:
    """What one cell cost; NaN where it failed before it could be measured.

    ``seeds`` and ``spread`` as in :class:`~harness.report.answers.Row`.
    """

    name: str
    failed: bool
    train: float
    predict: float
    certify: float
    n_models: float
    peak_rss_mb: float
    seeds: str = ""
    spread: tuple[Cost, Cost] | None = None

    @property
    def lowest(self) -> Cost:
        return self.spread[0] if self.spread else self

    @property
    def highest(self) -> Cost:
        return self.spread[1] if self.spread else self

    @property
    def total(self) -> float:
        """Seconds altogether; NaN where nothing was measured."""
        known = [s for s in (self.train, self.predict, self.certify) if not math.isnan(s)]
        return sum(known) if known else math.nan


def costs(result: RunResult) -> list[Cost]:
    """What each cell cost, in the order of the plan."""
    result = over_seeds(result)
    every = zip(result.cells, result.lowest.cells, result.highest.cells, strict=True)
    found = []
    for cells in every:
        one, low, high = map(_cost, cells)
        found.append(replace(one, spread=(low, high)) if one.seeds else one)
    return found


def costs_by_seed(result: RunResult) -> list[Cost]:
    """What each cell cost, each seed for itself."""
    return [_cost(cell) for cell in result.by_seed.cells]


def _cost(cell: Mapping[str, Any]) -> Cost:
    seconds = cell.get("seconds") or {}
    return Cost(
        name=str(cell["label"]),
        failed=cell.get("status") == "failed",
        train=_number(seconds.get("train")),
        predict=_number(seconds.get("predict")),
        certify=_number(seconds.get("certify")),
        n_models=_number(cell.get("n_models")),
        peak_rss_mb=_number(cell.get("peak_rss_mb")),
        seeds=cell.get(SEEDS, ""),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Shared:
    """Features that were made once: in how many ``seconds``, and for how many ``cells``."""

    name: str
    seconds: float
    cells: int

    @property
    def said(self) -> str:
        """Such as: features hog, made once, shared by 8 cells."""
        use = f"shared by {self.cells:,} cells" if self.cells > 1 else "used by 1 cell"
        return f"features {self.name}, made once, {use}"


def features(result: RunResult) -> list[Shared]:
    """The features that the cells of the run name, in the order of the plan; none for older runs.

    Their seconds are in no cell's own. Where runs were combined, each made its own.
    """
    counts: Counter[tuple[str, str, float]] = Counter(
        (str(cell.get("run", "")), str(name), float(seconds))
        for cell in result.by_seed.cells
        for name, seconds in (cell.get("features") or {}).items()
    )
    return [Shared(name, seconds, n) for (_, name, seconds), n in counts.items()]


def together(result: RunResult) -> str:
    """What the run took, in a sentence: the cells' own seconds and the features, once.

    Empty where no cell names features.
    """
    made = features(result)
    if not made:
        return ""
    own = [cost.total for cost in costs_by_seed(result) if not math.isnan(cost.total)]
    once = sum(one.seconds for one in made)
    return (
        f"Seconds of a cell are its own. All cells {words.seconds(sum(own))}, the features once "
        f"{words.seconds(once)}, together {words.seconds(sum(own) + once)}."
    )
