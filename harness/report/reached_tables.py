"""What a report says of attacks in words and tables."""

from __future__ import annotations

import math

from harness.report import words
from harness.report.reached import Attacks, JointReached, Reached
from harness.results.attacks import Attacked, JointAttacked

TITLE = "Proved and reached"
WHAT_IT_IS = (
    "What a certificate proves is a lower bound on the attack that it takes, and what an attack "
    "reached is an upper one: the training set was really poisoned, the defense really trained on "
    "it, and its prediction changed. Medians are over test examples drawn at random among those "
    "that are predicted rightly with a radius; one that no attack changed counts as infinite. What "
    "lies between, nobody knows: the proof may be weak, or the attack."
)
JOINT_IS = (
    "One poisoned training set against the whole test set: the accuracy that is proved at r, and "
    "the one that the attack left."
)
COLUMNS = (
    "defense",
    "threat",
    "attacked",
    "turned",
    "median proved",
    "median reached",
    "reached / proved",
    "strongest attack",
    "refuted",
)
JOINT_COLUMNS = ("defense", "threat", "r", "proved", "reached", "strongest attack", "refuted")

_MOST = 10
"""So many attacks that refute are listed one by one."""


def rows(found: Attacks) -> list[list[str]]:
    """A row for each certificate and threat that was attacked, as COLUMNS head it."""
    return [_row(one) for one in found.reached]


def joint_rows(found: Attacks) -> list[list[str]]:
    """A row for each size of attacks on all test examples at once, as JOINT_COLUMNS head it."""
    return [_joint_row(one) for one in found.joint]


def banner(found: Attacks | None) -> str:
    """What stands above everything else where a certificate is refuted; empty elsewhere."""
    if found is None or not found.refuted:
        return ""
    cells = list(dict.fromkeys(f"{row.defense} under {row.threat}" for row in found.refuted))
    return (
        f"REFUTED: attacks did what was proved impossible for {words.some(cells, 5)}. Rely on no "
        "number of these: the certificate does not hold, or the code that computes it or trains "
        f"the models is wrong. The attacks stand under {TITLE}."
    )


def refuted(found: Attacks) -> list[str]:
    """A line for each attack that refutes, the first of them in full."""
    lines = [_refuted(row) for row in found.refuted[:_MOST]]
    more = len(found.refuted) - _MOST
    return [*lines, f"{more} more, in the tables of the run's folder"] if more > 0 else lines


def _row(one: Reached) -> list[str]:
    return [
        one.name,
        one.threat,
        f"{len(one.examples):,}",
        f"{one.turned:,}",
        _middle(one.proved),
        _middle(one.reached),
        f"{one.ratio:.2f}" if math.isfinite(one.ratio) else words.NOTHING,
        one.strongest or words.NOTHING,
        _alarm(len(one.refuted)),
    ]


def _middle(value: float) -> str:
    """A median of sizes, exactly; NOTHING where there is none, or half of them are infinite.

    >>> _middle(12.0), _middle(1301.5), _middle(math.inf)
    ('12', '1,301.5', '–')
    """
    if not math.isfinite(value):
        return words.NOTHING
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _joint_row(one: JointReached) -> list[str]:
    proved, reached = words.percent(one.proved), words.percent(one.reached)
    return [
        one.name,
        one.threat,
        f"{one.r:,}",
        proved,
        reached,
        one.attack,
        _alarm(int(one.refuted)),
    ]


def _alarm(refuted: int) -> str:
    return f"REFUTED ({refuted:,})" if refuted else "no"


def _refuted(row: Attacked | JointAttacked) -> str:
    if isinstance(row, JointAttacked):
        did = (
            f"at r = {row.r:,} an accuracy of {row.certified_accuracy:.4f} is proved, and "
            f"{row.attack} left {row.reached:.4f}"
        )
    else:
        did = (
            f"for test example {row.example:,} a radius of {row.proved:,} is proved, and "
            f"{row.attack} changed the prediction with {row.reached:,}"
        )
    text = f"{row.defense}, {row.threat}: {did}"
    if row.poisoning:
        text += f"; the poisoned rows are in the run's folder, to be replayed: {row.poisoning}"
    return text
