"""The generated tables of the documentation, from the same sources as ``harness show``.

``python -m harness.cli.docs FOLDER`` writes them again into the pages of a folder, each between
``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.show import allowed, parameters_of
from harness.errors import DataError, HarnessError, UsageError
from harness.plugins.registry import PluginManager
from harness.results.files import write_atomically
from harness.threats import Threat, Unit, cost

if TYPE_CHECKING:
    from harness.defense import Defense
    from harness.plugins.registry import Catalogue, Registry

UNITS: Sequence[tuple[str, str, Unit]] = (
    ("bagging", "", Unit.POISONED_EXAMPLE),
    ("bagflip", "", Unit.LABEL),
    ("dp", "", Unit.ADD_REMOVE),
    ("dp", "two labels and `sample_rate=1`", Unit.ADD_REMOVE_LINEAR_BINARY),
    ("dp[adjacency=paper]", "as published; not what is proved", Unit.POISONED_EXAMPLE),
    ("label-flip", "", Unit.LABEL),
    ("feature-flip", "", Unit.VALUE),
    ("dpa", "", Unit.FEATURE_PART),
    ("dpa[hash=content]", "", Unit.PART),
    ("ss-dpa", "", Unit.LABEL),
    ("finite-aggregation", "", Unit.FEATURE_PART),
    ("finite-aggregation[hash=content]", "", Unit.PART),
    ("hash-bagging", "", Unit.FEATURE_PART),
    ("hash-bagging[hash=content]", "", Unit.PART),
    ("knn", "", Unit.POISONED_EXAMPLE),
    ("rnn", "", Unit.POISONED_EXAMPLE),
    ("exact-ridge", "", Unit.LABEL),
    ("matched-clusters", "", Unit.LABEL),
)
"""Selections of the built-in defenses, when they count so, and what their theorem counts."""

_VALUES = 10_007
"""A number of values that no cost is by itself: it shows where d + 1 is charged."""

_SECTION = re.compile(
    r"<!-- generated: (?P<name>[a-z-]+) -->\n.*?<!-- end of (?P=name) -->", re.DOTALL
)


def built_in() -> Registry:
    """What comes with the harness: the tables say the same whatever else is installed."""
    manager = PluginManager()
    manager.load(installed=())
    return manager.registry()


def refreshed(page: str, registry: Registry) -> str:
    """The page with its generated sections as they are now.

    Raises DataError for a section that does not exist or does not end.
    """

    def make(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in _MAKERS:
            raise DataError(f"no section {name!r} is generated; allowed: {', '.join(_MAKERS)}")
        return f"<!-- generated: {name} -->\n{_MAKERS[name](registry)}\n<!-- end of {name} -->"

    found, count = _SECTION.subn(make, page)
    if count != page.count("<!-- generated: "):
        raise DataError("a generated section does not end: each needs its <!-- end of NAME -->")
    return found


def costs_table(registry: Registry) -> str:
    """What one unit of r costs in each defense's own units; a dash where it is not covered."""
    heads = ("defense", "counts", *(f"`{threat}`" for threat in Threat))
    rows = [
        (f"`{name}`" + (f", {when}" if when else ""), unit.value, *(_cost(unit, t) for t in Threat))
        for name, when, unit in UNITS
        if name.partition("[")[0] in registry.defenses.entries
    ]
    return table(heads, rows, right=len(Threat))


def _cost(unit: Unit, threat: Threat) -> str:
    found = cost(unit, threat, values_per_example=_VALUES)
    if found is None:
        return "–"
    return "d + 1" if found == _VALUES else str(found)


def defenses_sections(registry: Registry) -> str:
    """A section for each defense."""
    return "\n\n".join(defense_section(e.value) for e in registry.defenses.entries.values())


def defense_section(defense: type[Defense[Any]]) -> str:
    """One defense: title, paper, threats, guarantee, parameters, what ``certify`` is told."""
    made = defense(defense.Params())
    covered = made.covers()
    lines = [
        f"### {defense.name}",
        "",
        f"{defense.title}.",
        "",
        f"- Paper: {defense.paper}",
        f"- Threats: {', '.join(f'`{t}`' for t in Threat if t in covered)}",
        f"- Guarantee: {made.guarantee(0.001)}",
        "",
        _parameters(defense),
    ]
    told = [("needs", defense.needs), ("takes", defense.takes)]
    rows = [(verb, f"`{key}`", text) for verb, items in told for key, text in items.items()]
    if rows:
        heads = ("", "name", "meaning")
        lines += ["", f"`harness certify {defense.name}`:", "", table(heads, rows)]
    return "\n".join(lines)


def _parameters(defense: type[Defense[Any]]) -> str:
    late = defense.Params.certify_only()
    rows = [
        (
            f"`{key}`",
            f"`{field.default}`",
            allowed(field),
            "only `certify`" if key in late else "training",
            field.description or "",
        )
        for key, field in defense.Params.model_fields.items()
    ]
    return table(("parameter", "default", "allowed", "read by", "meaning"), rows)


def learners_table(registry: Registry) -> str:
    """The learners, and the parameters of their constructors."""
    return _parts("learner", registry.learners)


def features_table(registry: Registry) -> str:
    """The features, and the parameters of their constructors."""
    return _parts("features", registry.features)


def _parts(head: str, catalogue: Catalogue[Any]) -> str:
    rows = []
    for name, entry in catalogue.entries.items():
        given = parameters_of(entry.value)
        parameters = ", ".join(f"`{key}`" if d is None else f"`{key}={d}`" for key, d in given)
        rows.append((f"`{name}`", parameters or "none", entry.value.summary))
    return table((head, "parameters and defaults", "what it is"), rows)


def datasets_table(registry: Registry) -> str:
    """The data sets, as ``--dataset`` takes them."""
    rows = [
        (f"`{name}:PATH`" if entry.value.takes_argument else f"`{name}`", entry.value.summary)
        for name, entry in registry.datasets.entries.items()
    ]
    return table(("data set", "what it is"), rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    """A table in Markdown; its last ``right`` columns are aligned to the right."""
    signs = ["---"] * (len(heads) - right) + ["---:"] * right
    escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, signs, *escaped))


_MAKERS: Mapping[str, Callable[[Registry], str]] = {
    "costs": costs_table,
    "defenses": defenses_sections,
    "learners": learners_table,
    "features": features_table,
    "datasets": datasets_table,
}
"""What makes each section."""


def main(arguments: Sequence[str]) -> int:
    """Refreshes every page of a folder and names those that changed; returns the exit code."""
    try:
        if len(arguments) != 1 or not Path(arguments[0]).is_dir():
            raise UsageError("wanted the folder of the pages: python -m harness.cli.docs docs")
        registry = built_in()
        for path in sorted(Path(arguments[0]).glob("*.md")):
            page = path.read_text(encoding="utf-8")
            found = refreshed(page, registry)
            if found != page:
                write_atomically(path, found.encode())
                print(f"changed: {path}")
    except HarnessError as error:
        print(f"harness.cli.docs: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
