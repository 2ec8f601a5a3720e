"""All attacks on one test example of a cell under one threat: the smallest that succeeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.attacking.aim import Aim
from harness.attacking.probe import Probe, Success
from harness.attacking.search import Search, Tried
from harness.attacking.verdict import Confirmed, confirm
from harness.attacks.names import ADAPTIVE, OWN
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.attacking.victim import Victim
    from harness.attacks.base import Attack
    from harness.datasets.poisoning import Poisoning
    from harness.threats import Threat


@dataclass(frozen=True)
class Order:
    """What is to be attacked: a test example, and what the run says of it under the threat.

    ``predicted``: its label; ``proved``: its radius; ``rivals``: the other labels, the likeliest
    first. ``attacks``: by their names, in the order in which they are tried. ``weakest``: whether
    it was chosen for its small radius: then only attacks of a certified size are of interest.
    ``seconds``: what trainings may take together.
    """

    threat: Threat
    example: int
    predicted: int
    proved: int
    rivals: tuple[int, ...]
    attacks: tuple[str, ...]
    weakest: bool = False
    seconds: float = float("inf")


@dataclass(frozen=True)
class Attempt:
    """What one attack came to. ``reached``: the smallest size of a success, None without one;
    ``largest``: the largest that was tried; ``error``: why the attack could not be carried out.
    """

    attack: str
    reached: int | None
    largest: int
    trainings: int
    seconds: float
    poisoning: Poisoning | None = None
    error: str = ""
    failure: str = ""
    """What the defense failed with on the poisoned set, if that is how it was turned."""
    accident: int | None = None
    """The certified size of a success that could not be repeated, and so says nothing."""


@dataclass(frozen=True)
class Outcome:
    """What came of an order: an attempt for each attack, with 0 as ``largest`` where it had nothing
    to try.
    """

    order: Order
    attempts: tuple[Attempt, ...]
    ended: bool = False
    """Whether time ran out before all were tried."""
    refuted: Confirmed | None = None
    """Where an attack of a certified size succeeded: what became of it when it was repeated."""

    @property
    def best(self) -> Attempt | None:
        """The attempt with the smallest success."""
        found = [one for one in self.attempts if one.reached is not None]
        return min(found, key=lambda one: one.reached or 0, default=None)


@dataclass
class Assault:
    """Attacks the test examples of one cell, one after another."""

    victim: Victim
    attacks: Mapping[str, Attack]
    shared: dict[str, Any] = field(default_factory=dict)

    def carry_out(self, order: Order) -> Outcome:
        """The attempts against one test example; nothing of what goes wrong in an attack is raised,
        but for what ends the run.
        """
        deadline = time.monotonic() + order.seconds
        attempts: list[Attempt] = []
        below: int | None = None
        ended = False
        for name in order.attacks:
            if name == ADAPTIVE:
                continue
            if time.monotonic() > deadline:
                ended = True
                break
            one, out = self._attempt(order, name, below, deadline)
            ended |= out
            attempts.append(one)
            if one.reached is not None:
                below = one.reached
        return self.confirmed(Outcome(order, tuple(attempts), ended))

    def aim(self, order: Order, deadline: float) -> Aim:
        """The test example as attacks are given it."""
        return Aim(
            self.victim,
            order.threat,
            order.example,
            order.predicted,
            order.proved,
            order.rivals,
            self.shared,
            deadline,
        )

    def probe(
        self, orders: Sequence[Order], beside: Sequence[Order], seconds: float
    ) -> list[Outcome]:
        """What the adaptive attack comes to against those test examples, and those ``beside`` that
        it turned as well.
        """
        start, deadline = time.perf_counter(), time.monotonic() + seconds
        threat = (orders or beside)[0].threat
        probe = Probe(
            self.victim,
            threat,
            [self.aim(order, deadline) for order in orders],
            [self.aim(order, deadline) for order in beside],
            deadline,
        )
        found: dict[int, Success] = {}
        error = ""
        try:
            for one in probe.run():
                if one.example not in found or one.size < found[one.example].size:
                    found[one.example] = one
        except Exception as failed:  # of a plugin: the defense fails on a poisoned set
            error = " ".join(f"{type(failed).__name__}: {failed}".split())
            error = f"attack {ADAPTIVE}: {error}"
        took = time.perf_counter() - start
        outcomes = []
        for order in (*orders, *(one for one in beside if one.example in found)):
            success = found.get(order.example)
            attempt = Attempt(
                ADAPTIVE,
                success.size if success else None,
                max(probe.largest.get(order.example, 0), success.size if success else 0),
                probe.trainings,
                took,
                success.poisoning if success else None,
                "" if success else error,
            )
            outcomes.append(self.confirmed(Outcome(order, (attempt,))))
        return outcomes

    def confirmed(self, found: Outcome) -> Outcome:
        """The same, without successes of a certified size that cannot be repeated."""
        order, attempts, refuted = found.order, [], None
        for one in found.attempts:
            if one.reached is None or one.poisoning is None or one.reached > order.proved:
                attempts.append(one)
                continue
            repeated = confirm(
                self.victim, order.threat, one.poisoning, order.example, order.predicted
            )
            if repeated.holds:
                refuted = repeated
                attempts.append(one)
            else:
                attempts.append(replace(one, reached=None, poisoning=None, accident=one.reached))
        return Outcome(order, tuple(attempts), found.ended, refuted)

    def _attempt(
        self, order: Order, name: str, below: int | None, deadline: float
    ) -> tuple[Attempt, bool]:
        """What that attack comes to, and whether time ran out."""
        aim = self.aim(order, deadline)
        start, trained = time.perf_counter(), self.victim.trainings
        search = Search(lambda r: self._try(aim, name, r), noisy=not aim.deterministic)
        error, best = "", None
        try:
            most = order.proved if order.weakest else self.victim.data.domain.n_public
            best = search.run(order.proved, below, most)
        except HarnessError as refused:
            error = f"attack {name}: {refused}"
        except Exception as failed:  # of a plugin
            text = " ".join(f"{type(failed).__name__}: {failed}".split())
            error = f"attack {name} raises {text}"
        attempt = Attempt(
            name,
            best.size if best else None,
            search.largest,
            self.victim.trainings - trained,
            time.perf_counter() - start,
            best.poisoning if best else None,
            error,
            best.failure if best else "",
        )
        return attempt, search.ended

    def _try(self, aim: Aim, name: str, r: int) -> Tried | None:
        if name == OWN:
            poisoning = aim.defense.attack(aim, aim.threat, r)
        else:
            poisoning = self.attacks[name].poison(aim, aim.threat, r)
        if poisoning is None:
            return None
        poisoning.check(self.victim.data, aim.threat, r)
        size = poisoning.size(aim.threat)
        if size == 0:
            return None
        answer = aim.ask(poisoning)
        return Tried(answer.turned, size, poisoning, answer.failure)


def attacks_on(
    victim: Victim, attacks: Mapping[str, Attack], threat: Threat, wanted: Sequence[str] = ()
) -> tuple[str, ...]:
    """The names of the attacks that have something to try there, the defense's own first."""
    from harness.defense import Defense

    own = type(victim.defense).attack is not Defense.attack
    fitting = [name for name, one in attacks.items() if threat in one.threats]
    known = [*[OWN] * own, *fitting, ADAPTIVE]
    return tuple(name for name in known if not wanted or name in wanted)
