"""What a run will do: its cells, each with a key that names what it trains."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from harness.datasets.base import Dataset
from harness.defense import Defense
from harness.errors import HarnessError, UnsuitableError, UsageError
from harness.plugins.selection import NAME, NAMED, Selection, label
from harness.results.cells import Cell, Plan, shape_of
from harness.running.code_objects import unknown_as
from harness.running.keys import code_of, evidence_key
from harness.running.named import distributions, resolved, spelt_once

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.threats import Threat

Wanted = str | Defense[Any] | type[Defense[Any]]
"""A cell as it is asked for: ``bagging[k=20]``, a defense, or its class for its defaults."""


@dataclass(frozen=True)
class Base:
    """The seed and the alpha that the labels of a run do not mention: its first ones."""

    seed: int
    alpha: float

    def suffix(self, seed: int | None, alpha: float) -> str:
        """What a label says beyond the defense; without a seed, what its group is called."""
        parts = [f"seed={seed}"] if seed not in (None, self.seed) else []
        parts += [f"alpha={alpha!r}"] if alpha != self.alpha else []
        return f"@{','.join(parts)}" if parts else ""


def make_plan(
    registry: Registry,
    wanted: Sequence[Wanted],
    dataset: Dataset,
    *,
    threats: Sequence[Threat],
    alpha: float | Sequence[float],
    seed: int | Sequence[int],
    base: Base | None = None,
    device: str = "cpu",
    lenient: bool = False,
    suite: str | None = None,
    token: str | None = None,
) -> Plan:
    """The plan for what was asked for, everything checked that can be without training.

    Each seed and each alpha makes a cell of its own; where a defense proves the same at every
    alpha, the first will do. ``base`` is that of the folder which the run goes to; without it the
    first seed and alpha. ``lenient``: leaves out the defenses that the data set does not suit.
    ``token``: that of the plan which is made again, whose keys this one is to have.

    Raises UsageError for unknown names and for parameters that are not allowed, that do not fit the
    data set, or that are selected twice. A defense whose plugin is broken becomes a cell that will
    fail, so that the others can run.
    """
    seeds, alphas = _several("seed", seed), _several("alpha", alpha)
    known, base = base, base or Base(seeds[0], alphas[0])
    token = token or uuid.uuid4().hex
    cells: dict[str, Cell] = {}
    left_out: list[str] = []
    for one in wanted:
        try:
            with unknown_as(token):
                made = _cells(registry, one, dataset, seeds, alphas, base, device, known)
        except UnsuitableError as error:
            if not lenient:
                raise
            left_out.append(str(error))
            continue
        for cell in made:
            if cell.label in cells:
                raise UsageError(f"{cell.label} is selected twice")
            cells[cell.label] = cell
    if not cells:
        reason = "; ".join(left_out) or "none was asked for"
        raise UsageError(f"no defense fits this data set: {reason}")
    return Plan(
        dataset,
        base.seed,
        tuple(dict.fromkeys(threats)),
        base.alpha,
        tuple(cells.values()),
        tuple(left_out),
        token,
        suite,
    )


def _several(name: str, given: Any) -> tuple[Any, ...]:
    """The seeds or alphas that were given, one or several, each checked. Raises UsageError."""
    try:
        values = (given,) if isinstance(given, str) else tuple(given)
    except TypeError:  # a number, also as an array without dimensions
        values = (given,)
    if not values:
        raise UsageError(f"no {name} is given; wanted at least one")
    for value in values:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if name == "seed" and not (whole and value >= 0):
            raise UsageError(f"the seed must be a whole number of at least 0, found {value}")
        if name == "alpha" and not (isinstance(value, float | np.floating) and 0 < value < 1):
            shown = f"{value:g}" if isinstance(value, float | int) else f"{value}"
            raise UsageError(f"alpha must be above 0 and below 1, found {shown}")
    plain = tuple(int(v) if name == "seed" else float(v) for v in values)
    twice = next((v for i, v in enumerate(plain) if v in plain[:i]), None)
    if twice is not None:
        raise UsageError(f"{name} {twice} is given twice")
    return plain


def _cells(
    registry: Registry,
    wanted: Wanted,
    dataset: Dataset,
    seeds: tuple[int, ...],
    alphas: tuple[float, ...],
    base: Base,
    device: str,
    known: Base | None,
) -> list[Cell]:
    """The cells of one defense, one for each alpha and seed; ``known``: what the folder's are."""
    own = False
    made, distribution, error = None, "", None
    if isinstance(wanted, str):
        selection = Selection.parse(wanted)
        name = selection.name
        broken = registry.broken(name)
        if broken is not None and name not in registry.defenses.entries:
            distribution, error = broken.distribution, str(broken)
        else:
            entry = registry.defenses[name]
            selection = selection.settled(entry.value.Params.model_fields)
            distribution = entry.distribution
        own = selection.alpha is not None
        seeds = seeds if selection.seed is None else _several("seed", selection.seed)
        alphas = alphas if selection.alpha is None else _several("alpha", selection.alpha)
    else:
        made, distribution = _object(registry, wanted)
        name = made.name
    if error is None:
        try:
            if made is None:
                made = selection.build(entry.value)
            spelt = spelt_once(made, registry)
            text = label(name, spelt.params)
            defense = resolved(spelt, shape_of(dataset), registry)
            code = code_of(defense, registry)
            alphas = _that_matter(defense, alphas, None if own else known)
        except HarnessError:
            raise
        except Exception as failure:  # of a plugin: it must not keep the others from running
            error = " ".join(f"{type(failure).__name__}: {failure}".split())
    if error is not None:
        return [Cell(name, name, distribution, None, "", error=error)]
    versions = " and ".join([distribution, *distributions(defense, registry)])
    cells = []
    for one_alpha, one_seed in product(alphas, seeds):
        keys = evidence_key(name, defense, dataset, one_seed, versions, code, device)
        full, group = (text + base.suffix(s, one_alpha) for s in (one_seed, None))
        made_cell = Cell(full, name, distribution, defense, *keys, one_seed, one_alpha, group)
        cells.append(replace(made_cell, code=code))
    return cells


