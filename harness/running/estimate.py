"""What a plan will cost, told before anything of it is trained; nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.plugins.lookup import Installed
from harness.results.folder import RunFolder
from harness.results.provenance import fingerprint
from harness.results.store import EvidenceStore
from harness.running.containment import CellLog, contained, describe
from harness.running.limit import TooLong, limited
from harness.running.trial import Cost, Line, Trial

if TYPE_CHECKING:
    import torch

    from harness.plugins.registry import Registry
    from harness.results.cells import Cell, Plan
    from harness.results.files import Stored

LIMIT_S = 120.0
"""Seconds after which a cell is given up of which no model is done."""


@dataclass(frozen=True)
class Estimate:
    """What a cell, or features that cells share, will take in one process on this machine.

    ``seconds``: of training and predicting, without what other cells train for it; None where it
    is not known. ``megabytes``: the most memory of the process; None where it is not known or
    nothing is trained. ``how``: how that is known, or why it is not.
    """

    name: str
    seconds: float | None
    megabytes: float | None
    how: str


@dataclass
class Estimator:
    """Estimates the cells of a plan, in their order, and remembers what they share.

    ``folder``, ``store``: where a run would find what is trained already; neither need exist. With
    ``fresh`` it would not look.
    """

    plan: Plan
    registry: Registry
    device: torch.device
    folder: Path | None = None
    store: Path | None = None
    fresh: bool = False
    _costs: dict[str, tuple[Cost | None, str]] = field(default_factory=dict)
    _trainers: dict[tuple[str, int, range], str] = field(default_factory=dict)
    """Which cell of the plan trains a block."""

    def __post_init__(self) -> None:
        self._trial = Trial(self.plan, self.registry, self.device)

    def estimates(self) -> Iterator[Estimate]:
        """One for each cell, and before the first cell that asks for them for shared features."""
        told: set[str] = set()
        for cell in self.plan.cells:
            found = self._estimate(cell)
            for name, (seconds, how) in self._trial.features.items():
                if name not in told:
                    yield Estimate(name, seconds, None, how)
            told |= self._trial.features.keys()
            yield found

    def _estimate(self, cell: Cell) -> Estimate:
        if cell.defense is None:
            return _unknown(cell, str(cell.error))
        try:
            with contained(CellLog()):
                installed = Installed(self.registry, self.plan.shape.example)
                blocks = cell.defense.blocks(self.plan.shape, installed)
        except Exception as error:  # of a plugin
            return _unknown(cell, describe(error))
        stored = self._stored(cell, blocks)
        places = [(cell.blocks_stem, i, models) for i, models in enumerate(blocks)]
        shared = dict.fromkeys(self._trainers[p] for p in places if p in self._trainers)
        done = set() if self.fresh else stored.keys()
        missing = [i for i, p in enumerate(places) if i not in done and p not in self._trainers]
        if not missing:
            whose = f"the models of {' and '.join(shared)}" if shared else "trained before"
            return Estimate(cell.label, 0.0, None, whose)
        self._trainers |= {places[i]: cell.label for i in missing}
        if cell.blocks_stem not in self._costs:
            self._costs[cell.blocks_stem] = self._cost(cell, blocks, missing, stored)
        cost, how = self._costs[cell.blocks_stem]
        if cost is None:
            return _unknown(cell, how)
        sizes = [len(blocks[i]) for i in missing]
        seconds = sum(map(cost.seconds.at, sizes))
        megabytes = None if cost.megabytes is None else cost.megabytes.at(max(sizes))
        return Estimate(cell.label, seconds, megabytes, how)

    def _stored(self, cell: Cell, blocks: Sequence[range]) -> Mapping[int, Stored]:
        """The finished blocks that a run would find, by index; all of them where they are merged
        already.
        """
        with suppress(HarnessError):  # what is wrong with a folder, the run says
            whole = self.folder and RunFolder(self.folder).evidence(cell.name, cell.key)
            if whole:
                return dict.fromkeys(range(len(blocks)), whole)
            store = self.store and EvidenceStore(self.store).find()
            if store:
                found = ((i, store.peek(cell.blocks_stem, i, b)) for i, b in enumerate(blocks))
                return {i: part for i, part in found if part is not None}
        return {}

    def _cost(
        self,
        cell: Cell,
        blocks: Sequence[range],
        missing: Sequence[int],
        stored: Mapping[int, Stored],
    ) -> tuple[Cost | None, str]:
        """What the cell's blocks cost, and how it is known or why not."""
        recorded = self._recorded(blocks, stored)
        if recorded is not None:
            return recorded, f"recorded when {_models(recorded.models)} of it were trained here"
        index = max(missing, key=lambda i: len(blocks[i]))
        try:
            with contained(CellLog()), limited(LIMIT_S):
                timed = self._trial.of(cell, index, blocks[index])
        except TooLong:
            return None, f"its first models are not done after {LIMIT_S:.0f} s"
        except Exception as error:  # of a plugin: the run will say it of the cell
            return None, f"its first models fail: {describe(error)}"
        return timed, f"timed on {_models(timed.models)}"

    def _recorded(self, blocks: Sequence[range], stored: Mapping[int, Stored]) -> Cost | None:
        """From the blocks that this kind of machine trained before, if it did."""
        here = fingerprint(self.device)
        known = [
            (len(blocks[i]), part.meta)
            for i, part in stored.items()
            if part.meta.get("machine") == here and "models" in part.meta
        ]
        if not known:
            return None
        models = sum(m for m, _ in known)
        seconds = sum(meta["train"] + meta["predict"] for _, meta in known)
        peak = max(meta["peak_rss_mb"] for _, meta in known)
        return Cost(Line(0.0, seconds / models), Line(peak, 0.0), models)


def _unknown(cell: Cell, why: str) -> Estimate:
    return Estimate(cell.label, None, None, f"unknown: {why}")


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count:,} models"
