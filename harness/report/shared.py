"""Features that several cells share: what making them once cost, told beside the cells' own."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from harness.report import answers, words
from harness.results.reader import RunResult


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
    own = [cost.total for cost in answers.costs_by_seed(result) if not math.isnan(cost.total)]
    once = sum(one.seconds for one in made)
    return (
        f"Seconds of a cell are its own. All cells {words.seconds(sum(own))}, the features once "
        f"{words.seconds(once)}, together {words.seconds(sum(own) + once)}."
    )
