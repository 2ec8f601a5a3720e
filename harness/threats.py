"""Threats: what one unit of r buys the attacker, and what it costs in a certificate's own units."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from harness.errors import UsageError, unknown


class Threat(StrEnum):
    """What the attacker may do to the training set, r times.

    ``ANY`` is the set B(D, r) of Jia et al. (Eq. 1): max(|D|, |D'|) - |D and D'| <= r.
    """

    ANY = "any"
    """Modify, insert or delete one example; each counts 1."""
    MODIFY = "modify"
    """Replace one example, features and label, in place."""
    INSERT = "insert"
    """Add one example."""
    DELETE = "delete"
    """Remove one example."""
    LABEL_FLIP = "label-flip"
    """Change the label of one example; its features stay as they are."""

    @property
    def meaning(self) -> str:
        """What the attacker may do r times, in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    Threat.ANY: "modify, insert or delete an example",
    Threat.MODIFY: "replace an example, features and label",
    Threat.INSERT: "add an example",
    Threat.DELETE: "remove an example",
    Threat.LABEL_FLIP: "change an example's label",
}


class Unit(StrEnum):
    """What a certificate counts natively: the convention that its theorem is stated in."""

    POISONED_EXAMPLE = "poisoned example"
    """One example modified, inserted or deleted (Jia et al. 2021, Eq. 1)."""
    ADD_REMOVE = "example added or removed"
    """Neighbouring data sets differ by one example added or removed: what Opacus accounts."""
    ADD_REMOVE_LINEAR_BINARY = "example added or removed, binary logistic loss never clipped"
    """As ``ADD_REMOVE``; a flipped label moves an unclipped gradient by no more than the bound."""
    LABEL = "flipped label"
    """One label changed (Rosenfeld et al. 2020)."""
    VALUE = "flipped value"
    """One of an example's d binary features or its label changed."""
    PART = "part rewritten, parts by features and label"
    """One part of the training set changed at will; the part of an example follows from its
    features and its label (Levine and Feizi 2021), so a modified one leaves one and enters one."""
    FEATURE_PART = "part rewritten, parts by features alone"
    """As ``PART``; an example whose label alone changes stays in its part."""


_A, _M, _I, _D, _L = (Threat.ANY, Threat.MODIFY, Threat.INSERT, Threat.DELETE, Threat.LABEL_FLIP)
_COSTS: dict[Unit, dict[Threat, int]] = {
    Unit.POISONED_EXAMPLE: {_I: 1, _D: 1, _M: 1, _A: 1, _L: 1},
    Unit.ADD_REMOVE: {_I: 1, _D: 1, _M: 2, _A: 2, _L: 2},
    Unit.ADD_REMOVE_LINEAR_BINARY: {_I: 1, _D: 1, _M: 2, _A: 2, _L: 1},
    Unit.LABEL: {_L: 1},
    Unit.VALUE: {_L: 1},
    Unit.PART: {_I: 1, _D: 1, _M: 2, _A: 2, _L: 2},
    Unit.FEATURE_PART: {_I: 1, _D: 1, _M: 2, _A: 2, _L: 1},
}


def cost(unit: Unit, threat: Threat, *, values_per_example: int | None = None) -> int | None:
    """How many native units one unit of r costs under ``threat``; None where it is not covered.

    This table is the only place where conventions are converted. ``values_per_example`` is d + 1
    (the features and the label) and is needed for ``Unit.VALUE`` alone: a modified example changes
    up to d + 1 values.
    """
    if unit is Unit.VALUE and threat is Threat.MODIFY:
        if values_per_example is None:
            raise ValueError("values_per_example is needed to count flipped values")
        return values_per_example
    return _COSTS[unit].get(threat)


def covered(unit: Unit) -> frozenset[Threat]:
    """The threats that a certificate counted in ``unit`` covers."""
    return frozenset(t for t in Threat if cost(unit, t, values_per_example=1) is not None)


def parse_threat(name: str) -> Threat:
    """The threat of that name. Raises UsageError with the nearest names."""
    try:
        return Threat(name)
    except ValueError:
        raise unknown("threat", name, [t.value for t in Threat]) from None


def parse_threats(name: str, given: Any) -> list[Threat]:
    """The threats that were given, one or several; ``name`` is what messages call them.

    Raises UsageError for what is none, and where there is none at all.

    >>> parse_threats("threats", "any"), len(parse_threats("threats", ["any", Threat.INSERT]))
    ([<Threat.ANY: 'any'>], 2)
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Iterable):
        allowed = ", ".join(threat.value for threat in Threat)
        raise UsageError(f"{name}={given!r} is no threat; allowed, one or several: {allowed}")
    found = [parse_threat(str(one)) for one in given]
    if not found:
        raise UsageError(f"no threat is given; allowed: {', '.join(t.value for t in Threat)}")
    return found
