"""Attacks of just the size that is certified, by all that ``harness attack`` has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from harness.attacking.assault import Assault, Order, attacks_on, made_attacks
from harness.attacking.verdict import contradicted, pointwise
from harness.attacks.names import ADAPTIVE, OWN
from harness.certificates import ABSTAIN, PointwiseCertificate
from harness.running.containment import describe
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.poisoning import Poisoning
    from harness.testing.bench import Bench

_WEAKER = {
    Threat.ANY: (Threat.MODIFY, Threat.INSERT, Threat.DELETE),
    Threat.MODIFY: (Threat.LABEL_FLIP,),
}
"""What an attacker may do as well: attacks make something else of it."""


def at_the_radius(bench: Bench, threat: Threat, before: PointwiseCertificate) -> Iterator[str]:
    """What contradicts the certificate, by attacks on one test example of each predicted label.

    All attacks that are installed, and the defense's own: each poisons as many training examples as
    the largest radius of that label, and what is certified of the other test examples must hold
    against it as well. The adaptive attack is not among them: single poisonings and what can be
    put together of them are a campaign's.
    """
    attacks, _ = made_attacks(bench.registry)
    assault = Assault(bench.victim, attacks)
    for label in np.unique(before.predictions):
        example = int(np.where(before.predictions == label, before.radii, ABSTAIN).argmax())
        r = int(before.radii[example])
        if r < 1:
            continue
        for name, poisoning in _poisonings(assault, threat, before, example):
            if isinstance(poisoning, str):
                yield f"{bench.label}, its own attack under {threat}: {poisoning}"
                continue
            evidence = bench.trained_on(poisoning)
            after = pointwise(bench.victim.certify(evidence, threat))
            for i in contradicted(before, after, poisoning.size(threat)):
                yield (
                    f"{bench.label} certifies test example {i} under {threat}: predicted "
                    f"{before.predictions[i]}, radius {before.radii[i]}; yet the attack {name} "
                    f"({poisoning}) makes it {after.predictions[i]}"
                )


def _poisonings(
    assault: Assault, threat: Threat, before: PointwiseCertificate, example: int
) -> Iterator[tuple[str, Poisoning | str]]:
    """Each attack by its name, and what it makes of just so many poisonings as are certified.

    Of an attack that fails nothing; of the defense's own, why: it is a part of the defense.
    """
    victim, r = assault.victim, int(before.radii[example])
    predicted = int(before.predictions[example])
    rivals = tuple((predicted + i) % victim.data.n_labels for i in range(1, victim.data.n_labels))
    for means in (threat, *_WEAKER.get(threat, ())):
        names = attacks_on(victim, assault.attacks, means)
        order = Order(means, example, predicted, r, rivals, names)
        for name in names:
            if name != ADAPTIVE:
                aim = assault.aim(order, float("inf"))
                try:
                    poisoning = assault.poisoning(aim, name, r)
                except Exception as failed:  # of a plugin
                    if name == OWN:
                        yield name, describe(failed)
                    continue
                if poisoning is not None:
                    yield name, poisoning
