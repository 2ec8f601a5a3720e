"""What attacks on a run found, as far as the run still proves what they were told it proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from harness.results.attacks import (
    ATTACKS,
    JOINT,
    Attacked,
    JointAttacked,
    read_attacks,
    read_joint_attacks,
)
from harness.results.pointwise import load_pointwise
from harness.results.published import KEY, is_published
from harness.results.reader import RunResult, accuracy_at

_DECIMALS = 10
"""As accuracies are stored."""

Row = TypeVar("Row", Attacked, JointAttacked)


@dataclass(frozen=True)
class Findings:
    """Attacks on single test examples, and those on all of them at once; neither: not attacked."""

    rows: tuple[Attacked, ...] = ()
    joint: tuple[JointAttacked, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows or self.joint)

    @property
    def refuted(self) -> list[Attacked | JointAttacked]:
        """The attacks that did what was proved impossible."""
        rows: list[Attacked | JointAttacked] = [*self.rows, *self.joint]
        return [row for row in rows if row.refuted]


def load_findings(result: RunResult) -> Findings:
    """What attacks on that run found, or on the runs that were put side by side in it.

    Left out is what was found when the run proved something else, for its cells were trained again
    since, and what a published report does not have under its seal. Raises RunFolderError for a
    table that is damaged.
    """
    result = result.by_seed
    found = [_of_one(part, apart=bool(result.parts)) for part in result.parts or (result,)]
    rows = tuple(row for one in found for row in one.rows)
    joint = tuple(row for one in found for row in one.joint)
    return Findings(rows, joint)


def _of_one(run: RunResult, *, apart: bool) -> Findings:
    """The findings of one run; ``apart``: one of several, which may have given it new labels."""
    called = {
        _first_called(cell) if apart else str(cell["label"]): str(cell["label"])
        for cell in run.cells
    }
    points = load_pointwise(run)
    curves = {
        (str(defense), str(certificate), str(threat)): curve
        for (defense, certificate, threat), curve in run.curves.groupby(
            ["defense", "certificate", "threat"], sort=False
        )
    }

    def stands(row: Attacked) -> bool:
        proved = points.get((row.defense, row.threat))
        if proved is None:
            return not points  # reports that keep nothing by example cannot tell
        return row.example < len(proved.radii) and proved.radii[row.example] == row.proved

    def stands_still(row: JointAttacked) -> bool:
        curve = curves.get((called.get(row.defense, ""), row.certificate, row.threat))
        if curve is None:
            return False
        return round(accuracy_at(curve, row.r) - row.certified_accuracy, _DECIMALS) == 0

    def told(name: str, read: Callable[[Path], list[Row]]) -> list[Row]:
        if is_published(run.manifest) and name not in run.manifest[KEY]["files"]:
            return []
        return [row for row in read(run.folder) if row.defense in called]

    rows = [row for row in told(ATTACKS, read_attacks) if stands(row)]
    joint = [row for row in told(JOINT, read_joint_attacks) if stands_still(row)]
    if not apart:
        return Findings(tuple(rows), tuple(joint))
    return Findings(_renamed(rows, called, run.folder), _renamed(joint, called, run.folder))


def _first_called(cell: Mapping[str, object]) -> str:
    """The label of a cell in its own run."""
    return str(cell["label"]).removeprefix(f"{cell['run']}/" if "run" in cell else "")


def _renamed(rows: Sequence[Row], called: Mapping[str, str], folder: Path) -> tuple[Row, ...]:
    """The rows with the labels that several runs have side by side, and with whole paths."""
    return tuple(
        replace(
            row,
            defense=called[row.defense],
            poisoning=str(folder / row.poisoning) if row.poisoning else "",
        )
        for row in rows
    )
