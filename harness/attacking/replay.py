"""An attack that was kept, carried out again from its file of poisoned rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.attacking.again import dataset_of
from harness.attacking.joint import Joint
from harness.attacking.verdict import NOT_ITS_FAULT, pointwise, turned
from harness.attacking.victim import CLEAN, Victim
from harness.certificates import ABSTAIN
from harness.datasets.poisoning import Poisoning
from harness.errors import DataError, UsageError
from harness.results.cells import Plan
from harness.results.files import read_npz
from harness.running.containment import describe
from harness.running.plan import Base, make_plan
from harness.running.task import Inputs
from harness.threats import Threat

if TYPE_CHECKING:
    import torch

    from harness.datasets.base import Dataset
    from harness.plugins.registry import Registry

_TOLD = ("defense", "dataset", "digest", "seed", "alpha", "threat", "attack")


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
    failure: str = ""
    """What the defense fails with on the poisoned set, where it does."""

    @property
    def refuted(self) -> bool:
        """Whether it succeeds with a size that is certified on the clean set."""
        return self.turned and self.size <= self.before[1]


@dataclass(frozen=True)
class JointReplayed:
    """What is left of the accuracy on the whole test set, when it is trained on the poisoned set.

    ``clean``: the accuracy on the clean set; ``size``: what the attack costs under the threat;
    ``certified``: what is proved of an attack of that size; ``left``: what is left; ``refuted``:
    whether that is less, beyond chance; ``told``: what the file says of itself.
    """

    told: dict[str, Any]
    size: int
    clean: float
    certified: float
    left: float
    refuted: bool


def replay(
    file: Path,
    registry: Registry,
    device: torch.device,
    *,
    dataset: Dataset | None = None,
    data_root: Path | None = None,
) -> Replayed | JointReplayed:
    """Trains the cell on the clean and on the poisoned set, and compares.

    With all test examples, as in the run; a probabilistic certificate shares its alpha out among
    them, and so the poisoned side of one is asked for this example alone, as when it was attacked.
    Raises DataError for a file that is no kept attack, and where the data are not what they were;
    UsageError for a defense that is gone; NotAllowed where the poisoning is no allowed one.
    """
    stored = read_npz(file)
    if stored is None or not all(name in stored.meta for name in _TOLD):
        raise DataError(f"{file} holds no attack; wanted a file that harness attack left")
    told = dict(stored.meta)
    if not {"example", "r"} & told.keys():
        raise DataError(f"{file} holds no attack; wanted a file that harness attack left")
    try:
        threat, alpha, seed = Threat(told["threat"]), float(told["alpha"]), int(told["seed"])
        cell_alpha = float(told.get("cell_alpha", alpha))
        cell_seed = int(told.get("cell_seed", seed))
        example = int(told["example"]) if "example" in told else None
    except (TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}") from None
    data = dataset_of(str(told["dataset"]), registry, dataset, data_root)
    if data.digest != told["digest"]:
        raise DataError(f"{file} was made for other data than {told['dataset']} is now")
    if example is not None and not 0 <= example < data.n_test:
        raise DataError(f"{file} is damaged: there is no test example {example}")
    (cell,) = make_plan(
        registry,
        [told["defense"]],
        data,
        threats=[threat],
        alpha=cell_alpha,
        seed=cell_seed,
        base=Base(seed, alpha),
        device=device.type,
    ).cells
    if cell.defense is None:
        raise UsageError(f"{told['defense']}: {cell.error}")
    victim = Victim(Inputs(Plan(data, cell.seed, (), alpha, (cell,)), device), registry, cell)
    poisoning = Poisoning.from_arrays(stored.arrays)
    poisoning.check(data, threat, poisoning.size(threat))
    if example is None:
        return _together(victim, threat, poisoning, told)
    return _one(victim, threat, poisoning, example, told)


def _one(
    victim: Victim, threat: Threat, poisoning: Poisoning, example: int, told: dict[str, Any]
) -> Replayed:
    size = poisoning.size(threat)
    everybody, alone = np.arange(victim.data.n_test), np.array([example])
    deterministic = victim.defense.guarantee(victim.cell.alpha).kind == "deterministic"
    clean = pointwise(victim.certify(victim.evidence(CLEAN, everybody), threat))
    before = int(clean.predictions[example]), int(clean.radii[example])
    tests, place = (everybody, example) if deterministic else (alone, 0)
    try:
        after = pointwise(victim.certify(victim.evidence(poisoning, tests), threat))
    except NOT_ITS_FAULT:
        raise
    except (Exception, SystemExit) as error:  # of a plugin: it has no prediction
        return Replayed(
            told, size, before, (ABSTAIN, ABSTAIN), turned=True, failure=describe(error)
        )
    changed = turned(np.full(len(tests), before[0]), after, deterministic=deterministic)
    now = int(after.predictions[place]), int(after.radii[place])
    return Replayed(told, size, before, now, bool(changed[place]))


def _together(
    victim: Victim, threat: Threat, poisoning: Poisoning, told: dict[str, Any]
) -> JointReplayed:
    size = poisoning.size(threat)
    joint = Joint(victim, threat, {})
    proved = joint.certificate.certified_accuracy(joint.labels, np.array([size]))
    certified, left = float(proved[0]), joint.left(poisoning)[0]
    refuted = left < certified and joint.refutes(poisoning, size)
    return JointReplayed(told, size, joint.clean_accuracy, certified, left, refuted)
