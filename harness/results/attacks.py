"""What attacks on a run reached: ``attacks.csv`` and ``attacks-joint.csv`` in its folder.

A certificate proves what no attack can do; ``reached`` is what one did that was carried out.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import RunFolderError

if TYPE_CHECKING:
    from harness.results.folder import RunFolder

ATTACKS = "attacks.csv"
JOINT = "attacks-joint.csv"
POISONINGS = "attacks"
"""The folder of poisoned rows, an ``.npz`` file for each success."""

SAMPLED = "sampled"
"""Test examples that were drawn at random: medians and curves are theirs."""
WEAKEST = "weakest"
"""Those with the smallest radii, attacked to find certificates that do not hold."""

_DECIMALS = 10
"""As accuracies are stored: what differs in later digits alone is equal."""


@dataclass(frozen=True)
class Attacked:
    """What one attack reached against one test example: a row of ``attacks.csv``.

    ``proved``: its radius under the threat; ``reached``: the smallest size of an attack that was
    carried out and changed the prediction, None where none did up to ``largest``, the largest size
    that was tried. ``proof_gap``: reached less proved. ``chosen``: SAMPLED or WEAKEST. ``seconds``
    and ``trainings``: what it took. ``poisoning``: where the poisoned rows are, below the folder.
    """

    defense: str
    certificate: str
    threat: str
    attack: str
    example: int
    chosen: str
    proved: int
    reached: int | None
    largest: int
    trainings: int
    seconds: float
    poisoning: str = ""

    @property
    def proof_gap(self) -> int | None:
        """How much more the attack took than is proved; None where it did not succeed."""
        return None if self.reached is None else self.reached - self.proved

    @property
    def refuted(self) -> bool:
        """Whether an attack of a size that was proved impossible succeeded."""
        return self.reached is not None and self.reached <= self.proved


@dataclass(frozen=True)
class JointAttacked:
    """What one poisoned training set did to all test examples: a row of ``attacks-joint.csv``.

    ``certified_accuracy`` and ``reached``, both in [0, 1]: what is proved at r, and what was left
    of the accuracy by the attack of that size.
    """

    defense: str
    certificate: str
    threat: str
    attack: str
    r: int
    certified_accuracy: float
    reached: float
    trainings: int
    seconds: float
    poisoning: str = ""

    @property
    def refuted(self) -> bool:
        """Whether less accuracy is left than was proved."""
        return round(self.reached, _DECIMALS) < round(self.certified_accuracy, _DECIMALS)


ATTACK_COLUMNS: tuple[str, ...] = (
    *("defense", "certificate", "threat", "attack", "example", "chosen", "proved"),
    *("reached", "largest", "proof_gap", "trainings", "seconds", "poisoning"),
)
JOINT_COLUMNS = tuple(field.name for field in fields(JointAttacked))

Row = TypeVar("Row", Attacked, JointAttacked)


def write_attacks(folder: RunFolder, rows: Sequence[Attacked]) -> None:
    """Writes ``attacks.csv``, or removes it where there are no rows."""
    if rows:
        folder.write(ATTACKS, attacks_csv(rows))
    else:
        folder.remove(ATTACKS)


def write_joint_attacks(folder: RunFolder, rows: Sequence[JointAttacked]) -> None:
    """Writes ``attacks-joint.csv``, or removes it where there are no rows."""
    if rows:
        folder.write(JOINT, joint_attacks_csv(rows))
    else:
        folder.remove(JOINT)


def read_attacks(folder: Path) -> list[Attacked]:
    """The rows of ``attacks.csv`` in that folder; none where it was not attacked.

    Raises RunFolderError, in one line that names the file, for one that is damaged.
    """
    return _read(folder / ATTACKS, ATTACK_COLUMNS, Attacked)


def read_joint_attacks(folder: Path) -> list[JointAttacked]:
    """The rows of ``attacks-joint.csv``, in the same way."""
    return _read(folder / JOINT, JOINT_COLUMNS, JointAttacked)


def attacks_csv(rows: Iterable[Attacked]) -> str:
    """``attacks.csv`` with those rows."""
    return _csv(ATTACK_COLUMNS, rows)


def joint_attacks_csv(rows: Iterable[JointAttacked]) -> str:
    """``attacks-joint.csv`` with those rows."""
    return _csv(JOINT_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Iterable[Attacked | JointAttacked]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_text(getattr(row, column)) for column in columns] for row in rows])
    return buffer.getvalue()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")
    return str(value)


def _read(path: Path, columns: Sequence[str], kind: type[Row]) -> list[Row]:
    if not path.exists():
        return []
    types = {field.name: str(field.type) for field in fields(kind)}
    found = []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (rows.fieldnames or ())]
            if missing:
                raise RunFolderError(f"{path} lacks the columns {', '.join(missing)}")
            for line, row in enumerate(rows, 2):
                try:
                    found.append(_row(row, types, kind))
                except ValueError as error:
                    raise ValueError(f"line {line}: {error}") from None
    except (OSError, ValueError, csv.Error) as error:
        text = " ".join(str(error).split())
        raise RunFolderError(
            f"{path} cannot be read: {text}; remove it and attack the run again"
        ) from None
    return found


def _row(row: Mapping[str, str], types: Mapping[str, str], kind: type[Row]) -> Row:
    """What stands in one line of a table. Raises ValueError."""
    if None in row or None in row.values():
        raise ValueError("it has more or fewer values than there are columns")
    found = kind(**{name: _value(name, row[name], types[name]) for name in types})
    # What is told twice must agree, and what is no such number was not written here.
    for name, text in row.items():
        if name == "proof_gap" and text != _text(getattr(found, name)):
            raise ValueError(f"proof_gap is {text!r}, and reached less proved is not")
        if name == "chosen" and text not in (SAMPLED, WEAKEST):
            raise ValueError(f"chosen is {text!r}, neither {SAMPLED} nor {WEAKEST}")
    return found


def _value(name: str, text: str, kind: str) -> Any:
    if kind == "str":
        return text
    if kind == "int | None" and not text:
        return None
    try:
        value = float(text) if kind == "float" else int(text)
    except ValueError:
        value = math.nan
    least = -1 if name == "proved" else 0
    most = 1 if kind == "float" and name != "seconds" else math.inf
    if not least <= value <= most:
        raise ValueError(f"{name} is {text!r}")
    return value
