"""All attacks on one test example of a cell under one threat: the smallest that succeeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.attacking.aim import Aim
from harness.attacking.probe import Probe, Success
from harness.attacking.search import Search, Tried
from harness.attacking.verdict import NOT_ITS_FAULT, Confirmed, confirm
from harness.attacks.names import ADAPTIVE, OWN
from harness.datasets.poisoning import NotAllowed, Poisoning
from harness.running.containment import describe

if TYPE_CHECKING:
    from harness.attacking.victim import Victim
    from harness.attacks.base import Attack
    from harness.plugins.registry import Registry
    from harness.threats import Threat


VAIN = 5
"""On so many examples in a row an attack takes no less than others, before it is left out: the six
weakest examples are attacked by all."""


@dataclass(frozen=True)
class Order:
    """What is to be attacked: a test example, and what the run says of it under the threat.

    ``predicted``: its label; ``proved``: its radius; ``rivals``: the other labels, the likeliest
    first. ``attacks``: by their names, in the order in which they are tried. ``weakest``: whether
    it was chosen for its small radius: then only attacks of a certified size are of interest.
    ``below``: the size that attacks need which were carried out before; ``seconds``: what trainings
    may take together. ``thorough``: whether it is among the weakest, where every attack is tried at
    the certified size, whatever others reach.
    """

    threat: Threat
    example: int
    predicted: int
    proved: int
    rivals: tuple[int, ...]
    attacks: tuple[str, ...]
    weakest: bool = False
    below: int | None = None
    seconds: float = float("inf")
    thorough: bool = False

    def tight(self, below: int | None) -> bool:
        """Whether other attacks, once one took ``below``, could take less only by refuting: that is
        tried at the weakest examples.
        """
        return below == self.proved + 1 and not self.thorough


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
    to try, or no chance to take less than another one did.
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
    _ratios: dict[tuple[str, Threat], float] = field(default_factory=dict)
    """What an attack reached of the example before, over what was proved of it, or over 1."""
    _vain: dict[tuple[str, Threat], int] = field(default_factory=dict)
    """On how many examples in a row an attack took no less than others."""

    def carry_out(self, order: Order) -> Outcome:
        """The attempts against one test example; nothing of what goes wrong in an attack is raised,
        but for what ends the run.
        """
        deadline = time.monotonic() + order.seconds
        attempts: list[Attempt] = []
        below = order.below
        ended, refuted = False, None
        for name in order.attacks:
            if name == ADAPTIVE:
                continue
            if order.tight(below) or self._in_vain(order, name, below):
                attempts.append(Attempt(name, None, 0, 0, 0.0))
                continue
            if time.monotonic() > deadline:
                ended = True
                break
            one, out = self._attempt(order, name, None if order.thorough else below, deadline)
            ended |= out
            one, again = self._repeated(order, one)
            refuted = again or refuted
            attempts.append(one)
            if below is not None and not (order.thorough or one.error or out):
                key = name, order.threat
                self._vain[key] = 0 if one.reached is not None else self._vain.get(key, 0) + 1
            if one.reached is not None:
                below = one.reached
        return Outcome(order, tuple(attempts), ended, refuted)

    def _in_vain(self, order: Order, name: str, below: int | None) -> bool:
        """Whether that attack has taken no less than others so often that it is not tried again."""
        often = self._vain.get((name, order.threat), 0)
        return below is not None and not order.thorough and often >= VAIN

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
        except NOT_ITS_FAULT:
            raise
        except (Exception, SystemExit) as failed:  # of a plugin: it fails on a poisoned set
            error = f"attack {ADAPTIVE}: {describe(failed)}"
        took = time.perf_counter() - start
        if probe.trainings <= 1 and not error and time.monotonic() > deadline:
            return []  # time was over before anything was poisoned
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
            attempt, refuted = self._repeated(order, attempt)
            outcomes.append(Outcome(order, (attempt,), refuted=refuted))
        return outcomes

    def _repeated(self, order: Order, one: Attempt) -> tuple[Attempt, Confirmed | None]:
        """The same, and what it refutes. A success of a certified size that cannot be repeated is
        an accident: it counts for nothing, and other attacks need not take less.
        """
        if one.reached is None or one.poisoning is None or one.reached > order.proved:
            return one, None
        again = confirm(self.victim, order.threat, one.poisoning, order.example, order.predicted)
        if again.holds:
            return one, again
        return replace(one, reached=None, poisoning=None, accident=one.reached), None

    def _attempt(
        self, order: Order, name: str, below: int | None, deadline: float
    ) -> tuple[Attempt, bool]:
        """What that attack comes to, and whether time ran out."""
        aim = self.aim(order, deadline)
        start, trained = time.perf_counter(), self.victim.trainings
        ratio = self._ratios.get((name, order.threat))
        least = max(1, order.proved)
        usual = None if ratio is None else round(least * ratio)
        search = Search(
            lambda r: self._try(aim, name, r),
            not aim.deterministic,
            lambda: usual if aim.expected is None else aim.expected,
        )
        error, best = "", None
        try:
            most = order.proved if order.weakest else self.victim.data.domain.n_public
            best = search.run(order.proved, below, most)
        except NOT_ITS_FAULT:
            raise
        except NotAllowed as refused:
            error = f"attack {name} is refused: {refused}"
        except (Exception, SystemExit) as failed:  # of a plugin
            error = f"attack {name} raises {describe(failed)}"
        if best is not None and best.size > order.proved:
            self._ratios[name, order.threat] = best.size / least
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
        poisoning = self.poisoning(aim, name, r)
        if poisoning is None:
            return None
        answer = aim.ask(poisoning)
        return Tried(answer.turned, poisoning.size(aim.threat), poisoning, answer.failure)

    def poisoning(self, aim: Aim, name: str, r: int) -> Poisoning | None:
        """What that attack makes of at most r examples; None where it has nothing to try.

        Raises NotAllowed for what the threat does not allow, and whatever the attack raises.
        """
        made: Any  # a plugin may give what it likes
        if name == OWN:
            made = aim.defense.attack(aim, aim.threat, r)
        else:
            made = self.attacks[name].poison(aim, aim.threat, r)
        if made is None:
            return None
        if not isinstance(made, Poisoning):
            raise NotAllowed(f"it gives a {type(made).__name__}; wanted a Poisoning, or None")
        made.check(self.victim.data, aim.threat, r)
        return made if made.size(aim.threat) else None


def attacks_on(
    victim: Victim, attacks: Mapping[str, Attack], threat: Threat, wanted: Sequence[str] = ()
) -> tuple[str, ...]:
    """The names of the attacks that have something to try there, the defense's own first."""
    from harness.defense import Defense

    own = type(victim.defense).attack is not Defense.attack
    fitting = [name for name, one in attacks.items() if threat in one.threats]
    known = [*[OWN] * own, *fitting, ADAPTIVE]
    return tuple(name for name in known if not wanted or name in wanted)


def made_attacks(registry: Registry) -> tuple[dict[str, Attack], dict[str, str]]:
    """The installed attacks by name, and of those that cannot be made, why."""
    made, broken = {}, {}
    for name, entry in registry.attacks.entries.items():
        try:
            made[name] = entry.value()
        except (Exception, SystemExit) as failed:  # of a plugin
            broken[name] = describe(failed)
    return made, broken
