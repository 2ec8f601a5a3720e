"""``harness show NAME``: parameters, threats and paper of one defense, dataset or learner."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from harness.defense import Defense
    from harness.plugins import Registered, Registry

_EPILOG = """\b
Examples:
  harness show bagging
  harness show ridge
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
def command(name: str) -> None:
    """One defense, dataset or learner: parameters, threats, paper."""
    from harness.errors import unknown
    from harness.plugins import load_registry

    registry = load_registry()
    if registry.defenses.claims(name):
        _defense(registry.defenses[name])
        return
    if registry.datasets.claims(name):
        _dataset(registry.datasets[name])
        return
    if registry.learners.claims(name):
        _learner(registry.learners[name])
        return
    broken = registry.broken(name)
    if broken:
        click.echo(str(broken), err=True)
        raise SystemExit(2)
    raise unknown("defense, dataset or learner", name, _names(registry))


def _names(registry: Registry) -> list[str]:
    return [*registry.defenses.entries, *registry.datasets.entries, *registry.learners.entries]


def _defense(entry: Registered[type[Defense[Any]]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from harness.threats import Threat

    defense = entry.value
    made = defense(defense.Params())
    console = Console(highlight=False)
    click.echo(f"{defense.name}: {defense.title}")
    click.echo(f"paper: {defense.paper}")
    click.echo(f"from: {entry.distribution}")
    covered = made.covers()
    click.echo(f"threats: {', '.join(t.value for t in Threat if t in covered)}")
    click.echo(f"guarantee: {made.guarantee(0.001)}")
    for head, told in (("needs", defense.needs), ("takes", defense.takes)):
        for key, meaning in told.items():
            click.echo(f"certify {head} {key}: {meaning}")
    if not defense.Params.model_fields:
        click.echo("no parameters")
        return
    table = Table(box=None)
    for title in ("parameter", "default", "allowed", "meaning"):
        table.add_column(title, overflow="fold", no_wrap=title == "parameter")
    late = defense.Params.certify_only()
    for key, field in defense.Params.model_fields.items():
        meaning = field.description or ""
        if key in late:
            meaning += " [certifying only: trains nothing]"
        table.add_row(key, escape(str(field.default)), escape(_allowed(field)), escape(meaning))
    console.print(table)


def _allowed(field: FieldInfo) -> str:
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


def _learner(entry: Registered[Any]) -> None:
    learner = entry.value
    click.echo(f"{learner.name}: {learner.summary}")
    click.echo(f"from: {entry.distribution}")
    parameters = inspect.signature(learner).parameters.values()
    for parameter in parameters:
        click.echo(f"  {parameter.name} (default {parameter.default})")
    if not parameters:
        click.echo("no parameters")
