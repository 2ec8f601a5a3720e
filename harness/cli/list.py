"""``harness list``: what is installed."""

from __future__ import annotations

import click

_EPILOG = """\b
Example:
  harness list
"""


@click.command(epilog=_EPILOG)
def command() -> None:
    """What is installed: defenses, datasets, learners, features, attacks, suites, threats."""
    from rich.console import Console
    from rich.table import Table

    from harness.plugins.registry import load_registry
    from harness.plugins.suites import built_in, load_suite
    from harness.threats import Threat

    registry = load_registry()
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
    for catalogue in registry.catalogues:
        for name, owners in catalogue.clashes.items():
            click.echo(
                f"the {catalogue.kind} {name!r} is registered by {' and by '.join(owners)}: "
                "neither can be used",
                err=True,
            )
    for problem in registry.problems:
        click.echo(str(problem), err=True)
