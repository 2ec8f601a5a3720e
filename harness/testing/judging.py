"""All properties of something tried one after another, and one message for all that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from threadpoolctl import threadpool_limits

from harness.testing.properties import Judged, Property
from harness.testing.verdicts import (
    ConformanceError,
    Failure,
    NotApplicable,
    NothingAttacked,
    Postponed,
)


class Tried(Judged, Protocol):
    """What is tried, by the name under which it is selected."""

    @property
    def label(self) -> str: ...


@dataclass(frozen=True)
class Report:
    """What was found to hold: what was tried, and its properties by name."""

    name: str
    held: tuple[str, ...]
    skipped: Mapping[str, str]
    """Properties that say nothing about it, and why."""
    unattacked: tuple[str, ...] = ()
    """Those of ``skipped`` that say nothing because nothing was there to attack: a certificate
    under that threat could be wrong without being noticed."""

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.held)} properties hold"]
        lines += [f"  NOT ATTACKED: {self.skipped[name]}" for name in self.unattacked]
        others = (item for item in self.skipped.items() if item[0] not in self.unattacked)
        lines += [f"  skipped {name}: {reason}" for name, reason in others]
        return "\n".join(lines)


def judge(properties: Sequence[Property], bench: Tried, sound: str) -> Report:
    """Checks every property; ``sound`` says what has all of them, "a sound defense".

    Raises ConformanceError that explains all that is wrong.
    """
    held: list[str] = []
    skipped: dict[str, str] = {}
    failures: list[Failure] = []
    postponed: list[str] = []
    unattacked: list[str] = []
    for prop in properties:
        try:
            failure = failure_of(prop, bench)
        except NotApplicable as reason:
            skipped[prop.name] = str(reason)
            if isinstance(reason, Postponed):
                postponed.append(prop.name)
            if isinstance(reason, NothingAttacked):
                unattacked.append(prop.name)
            continue
        if failure is None:
            held.append(prop.name)
        else:
            failures.append(failure)
    if failures:
        message = _explain(bench.label, failures, len(properties) - len(skipped), sound)
        later = f"\n\nTried when this is mended: {', '.join(postponed)}" if postponed else ""
        raise ConformanceError(message + later)
    return Report(bench.label, tuple(held), skipped, tuple(unattacked))


def failure_of(prop: Property, bench: Judged) -> Failure | None:
    """What breaks the property, found with one thread: several only wait for one another here."""
    with threadpool_limits(1):
        return prop.failure(bench)


def _explain(label: str, failures: list[Failure], checked: int, sound: str) -> str:
    """All failures, those of one cause together: where training fails, everything does."""
    by_cause: dict[tuple[str, ...], list[Failure]] = {}
    for failure in failures:
        by_cause.setdefault(failure.found, []).append(failure)
    head = f"{label} breaks {len(failures)} of {checked} properties of {sound}."
    parts = [head]
    for number, same in enumerate(by_cause.values(), start=1):
        also = ", ".join(failure.name for failure in same[1:])
        parts.append(f"{number}. {same[0]}" + (f"\n   Also breaks: {also}" if also else ""))
    return "\n\n".join(parts)
