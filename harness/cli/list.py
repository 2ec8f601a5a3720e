"""``harness list``: what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.plugins.registry import Catalogue, Registry

_EPILOG = """\b
Examples:
  harness list
  harness list --json
"""


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(as_json: bool) -> None:
    """What is installed: defenses, datasets, learners, features, attacks, suites, threats."""
    from harness.plugins.registry import load_registry

    registry = load_registry()
    if as_json:
        import json

        click.echo(json.dumps(_told(registry), indent=1))
    else:
        _show(registry)
    for catalogue in registry.catalogues:
        for name, owners in catalogue.clashes.items():
            click.echo(
                f"the {catalogue.kind} {name!r} is registered by {' and by '.join(owners)}: "
                "neither can be used",
                err=True,
            )
    for problem in registry.problems:
        click.echo(str(problem), err=True)


def _told(registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """Everything that can be selected, by kind: names as they are typed, and what they are."""
    from harness.cli.show import by_default
    from harness.plugins.suites import built_in, load_suite
    from harness.threats import Threat

    def plain(catalogue: Catalogue[Any]) -> list[dict[str, Any]]:
        return [
            {"name": name, "summary": one.value.summary, "from": one.distribution}
            for name, one in catalogue.entries.items()
        ]

    defenses = []
    for name, entry in registry.defenses.entries.items():
        kind, made = entry.value, by_default(entry.value)
        covered = [] if made is None else [t.value for t in Threat if t in made.covers()]
        told = {"name": name, "title": kind.title, "paper": kind.paper, "threats": covered}
        defenses.append(told | {"from": entry.distribution})
    datasets = [
        one | {"argument": registry.datasets.entries[one["name"]].value.takes_argument}
        for one in plain(registry.datasets)
    ]
    attacks = [
        one
        | {"threats": [t.value for t in Threat if t in registry.attacks[one["name"]].value.threats]}
        for one in plain(registry.attacks)
    ]
    return {
        "defenses": defenses,
        "datasets": datasets,
        "learners": plain(registry.learners),
        "features": plain(registry.features),
        "attacks": attacks,
        "suites": [load_suite(name).model_dump(mode="json") for name in built_in()],
        "threats": [{"name": one.value, "summary": one.meaning} for one in Threat],
    }


def _show(registry: Registry) -> None:
    from rich.console import Console
    from rich.table import Table

    from harness.plugins.suites import built_in, load_suite
    from harness.threats import Threat

    console = Console(highlight=False)

    def show(title: str, rows: list[tuple[str, str, str]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold", box=None, expand=False)
        table.add_column("name", no_wrap=True)
        table.add_column("what it is", overflow="fold")
        if any(row[2] for row in rows):
            table.add_column("from", overflow="fold")
        for row in rows:
            table.add_row(*row[: len(table.columns)])
        console.print(table)
        console.print()

    defenses, datasets = registry.defenses, registry.datasets
    learners, features = registry.learners, registry.features
    show("Defenses", [(n, e.value.title, e.distribution) for n, e in defenses.entries.items()])
    show(
        "Datasets",
        [
            (f"{n}:PATH" if e.value.takes_argument else n, e.value.summary, e.distribution)
            for n, e in datasets.entries.items()
        ],
    )
    show(
        "Learners",
        [
            *((n, e.value.summary, e.distribution) for n, e in learners.entries.items()),
            ("MODULE.CLASS", "any scikit-learn estimator, one base model after another", ""),
        ],
    )
    show(
        "Features",
        [
            ("auto", "hog for images, else raw: what defenses see unless told otherwise", ""),
            *((n, e.value.summary, e.distribution) for n, e in features.entries.items()),
        ],
    )
    show(
        "Attacks",
        [
            ("own", "what a defense knows for itself, if it does", ""),
            *((n, e.value.summary, e.distribution) for n, e in registry.attacks.entries.items()),
            ("adaptive", "single changes that cost most, put together: for unsound proofs", ""),
        ],
    )
    show("Suites", [(n, load_suite(n).summary, "") for n in built_in()])
    show("Threats", [(t.value, f"r times: {t.meaning}", "") for t in Threat])
