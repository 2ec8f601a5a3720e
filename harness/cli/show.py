"""``harness show NAME``: one defense, dataset, learner, features or attack, with what it takes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from harness.attacks.base import Attack
    from harness.defense import Defense
    from harness.plugins.registry import Registered, Registry
    from harness.plugins.suites import Suite
    from harness.threats import Threat

ATTACKER = "attacker: writes examples of the data set's domain (labels, shape, type, range)"

_EPILOG = """\b
Examples:
  harness show bagging
  harness show "bagging[k=10]"
  harness show label-flip
  harness show any
  harness show ridge
  harness show hog
  harness show strongest-mnist17
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
def command(name: str) -> None:
    """One defense, dataset, learner, features, attack, suite or threat, with what it takes."""
    from harness.plugins.registry import load_registry
    from harness.plugins.selection import Selection
    from harness.plugins.suites import is_suite, load_suite
    from harness.threats import Threat

    registry = load_registry()
    if registry.defenses.claims(name.partition("[")[0].strip()):
        selection = Selection.parse(name)
        entry = registry.defenses[selection.name]
        _defense(entry, selection.build(entry.value) if selection.parameters else None)
        if name in tuple(Threat):
            click.echo(f"{name} is a threat, too: r times, {Threat(name).meaning}")
        return
    if registry.datasets.claims(name):
        _dataset(registry.datasets[name])
        return
    if registry.learners.claims(name):
        _part(registry.learners[name])
        return
    if registry.features.claims(name):
        _part(registry.features[name])
        return
    if registry.attacks.claims(name):
        _attack(registry.attacks[name])
        return
    if is_suite(name):
        _suite(load_suite(name))
        return
    if name in tuple(Threat):
        _threat(Threat(name), registry)
        return
    broken = registry.broken(name)
    if broken:
        click.echo(str(broken), err=True)
        raise SystemExit(2)
    raise registry.unknown(name)


def _attack(entry: Registered[type[Attack]]) -> None:
    from harness.threats import Threat

    kind = entry.value
    click.echo(f"{kind.name}: {kind.summary}")
    threats = [threat.value for threat in Threat if threat in kind.threats]
    click.echo(f"threats: {', '.join(threats)}")
    click.echo(f"from: {entry.distribution}")


def _threat(threat: Threat, registry: Registry) -> None:
    click.echo(f"{threat}: the attacker may, r times, {threat.meaning}")
    click.echo(ATTACKER)
    covering = [
        name
        for name, entry in registry.defenses.entries.items()
        if (made := by_default(entry.value)) is not None and threat in made.covers()
    ]
    click.echo(f"certified by: {', '.join(covering)}")
    attacks = [
        name for name, entry in registry.attacks.entries.items() if threat in entry.value.threats
    ]
    click.echo(f"attacked by: {', '.join(attacks)}, and by what a defense brings itself")


def by_default(kind: type[Defense[Any]]) -> Defense[Any] | None:
    """The defense with its defaults; None where a plugin has none, or fails."""
    try:
        made = kind(kind.Params())
        made.covers()
    except Exception:  # of a plugin
        return None
    return made


def _suite(suite: Suite) -> None:
    click.echo(f"{suite.name}: {suite.summary}")
    click.echo(f"dataset: {suite.dataset}")
    click.echo(f"seeds: {', '.join(map(str, suite.seeds))}")
    click.echo(f"alphas: {', '.join(f'{alpha:g}' for alpha in suite.alphas)}")
    click.echo(f"threats: {', '.join(suite.threats)}")
    for cell in suite.cells:
        click.echo(f"  {cell}")


def _defense(entry: Registered[type[Defense[Any]]], chosen: Defense[Any] | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    defense = entry.value
    console = Console(highlight=False)
    click.echo(f"{defense.name}: {defense.title}")
    click.echo(f"paper: {defense.paper}")
    click.echo(f"from: {entry.distribution}")
    for line in _promises(defense, chosen):
        click.echo(line)
    for head, told in (("needs", defense.needs), ("takes", defense.takes)):
        for key, meaning in told.items():
            click.echo(f"certify {head} {key}: {meaning}")
    if not defense.Params.model_fields:
        click.echo("no parameters")
        return
    table = Table(box=None)
    given = () if chosen is None else ("value",)
    for title in ("parameter", *given, "default", "allowed", "meaning"):
        table.add_column(title, overflow="fold", no_wrap=title == "parameter")
    late = defense.Params.certify_only()
    for key, field in defense.Params.model_fields.items():
        meaning = field.description or ""
        if key in late:
            meaning += " [certifying only: trains nothing]"
        default = field.get_default(call_default_factory=True)
        default = "required" if field.is_required() else str(default)
        value = [] if chosen is None else [escape(str(getattr(chosen.params, key)))]
        table.add_row(key, *value, escape(default), escape(allowed(field)), escape(meaning))
    console.print(table)


def _promises(defense: type[Defense[Any]], chosen: Defense[Any] | None) -> list[str]:
    """Threats and guarantee with the parameters that were chosen, or the defaults; or why they are
    not known.
    """
    from harness.threats import Threat

    required = [k for k, field in defense.Params.model_fields.items() if field.is_required()]
    if required and chosen is None:
        return [f"threats and guarantee: depend on {', '.join(required)}"]
    try:
        made = chosen or defense(defense.Params())
        covered, guarantee = made.covers(), made.guarantee(0.001)
    except Exception as error:  # of a plugin
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return [f"threats and guarantee: the plugin fails to say ({text})"]
    threats = ", ".join(t.value for t in Threat if t in covered)
    return [f"threats: {threats}", ATTACKER, f"guarantee: {guarantee}"]


def allowed(field: FieldInfo) -> str:
    """A field's type and bounds in words, from what pydantic knows."""
    from typing import Literal, get_args, get_origin

    if get_origin(field.annotation) is Literal:
        return " | ".join(str(value) for value in get_args(field.annotation))
    kind = getattr(field.annotation, "__name__", str(field.annotation))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(bound, attribute)}"
        for bound in field.metadata
        for attribute, sign in signs.items()
        if getattr(bound, attribute, None) is not None
    ]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _dataset(entry: Registered[Any]) -> None:
    source = entry.value
    click.echo(f"{source.name}{':PATH' if source.takes_argument else ''}: {source.summary}")
    click.echo(f"from: {entry.distribution}")
    known = getattr(source, "domain", "what it declares, or else what its arrays hold")
    click.echo(f"domain: {known}")
    click.echo(ATTACKER)


def _part(entry: Registered[Any]) -> None:
    """A learner, or features: what it is, and the parameters of its constructor."""
    part = entry.value
    click.echo(f"{part.name}: {part.summary}")
    click.echo(f"from: {entry.distribution}")
    given = parameters_of(part)
    for name, default in given:
        click.echo(f"  {name} ({'required' if default is None else f'default {default}'})")
    if not given:
        click.echo("no parameters")


def parameters_of(part: type[Any]) -> list[tuple[str, str | None]]:
    """The parameters of a learner or of features, each with its default, None without one."""
    return [
        ("STEP, STEP, ...", None)
        if one.kind is one.VAR_POSITIONAL
        else (one.name, None if one.default is one.empty else str(one.default))
        for one in inspect.signature(part).parameters.values()
    ]
