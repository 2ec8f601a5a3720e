"""An attack that was kept, carried out again from its file of poisoned rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.attacking.verdict import pointwise, turned
from harness.attacking.victim import CLEAN, Victim
from harness.datasets.poisoning import Poisoning
from harness.errors import DataError, UsageError
from harness.plugins.registry import load_dataset
from harness.results.cells import Plan
from harness.results.files import read_npz
from harness.running.plan import Base, make_plan
from harness.running.task import Inputs
from harness.threats import Threat

if TYPE_CHECKING:
    import torch

    from harness.datasets.base import Dataset
    from harness.plugins.registry import Registry

_TOLD = ("defense", "dataset", "digest", "seed", "alpha", "threat", "example", "attack")


@dataclass(frozen=True)
class Replayed:
    """What the cell says of the test example, trained on the clean and on the poisoned set.

    Both predictions with their radii; ``size``: what the attack costs under the threat; ``turned``:
    whether it succeeds; ``told``: what the file says of itself.
    """

    told: dict[str, Any]
    size: int
    before: tuple[int, int]
    after: tuple[int, int]
    turned: bool

    @property
    def refuted(self) -> bool:
        """Whether it succeeds with a size that is certified on the clean set."""
        return self.turned and self.size <= self.before[1]


def replay(
    file: Path,
    registry: Registry,
    device: torch.device,
    *,
    dataset: Dataset | None = None,
    data_root: Path | None = None,
) -> Replayed:
    """Trains the cell on the clean and on the poisoned set, with all test examples, and compares.

    Raises DataError for a file that is no kept attack, and where the data are not what they were;
    UsageError for a defense that is gone; NotAllowed where the poisoning is no allowed one.
    """
    stored = read_npz(file)
    if stored is None or not all(name in stored.meta for name in _TOLD):
        raise DataError(f"{file} holds no attack; wanted a file that harness attack left")
    told = dict(stored.meta)
    data = load_dataset(registry, told["dataset"], data_root) if dataset is None else dataset
    if data.digest != told["digest"]:
        raise DataError(f"{file} was made for other data than {told['dataset']} is now")
    threat, alpha, example = Threat(told["threat"]), float(told["alpha"]), int(told["example"])
    (cell,) = make_plan(
        registry,
        [told["defense"]],
        data,
        threats=[threat],
        alpha=float(told.get("cell_alpha", alpha)),
        seed=int(told.get("cell_seed", told["seed"])),
        base=Base(int(told["seed"]), alpha),
        device=device.type,
    ).cells
    if cell.defense is None:
        raise UsageError(f"{told['defense']}: {cell.error}")
    victim = Victim(Inputs(Plan(data, cell.seed, (), alpha, (cell,)), device), registry, cell)
    poisoning = Poisoning.from_arrays(stored.arrays)
    size = poisoning.size(threat)
    poisoning.check(data, threat, size)
    tests = np.arange(data.n_test)
    clean, after = (
        pointwise(victim.certify(victim.evidence(one, tests), threat)) for one in (CLEAN, poisoning)
    )
    deterministic = victim.defense.guarantee(cell.alpha).kind == "deterministic"
    changed = turned(clean.predictions, after, deterministic=deterministic)
    before, now = (
        (int(one.predictions[example]), int(one.radii[example])) for one in (clean, after)
    )
    return Replayed(told, size, before, now, bool(changed[example]))
