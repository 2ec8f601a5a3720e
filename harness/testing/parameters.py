"""Properties of a defense's description and parameters: what users see and type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from harness.plugins.selection import Selection, label
from harness.testing.properties import property_of
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.testing.bench import Bench


@property_of("a Field without a description, or a Params that does not inherit from Parameters")
def parameters_can_be_read_and_typed(bench: Bench) -> Iterator[str]:
    """Help, errors and documentation come from the parameters' model, and a cell's label selects
    the same cell again.
    """
    defense, params = type(bench.defense), bench.defense.params
    for attribute in ("name", "title", "paper"):
        value = getattr(defense, attribute, None)
        if not isinstance(value, str) or not value.strip():
            yield f"{attribute} is {value!r}; wanted a line of text"
    for name, field in defense.Params.model_fields.items():
        if not field.description:
            yield f"the parameter {name} has no description"
    try:
        defense.Params.model_validate(defense.Params().model_dump(mode="json"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        yield f"the defaults are refused: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    try:
        defense.Params.model_validate({"unheard_of": 1})
    except ValidationError:
        pass
    else:
        yield "a parameter that does not exist (unheard_of=1) is accepted"
    again = Selection.parse(bench.label).build(defense)
    if again.params != params:
        yield f"{bench.label} selects {label(defense.name, again.params)}: not the same parameters"


@property_of("a threat that is a string, or a set that depends on something else than parameters")
def threats_are_declared(bench: Bench) -> Iterator[str]:
    """A certificate is only ever shown under a threat that the defense says it covers."""
    covered: frozenset[object] = frozenset(bench.defense.covers())
    if not covered:
        yield "it covers no threat"
    for threat in covered:
        if not isinstance(threat, Threat):
            yield f"it covers {threat!r}; wanted a harness.threats.Threat"
    if covered != bench.fresh().covers():
        yield "covers() gave two answers for the same parameters"
