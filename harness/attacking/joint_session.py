"""Attacking a run's cells that are about the whole test set, and keeping what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.attacking.joint import Joint, Shape, Tried
from harness.certificates import Kind
from harness.errors import HarnessError
from harness.results.attacks import (
    POISONINGS,
    JointAttacked,
    read_joint_attacks,
    write_joint_attacks,
)
from harness.results.files import npz_bytes
from harness.results.reader import accuracy_at
from harness.running.containment import CellLog, contained

if TYPE_CHECKING:
    import pandas as pd

    from harness.attacking.again import Again
    from harness.attacking.cluster import There
    from harness.attacking.victim import Victim
    from harness.attacks.base import Attack
    from harness.results.cells import Cell
    from harness.results.folder import RunFolder
    from harness.running.task import Progress
    from harness.threats import Threat

_FALLEN = (0.9, 0.75, 0.5, 0.25)
"""Fractions of the clean accuracy: the last r at which that much is proved is attacked."""
_BEYOND = (1, 2, 4, 8)
"""And these multiples of the first r at which nothing is proved."""
_AFTER_FIRST = 3
"""Layouts that are tried at each r after the first: those that left least at the one before it."""
_SAME = 1e-9


def sizes(curve: pd.DataFrame, clean: float, most: int) -> list[int]:
    """The r at which a cell is attacked, rising, from 1 to ``most``; ``curve``: what is proved."""
    proved = [r for r in range(1, 1 + int(curve["r"].max())) if accuracy_at(curve, r) > 0]
    first = len(proved) + 1
    rs = {first * k for k in _BEYOND}
    values = [accuracy_at(curve, r) for r in proved]
    for part in _FALLEN:
        rs.add(sum(value >= part * clean for value in values))
    rs.add(len(proved))
    return sorted(r for r in rs if 1 <= r <= most)


@dataclass(frozen=True)
class Limits:
    """``attacks``: by name, ``wanted`` those of them that are tried, all where empty; ``seconds``:
    what each cell and threat may take.
    """

    attacks: Mapping[str, Attack]
    wanted: tuple[str, ...]
    seconds: float


@dataclass
class JointSiege:
    """The joint attacks on one run, each cell under one threat after another.

    ``note``: told what the user should know. Rows that are there hold as long as the run proves at
    their r what it proved then.
    """

    again: Again
    folder: RunFolder
    limits: Limits
    progress: Progress
    note: Callable[[str], None]
    there: There | None = None
    """The workers that try layouts, if a cluster does."""
    _said: set[str] = field(default_factory=set)
    _rows: dict[tuple[str, str, int], JointAttacked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = self.again.result.summary
        self._told = {
            (str(row["defense"]), str(row["threat"])): row
            for _, row in told.iterrows()
            if row["kind"] in (Kind.COLLECTIVE.value, Kind.EXPECTED_ACCURACY.value)
        }
        stems = {cell.label: cell.stem for cell in self.again.cells}
        for row in read_joint_attacks(self.folder.path):
            of = row.defense, row.threat
            name = f"{POISONINGS}/{stems.get(row.defense, '')}"
            kept = row.poisoning.startswith(name) and (self.folder.path / row.poisoning).is_file()
            if of in self._told and kept:  # else it is of other code, or lies nowhere any more
                proved = accuracy_at(self._curve(*of), row.r)
                if abs(proved - row.certified_accuracy) < _SAME:
                    self._rows[*of, row.r] = row

    def cell(
        self, victim: Victim, threats: Sequence[Threat], failures: MutableMapping[str, str]
    ) -> None:
        """Attacks what has not been attacked yet. Why a cell fails on clean data is told in
        ``failures``, by its label.
        """
        cell = victim.cell
        for threat in threats:
            if (cell.label, threat.value) not in self._told:
                continue
            told = self._told[cell.label, threat.value]
            curve = self._curve(cell.label, threat.value)
            clean = float(told["clean_accuracy"])
            rs = sizes(curve, clean, victim.data.domain.n_public)
            kept = [r for r in rs if (cell.label, threat.value, r) in self._rows]
            name, start = f"{cell.label}, {threat}: all at once", time.perf_counter()
            self.progress.start(name, len(rs), len(kept))
            error = None
            try:
                if len(kept) < len(rs):
                    self._threat(victim, threat, rs, clean)
            except HarnessError:
                raise
            except Exception as failed:  # of a plugin: the other cells go on
                error = " ".join(f"{type(failed).__name__}: {failed}".split())
                failures[cell.label] = error
            self.progress.finish(name, time.perf_counter() - start, error)

    def flush(self) -> None:
        """Writes the table."""
        labels = [cell["label"] for cell in self.again.result.cells]
        threats = self.again.result.threats
        write_joint_attacks(
            self.folder,
            sorted(
                self._rows.values(),
                key=lambda row: (labels.index(row.defense), threats.index(row.threat), row.r),
            ),
        )

    def _curve(self, label: str, threat: str) -> pd.DataFrame:
        table = self.again.result.curves
        return table[(table["defense"] == label) & (table["threat"] == threat)]

    def _threat(self, victim: Victim, threat: Threat, rs: Sequence[int], clean: float) -> None:
        ends = time.monotonic() + self.limits.seconds
        label = victim.cell.label
        with contained(CellLog()):
            joint = Joint(victim, threat, self.limits.attacks, self.limits.wanted)
            now = joint.clean_accuracy
        if abs(now - clean) > _SAME:
            self.note(
                f"{label}, {threat}: trained again on the clean set, its accuracy is {now:.4f} and "
                f"was {clean:.4f}; nothing is said of it"
            )
            return
        shapes: list[Shape] = joint.shapes()
        # What harms most shows at the largest; then what is proved is tried before what is not.
        for done, r in enumerate([rs[-1], *rs[:-1]]):
            if (label, threat.value, r) not in self._rows:
                left = ends - time.monotonic()
                if left <= 0:
                    self.note(
                        f"{label}, {threat}: {self.limits.seconds:g} s are over; "
                        f"{done} of {len(rs)} sizes"
                    )
                    break
                share = 1 / 3 if len(shapes) > _AFTER_FIRST else 1 / (len(rs) - done)
                tried = self._tried(joint, shapes, r, share * left)
                if not tried:
                    continue
                shapes = [one.shape for one in tried][:_AFTER_FIRST]
                self._keep(joint, r, tried)
                self.progress.advance(1)

    def _tried(self, joint: Joint, shapes: Sequence[Shape], r: int, seconds: float) -> list[Tried]:
        """What each layout leaves, the least first; at least one is tried, whatever the time."""
        cell, there = joint.victim.cell, self.there
        if there is None:
            found = _here(joint, shapes, r, seconds)
        else:
            found = there.carry_out_joint(
                cell, joint.threat, self.limits.wanted, shapes, r, seconds
            )
        for one in found:
            text = one.error or (
                f"r = {r:,}: fails when poisoned: {one.failure}" * bool(one.failure)
            )
            text = f"{cell.label}, {joint.threat}: {text}" if text else ""
            if text and text not in self._said:
                self._said.add(text)
                self.note(text)
        done = [one for one in found if one.poisoning is not None]
        return sorted(done, key=lambda one: one.left)

    def _keep(self, joint: Joint, r: int, tried: Sequence[Tried]) -> None:
        """Keeps the row of r, of the layout that leaves least, unless that may be chance."""
        cell, threat, best = joint.victim.cell, joint.threat.value, tried[0]
        told = self._told[cell.label, threat]
        proved = accuracy_at(self._curve(cell.label, threat), r)
        assert best.poisoning is not None
        reached = best.left
        if reached < proved - _SAME and not joint.refutes(best.poisoning, r):
            self.note(
                f"{cell.label}, {threat}, r = {r:,}: {reached:.4f} is left and {proved:.4f} is "
                "proved, which may be chance; it is not kept"
            )
            return
        file = f"{POISONINGS}/{cell.stem}-{threat}-joint-{r}.npz"
        meta = self._meta(cell, threat, best, r) | {"certified": proved, "reached": reached}
        self.folder.write(file, npz_bytes(best.poisoning.arrays(), meta))
        row = JointAttacked(
            cell.label,
            str(told["certificate"]),
            threat,
            best.shape.attack,
            r,
            proved,
            reached,
            sum(one.trainings for one in tried),
            round(sum(one.seconds for one in tried), 4),
            file,
        )
        self._rows[cell.label, threat, r] = row
        self.flush()

    def _meta(self, cell: Cell, threat: str, best: Tried, r: int) -> dict[str, Any]:
        manifest = self.again.result.manifest
        return {
            "defense": cell.label,
            "dataset": self.again.data.name,
            "digest": self.again.data.digest,
            "seed": int(manifest["seed"]),
            "alpha": float(manifest["alpha"]),
            "cell_seed": cell.seed,
            "cell_alpha": cell.alpha,
            "threat": threat,
            "r": r,
            "attack": best.shape.attack,
        }


def _here(joint: Joint, shapes: Sequence[Shape], r: int, seconds: float) -> list[Tried]:
    """The layouts one after another, in this process."""
    ends, found = time.monotonic() + seconds, list[Tried]()
    with contained(CellLog()):
        for shape in shapes:
            begun = any(one.poisoning is not None for one in found)
            if begun and time.monotonic() > ends:
                break
            found.append(joint.carry_out(shape, r, ends if begun else float("inf")))
            if found[-1].ended:
                break
    return found
