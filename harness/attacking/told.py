"""What attacks on a run found, as Python users hold it and as the command line says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.attacking.verdict import REPEATS, chance
from harness.results.attacks import (
    JOINT_COLUMNS,
    Attacked,
    JointAttacked,
    read_attacks,
    read_joint_attacks,
)
from harness.results.frames import attacks_frame

if TYPE_CHECKING:
    import pandas as pd

    from harness.results.reader import RunResult


@dataclass(frozen=True, eq=False)
class Attacks:
    """What attacks on the run in ``folder`` reached: see :mod:`harness.results.attacks`.

    ``failures``: by the label of a cell that could not be attacked, why; ``notes``: what else is to
    be known, such as a budget that was used up.
    """

    folder: Path
    rows: Sequence[Attacked]
    joint: Sequence[JointAttacked]
    notes: Sequence[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, folder: Path, notes: Iterable[str] = (), failures: Mapping[str, str] | None = None
    ) -> Attacks:
        """What the folder holds. Raises RunFolderError."""
        rows, joint = read_attacks(folder), read_joint_attacks(folder)
        return cls(folder, tuple(rows), tuple(joint), tuple(notes), dict(failures or {}))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each attack and test example, columns as in ``attacks.csv``; ``reached`` and
        ``proof_gap`` are missing where no attack succeeded up to ``largest``.
        """
        return attacks_frame(self.rows)

    @property
    def joint_table(self) -> pd.DataFrame:
        """A row for each attack on all test examples at once, as in ``attacks-joint.csv``."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.joint], columns=list(JOINT_COLUMNS))

    @property
    def refuted(self) -> list[Attacked | JointAttacked]:
        """The attacks of a size that was proved impossible, and that succeeded all the same."""
        rows: list[Attacked | JointAttacked] = [*self.rows, *self.joint]
        return [row for row in rows if row.refuted]

    def __repr__(self) -> str:
        state = f"{len(self.refuted)} refuted" if self.refuted else "nothing refuted"
        return f"<Attacks on {self.folder}: {len(self.rows) + len(self.joint)}, {state}>"


def said_of(row: Attacked | JointAttacked, result: RunResult) -> str:
    """One line about an attack that refutes a certificate."""
    if isinstance(row, JointAttacked):
        text = (
            f"REFUTED: {row.defense}, {row.threat}: {row.certified_accuracy:.4f} is proved at "
            f"r = {row.r:,}, and {row.attack} leaves {row.reached:.4f}"
        )
    else:
        text = (
            f"REFUTED: {row.defense}, {row.threat}, test example {row.example}: proved "
            f"{row.proved:,}, and {row.attack} turns it with {row.reached:,}"
        )
    alpha = _alpha(row.defense, row.threat, result)
    if alpha:
        accident = 2 * alpha if isinstance(row, JointAttacked) else chance(alpha)
        text += f" (also with {REPEATS} other seeds; by accident with probability {accident:.2g})"
    if row.poisoning:
        text += f"; again: harness attack --replay {result.folder / row.poisoning}"
    return text


def _alpha(defense: str, threat: str, result: RunResult) -> float:
    """The alpha of a probabilistic certificate; 0 for another one."""
    table = result.summary
    rows = table[(table["defense"] == defense) & (table["threat"] == threat)]
    probabilistic = any("probabilistic" in str(text) for text in rows["guarantee"])
    cells = [cell for cell in result.cells if cell["label"] == defense]
    return float(cells[0]["alpha"]) if probabilistic and cells else 0.0
