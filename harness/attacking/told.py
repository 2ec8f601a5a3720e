"""What attacks on a run found, as Python users hold it and as the command line says it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness.attacking.verdict import REPEATS, chance
from harness.results.attacks import (
    ATTACK_COLUMNS,
    JOINT_COLUMNS,
    SAMPLED,
    Attacked,
    JointAttacked,
    read_attacks,
    read_joint_attacks,
)

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
        import pandas as pd

        rows = [{name: getattr(row, name) for name in ATTACK_COLUMNS} for row in self.rows]
        table = pd.DataFrame(rows, columns=list(ATTACK_COLUMNS))
        return table.astype({"reached": "Int64", "proof_gap": "Int64"})

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
    if row.poisoning and isinstance(row, Attacked):
        text += f"; again: harness attack --replay {result.folder / row.poisoning}"
    return text


def lines(found: Attacks) -> list[str]:
    """What was reached, a line for each defense and threat: medians over the sampled examples.

    And what joint attacks left of the accuracy, a line for each r.
    """
    groups: dict[tuple[str, str], dict[int, list[Attacked]]] = {}
    for row in found.rows:
        if row.chosen == SAMPLED:
            groups.setdefault((row.defense, row.threat), {}).setdefault(row.example, []).append(row)
    table = [["defense", "threat", "examples", "proved", "reached", "ratio", "by"]]
    for (defense, threat), examples in groups.items():
        best = {i: min(_reached(row) for row in rows) for i, rows in examples.items()}
        proved = {i: rows[0].proved for i, rows in examples.items()}
        ratio = median(best[i] / max(1, proved[i]) for i in examples)
        names = Counter(min(rows, key=_reached).attack for rows in examples.values())
        reached = median(best.values())
        table.append(
            [
                defense,
                threat,
                f"{len(examples)}",
                f"{median(proved.values()):,.0f}",
                f"{reached:,.0f}" if reached < math.inf else "-",
                f"{ratio:.2f}" if reached < math.inf else "-",
                names.most_common(1)[0][0] if reached < math.inf else "",
            ]
        )
    joint = [["defense", "threat", "at once: r", "proved", "left", "by"]]
    for one in found.joint:
        numbers = f"{one.r:,}", f"{one.certified_accuracy:.4f}", f"{one.reached:.4f}"
        joint.append([one.defense, one.threat, *numbers, one.attack])
    both = [_aligned(some, {0, 1, len(some[0]) - 1}) for some in (table, joint) if len(some) > 1]
    return [*both[0], "", *both[1]] if len(both) == 2 else [line for some in both for line in some]


def _aligned(table: list[list[str]], left: set[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _reached(row: Attacked) -> float:
    return math.inf if row.reached is None else row.reached


def _alpha(defense: str, threat: str, result: RunResult) -> float:
    """The alpha of a probabilistic certificate; 0 for another one."""
    table = result.summary
    rows = table[(table["defense"] == defense) & (table["threat"] == threat)]
    probabilistic = any("probabilistic" in str(text) for text in rows["guarantee"])
    cells = [cell for cell in result.cells if cell["label"] == defense]
    return float(cells[0]["alpha"]) if probabilistic and cells else 0.0
