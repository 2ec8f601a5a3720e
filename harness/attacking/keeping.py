"""What attacks leave in the run's folder, kept as soon as it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.results.attacks import (
    POISONINGS,
    SAMPLED,
    WEAKEST,
    Attacked,
    read_attacks,
    write_attacks,
)
from harness.results.files import npz_bytes

if TYPE_CHECKING:
    from harness.attacking.again import Again
    from harness.attacking.assault import Attempt, Order, Outcome
    from harness.results.cells import Cell
    from harness.results.folder import RunFolder
    from harness.results.pointwise import Pointwise

CELLS = f"{POISONINGS}/cells.json"
"""Which evidence each attacked cell had, by its label."""
_EVERY_S = 2.0
"""Seconds between two writings of the table."""


class Kept:
    """The rows of ``attacks.csv``, those of earlier attacks that still hold included.

    A row holds as long as the run proves of its test example what it proved then, and its cell is
    trained by the code that was attacked.
    """

    def __init__(
        self, folder: RunFolder, again: Again, found: Mapping[tuple[str, str], Pointwise]
    ) -> None:
        self._folder, self._again = folder, again
        self._certificates = {
            (str(row["defense"]), str(row["threat"])): str(row["certificate"])
            for _, row in again.result.summary.iterrows()
        }
        before = _read_stems(folder.path / CELLS)
        now = {cell.label: cell.stem for cell in again.cells}
        edited = {label for label, stem in now.items() if before.get(label) != stem}
        self._stems = before | now
        self._rows: dict[tuple[str, str, int, str], Attacked] = {
            _key(row): row
            for row in read_attacks(folder.path)
            if (row.defense, row.threat) in found
            and row.defense not in edited
            and row.example < len(found[row.defense, row.threat].radii)
            and row.proved == found[row.defense, row.threat].radii[row.example]
        }
        self._written = time.monotonic()

    @property
    def rows(self) -> list[Attacked]:
        """All rows, in the order of the run's cells."""
        labels = [cell["label"] for cell in self._again.result.cells]
        threats = self._again.result.threats
        return sorted(
            self._rows.values(),
            key=lambda row: (labels.index(row.defense), threats.index(row.threat)),
        )

    def missing(self, cell: Cell, orders: Sequence[Order]) -> list[Order]:
        """What was not carried out yet: of each order the attacks that are missing, and what the
        others need.
        """
        return [left for order in orders if (left := self._missing(cell, order)).attacks]

    def _missing(self, cell: Cell, order: Order) -> Order:
        known = {
            name: self._rows.get((cell.label, order.threat.value, order.example, name))
            for name in order.attacks
        }
        # A success that lies in no file any more, or is of other code, is none.
        done = {
            name: row
            for name, row in known.items()
            if row is not None and (row.reached is None or self._is_there(cell, row))
        }
        reached = [row.reached for row in done.values() if row.reached is not None]
        left = tuple(name for name in order.attacks if name not in done)
        return replace(order, attacks=left, below=min(reached, default=None))

    def _is_there(self, cell: Cell, row: Attacked) -> bool:
        path = self._folder.path / row.poisoning
        return row.poisoning.startswith(f"{POISONINGS}/{cell.stem}-") and path.is_file()

    def add(self, cell: Cell, outcome: Outcome) -> None:
        """Keeps what came of an order; of one for which time ran out, what succeeded."""
        for attempt in outcome.attempts:
            if attempt.error or (outcome.ended and attempt.reached is None):
                continue
            row = self._row(cell, outcome, attempt)
            self._rows[_key(row)] = row
        if time.monotonic() - self._written > _EVERY_S or outcome.refuted is not None:
            self.flush()

    def flush(self) -> None:
        """Writes the table."""
        labels = {row.defense for row in self.rows}
        stems = {label: stem for label, stem in self._stems.items() if label in labels}
        if stems:
            self._folder.write(CELLS, json.dumps(stems, indent=1) + "\n")
        write_attacks(self._folder, self.rows)
        self._written = time.monotonic()

    def _row(self, cell: Cell, outcome: Outcome, attempt: Attempt) -> Attacked:
        order, file = outcome.order, ""
        if attempt.poisoning is not None:
            file = f"{POISONINGS}/{cell.stem}-{order.threat}-{order.example}-{attempt.attack}.npz"
            meta = told(cell, order, attempt, self._again)
            self._folder.write(file, npz_bytes(attempt.poisoning.arrays(), meta))
        return Attacked(
            cell.label,
            self._certificates[cell.label, order.threat.value],
            order.threat.value,
            attempt.attack,
            order.example,
            WEAKEST if order.weakest else SAMPLED,
            order.proved,
            attempt.reached,
            attempt.largest,
            attempt.trainings,
            round(attempt.seconds, 4),
            file,
        )


def told(cell: Cell, order: Order, attempt: Attempt, again: Again) -> dict[str, Any]:
    """What a file of poisoned rows says of itself: enough to carry the attack out again."""
    manifest = again.result.manifest
    return {
        "defense": cell.label,
        "dataset": again.data.name,
        "digest": again.data.digest,
        "seed": int(manifest["seed"]),
        "alpha": float(manifest["alpha"]),
        "cell_seed": cell.seed,
        "cell_alpha": cell.alpha,
        "threat": order.threat.value,
        "example": order.example,
        "predicted": order.predicted,
        "proved": order.proved,
        "attack": attempt.attack,
        "reached": attempt.reached,
    }


def _key(row: Attacked) -> tuple[str, str, int, str]:
    return row.defense, row.threat, row.example, row.attack


def _read_stems(path: Path) -> dict[str, str]:
    """What ``cells.json`` says; nothing where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