def _object(
    registry: Registry, wanted: Defense[Any] | type[Defense[Any]]
) -> tuple[Defense[Any], str]:
    """A defense that was given itself, made again of its parameters, and where it is from.

    Its parameters and its code are all that evidence is kept under: what else an object may carry
    has no part in training. Raises UsageError.
    """
    kind = wanted if isinstance(wanted, type) else type(wanted)
    if not issubclass(kind, Defense):
        raise UsageError(f"{wanted!r} is no defense; wanted NAME[key=value,...] or a Defense")
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not name:
        raise UsageError(f"{kind.__qualname__} has no name; a defense sets the class variable name")
    if NAME.fullmatch(name) is None:
        raise UsageError(f"{kind.__qualname__} is called {name!r}; {NAMED}")
    entry = registry.defenses.entries.get(name)
    if registry.defenses.claims(name) and (entry is None or entry.value is not kind):
        raise UsageError(
            f"{kind.__qualname__} is called {name!r} as an installed defense is; give it a name of "
            "its own"
        )
    if not isinstance(wanted, type) and not isinstance(wanted.params, kind.Params):
        raise UsageError(
            f"{name} was made of {wanted.params!r}; wanted {kind.__qualname__}"
            f"({kind.Params.__qualname__}(...))"
        )
    try:
        made = kind(kind.Params() if isinstance(wanted, type) else wanted.params)
    except TypeError as error:
        raise UsageError(f"{name} cannot be made of its parameters alone: {error}") from None
    except ValidationError:
        required = [k for k, field in kind.Params.model_fields.items() if field.is_required()]
        raise UsageError(f"{name} needs {', '.join(required)}: give a defense, no class") from None
    return made, entry.distribution if entry else f"{kind.__module__} (not installed)"


def _that_matter(
    defense: Defense[Any], alphas: tuple[float, ...], base: Base | None
) -> tuple[float, ...]:
    """The alphas, or only one where it makes no difference: the folder's, else the first."""
    first = alphas[0] if base is None else base.alpha
    if alphas == (first,):
        return alphas
    try:
        guarantees = {str(defense.guarantee(alpha)) for alpha in (first, *alphas)}
    except Exception:
        if len(alphas) > 1:
            raise
        return alphas
    return (first,) if len(guarantees) == 1 else alphas


def label_of(text: str, registry: Registry, base: Base) -> str:
    """The label of the cell that ``text`` asks for, however it is spelt. Raises UsageError."""
    selection = Selection.parse(text)
    entry = registry.defenses[selection.name]
    selection = selection.settled(entry.value.Params.model_fields)
    seed, alpha = selection.seed, selection.alpha
    params = spelt_once(selection.build(entry.value), registry).params
    return label(selection.name, params) + base.suffix(seed, base.alpha if alpha is None else alpha)
