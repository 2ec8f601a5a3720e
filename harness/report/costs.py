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


def costs(result: RunResult) -> list[Cost]:
    """What each cell cost, in the order of the plan."""
    result = over_seeds(result)
    every = zip(result.cells, result.lowest.cells, result.highest.cells, strict=True)
    found = []
    for cells in every:
        one, low, high = map(_cost, cells)
        found.append(replace(one, spread=(low, high)) if one.seeds else one)
    return found


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
    """What was made once, such as "features hog": its ``seconds``, how many ``cells`` used it."""

    name: str
    seconds: float
    cells: int

    @property
    def said(self) -> str:
        """Such as: features hog, made once, shared by 8 cells."""
        use = f"shared by {self.cells:,} cells" if self.cells > 1 else "used by 1 cell"
        return f"{self.name}, made once, {use}"


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
    own = _own(result)
    once = sum(one.seconds for one in made)
    return (
        f"Seconds of a cell are its own. All cells {words.seconds(own)}, the features once "
        f"{words.seconds(once)}, together {words.seconds(own + once)}."
    )


def _own(result: RunResult) -> float:
    """Seconds of all cells; those that differ in alpha alone have one training."""
    total, trained = 0.0, set()
    for i, cell in enumerate(result.by_seed.cells):
        cost = _cost(cell)
        training = cell.get("run"), cell.get("evidence", i)
        phases = [cost.certify] + [cost.train, cost.predict] * (training not in trained)
        trained.add(training)
        total += sum(seconds for seconds in phases if not math.isnan(seconds))
    return total
