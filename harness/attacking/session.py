"""Attacking a finished run: which examples, in which order, what is kept and what is said."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.attacking.assault import Assault, Order, Outcome, attacks_on, made_attacks
from harness.attacking.choose import WEAK, sampled, weakest
from harness.attacking.joint_session import JointSiege, Limits
from harness.attacking.keeping import Kept
from harness.attacking.verdict import pointwise
from harness.attacking.victim import CLEAN, Victim
from harness.attacks.names import ADAPTIVE, OWN
from harness.errors import ClusterError, NoSpaceError, RunFolderError, UsageError, unknown
from harness.results.folder import open_run
from harness.results.pointwise import Pointwise, load_pointwise
from harness.running.cluster.connecting import NOWHERE, Where, connected, supplied
from harness.running.containment import CellLog, contained, describe
from harness.running.task import Inputs

if TYPE_CHECKING:
    import torch

    from harness.attacking.again import Again
    from harness.attacking.cluster import There
    from harness.plugins.registry import Registry
    from harness.results.cells import Cell
    from harness.running.task import Progress
    from harness.threats import Threat

EXAMPLES = 100
"""Test examples of each cell that are attacked unless said."""
BUDGET = 60.0
"""Seconds for each cell and threat unless said."""
BESIDE = 30
"""Test examples that the adaptive attack looks at beside those that it is meant for."""
_PROBE = 1 / 2
"""Of the budget, what the adaptive attack may take."""


@dataclass(frozen=True)
class Wishes:
    """What is to be attacked and how much of it.

    ``examples``: so many test examples, None for all; ``threats``, ``attacks``, ``cells``: only
    those, all where empty; ``seconds``: what each cell and threat may take; ``seed``: of the choice
    of test examples.
    """

    examples: int | None = EXAMPLES
    threats: tuple[Threat, ...] = ()
    attacks: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    seconds: float = BUDGET
    seed: int = 0

    def check(self, registry: Registry) -> None:
        """Raises UsageError for what is not allowed."""
        n, seconds, seed = self.examples, self.seconds, self.seed
        if n is not None and not (_is(int, n) and n >= 1):
            raise UsageError(f"examples={n!r} is not allowed; wanted 1 or more, or all")
        if not (_is((int, float), seconds) and seconds > 0):
            raise UsageError(f"budget={seconds!r} is not allowed; wanted seconds above 0")
        if not (_is(int, seed) and seed >= 0):
            raise UsageError(f"seed={seed!r} is not allowed; wanted 0 or more")
        known = [OWN, *registry.attacks.entries, ADAPTIVE]
        for name in self.attacks:
            if name not in known:
                raise unknown("attack", name, known)


def _is(kind: Any, value: object) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass
class Siege:
    """The attack on one run: its cells, one after another, each under its threats."""

    again: Again
    registry: Registry
    device: torch.device
    wishes: Wishes
    progress: Progress
    store: Path | None = None
    where: Where = NOWHERE
    """The cluster that attacks, if one does."""
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """By the label of a cell that could not be attacked, why."""

    def __post_init__(self) -> None:
        there = self.again.threats
        for threat in self.wishes.threats:
            if threat not in there:
                known = ", ".join(map(str, there))
                raise UsageError(f"the run proves nothing under {threat}; allowed: {known}")
        self._attacks, broken = made_attacks(self.registry)
        for name, why in broken.items():
            if not self.wishes.attacks or name in self.wishes.attacks:
                self.note(f"attack {name} cannot be made: {why}")

    def carry_out(self) -> None:
        """Attacks what has not been attacked yet, and keeps each result as soon as it is there."""
        if not self.where:
            self._carry_out(None)
            return
        from harness.attacking.cluster import There
        from harness.running.cluster.on_worker import Supply

        plan = self.again.plan
        with connected(self.where, self.progress.note) as (client, threads):
            local = self.where.workers is not None
            bare = replace(plan, cells=())
            supply = Supply(bare, self.device.type, threads, local=local, store=self.store)
            with supplied(client, supply, plan):
                self._carry_out(There(client, supply))

    def _carry_out(self, there: There | None) -> None:
        manifest, folder = self.again.result.manifest, self.again.result.folder
        found = load_pointwise(self.again.result)
        with open_run(folder, manifest["plan"], fresh=False, widen=True) as opened:
            kept = Kept(opened, self.again, found)
            limits = Limits(self._attacks, self.wishes.attacks, self.wishes.seconds)
            joint = JointSiege(self.again, opened, limits, self.progress, self.note, there)
            inputs = Inputs(self.again.plan, self.device, self.store)
            self.failures |= self.again.refused
            for label, why in self.again.refused.items():
                self.progress.note(f"{label} is not attacked: {why}")
            try:
                for cell in self.again.cells:
                    self._cell(cell, inputs, found, kept, there)
                    joint.cell(Victim(inputs, self.registry, cell), self._threats(), self.failures)
            finally:
                kept.flush()

    def note(self, text: str) -> None:
        """Tells it now, and at the end."""
        self.notes.append(text)
        self.progress.note(text)

    def _cell(
        self,
        cell: Cell,
        inputs: Inputs,
        found: Mapping[tuple[str, str], Pointwise],
        kept: Kept,
        there: There | None,
    ) -> None:
        victim = Victim(inputs, self.registry, cell)
        threats = [t for t in self._threats() if (cell.label, t.value) in found]
        start, label = time.perf_counter(), cell.label
        if not threats:
            return
        wanted = {threat: self._wanted(found[label, threat.value]) for threat in threats}
        orders = {
            threat: list(self._orders(victim, threat, found[label, threat.value], wanted[threat]))
            for threat in threats
        }
        missing = {threat: kept.missing(cell, orders[threat]) for threat in threats}
        total = sum(map(len, orders.values()))
        self.progress.start(label, total, total - sum(map(len, missing.values())))
        error = None
        try:
            if any(missing.values()):
                first = threats[0]
                with contained(CellLog()):
                    rivals = self._rivals(victim, first, found[label, first.value], wanted)
                for threat in threats:
                    assault = Assault(victim, self._attacks)
                    self._threat(assault, missing[threat], rivals, kept, there)
        except (NoSpaceError, RunFolderError, ClusterError):
            raise
        except (Exception, SystemExit) as failed:  # of a plugin: the other cells go on
            error = self.failures[label] = describe(failed)
        self.progress.finish(label, time.perf_counter() - start, error)
        kept.flush()

    def _threats(self) -> list[Threat]:
        wanted = self.wishes.threats
        return [threat for threat in self.again.threats if not wanted or threat in wanted]

    def _wanted(self, found: Pointwise) -> dict[int, bool]:
        """The test examples to be attacked, in their order, and whether for their small radius."""
        some = sampled(found, self.wishes.examples, self.wishes.seed)
        weak = weakest(found, some) if self.wishes.examples is not None else some[:0]
        return {int(i): False for i in some} | {int(i): True for i in weak}

    def _orders(
        self, victim: Victim, threat: Threat, found: Pointwise, wanted: Mapping[int, bool]
    ) -> Iterator[Order]:
        attacks = attacks_on(victim, self._attacks, threat, self.wishes.attacks)
        others = tuple(name for name in attacks if name != ADAPTIVE)
        weakest_of_all = set()
        if not any(wanted.values()):  # all are attacked
            able = [i for i in wanted if found.radii[i] >= 1]
            weakest_of_all = set(sorted(able, key=lambda i: int(found.radii[i]))[:WEAK])
        for example, weak in wanted.items():
            label, radius = int(found.predictions[example]), int(found.radii[example])
            thorough = weak or example in weakest_of_all
            names = attacks if thorough else others
            yield Order(threat, example, label, radius, (), names, weak, thorough=thorough)

    def _rivals(
        self,
        victim: Victim,
        threat: Threat,
        found: Pointwise,
        wanted: Mapping[Threat, Mapping[int, bool]],
    ) -> dict[int, tuple[int, ...]]:
        """For each test example its rivals; without those that are predicted otherwise now.

        The cell is trained on the clean set, with all of them at once.
        """
        tests = np.unique([i for of_threat in wanted.values() for i in of_threat])
        evidence = victim.evidence(CLEAN, tests)
        now = pointwise(victim.certify(evidence, threat)).predictions
        c, votes = victim.data.n_labels, evidence.get("votes")
        if votes is None or votes.shape != (len(tests), c):
            votes = np.zeros((len(tests), c))
            votes += np.bincount(victim.data.y_train, minlength=c)  # the most frequent label first
        ranked = np.argsort(-np.asarray(votes, dtype=np.float64), axis=1, kind="stable")
        same = now == found.predictions[tests]
        if not same.all():
            self.note(
                f"{victim.cell.label}: trained again on the clean set, it predicts otherwise for "
                f"{np.count_nonzero(~same)} of {len(tests)} test examples (the first: "
                f"{tests[~same][0]}); nothing is said of these"
            )
        return {
            int(i): tuple(int(label) for label in row if label != predicted)
            for i, row, predicted in zip(tests[same], ranked[same], now[same], strict=True)
        }

    def _threat(
        self,
        assault: Assault,
        orders: Sequence[Order],
        rivals: Mapping[int, tuple[int, ...]],
        kept: Kept,
        there: There | None,
    ) -> None:
        """One threat of one cell, as long as its budget lasts; what may refute it comes first."""
        orders = [replace(o, rivals=rivals[o.example]) for o in orders if o.example in rivals]
        if not orders:
            return
        cell, seconds = assault.victim.cell, self.wishes.seconds
        orders = sorted(orders, key=lambda order: not order.weakest)
        aimed = [order for order in orders if ADAPTIVE in order.attacks and order.proved >= 1]
        beside = [one for one in orders if one.proved >= 1 and one not in aimed][:BESIDE]
        probing = _PROBE * seconds
        if there is None:
            outcomes = _here(assault, aimed, beside, orders, seconds, probing)
        else:
            outcomes = there.carry_out(cell, aimed, beside, orders, seconds, probing)
        done: set[int] = set()
        for some in outcomes:
            for outcome in some:
                self._keep(cell, outcome, kept)
                adaptive = [one.attack for one in outcome.attempts] == [ADAPTIVE]
                if not adaptive and not outcome.ended:
                    done.add(outcome.order.example)
                    self.progress.advance(1)
        if len(done) < len(orders):
            of = f"{len(done)} of {len(orders)} test examples"
            self.note(f"{cell.label}, {orders[0].threat}: {seconds:g} s are over; {of}")

    def _keep(self, cell: Cell, outcome: Outcome, kept: Kept) -> None:
        order = outcome.order
        for attempt in outcome.attempts:
            text = ""
            if attempt.error:
                text = f"{cell.label}, {order.threat}: {attempt.error}"
            elif attempt.accident is not None:
                text = (
                    f"{cell.label}, {order.threat}, test example {order.example}: turned once by "
                )
                text += f"{attempt.attack} with {attempt.accident:,}, and not when it was repeated"
            if text and text not in self.notes:
                self.note(text)
        kept.add(cell, outcome)


def _here(
    assault: Assault,
    aimed: Sequence[Order],
    beside: Sequence[Order],
    orders: Sequence[Order],
    seconds: float,
    probing: float,
) -> Iterator[list[Outcome]]:
    """What comes of the attacks, carried out in this process one after another."""
    ends = time.monotonic() + seconds
    if aimed:
        with contained(CellLog()):
            found = assault.probe(aimed, beside, probing)
        yield found
    for order in orders:
        left = ends - time.monotonic()
        if left <= 0:
            return
        with contained(CellLog()):
            outcome = assault.carry_out(replace(order, seconds=left))
        yield [outcome]
