"""What commands print on the terminal: the plan, the summary of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.plugins.registry import Registry
    from harness.results.cells import Plan


def print_plan(plan: Plan, registry: Registry, path: Path) -> None:
    """What ``--dry-run`` shows: cells, blocks, threats, where the results would go."""
    from rich.console import Console
    from rich.text import Text

    from harness.plugins.lookup import Installed
    from harness.report.terminal import label_table

    data = plan.dataset
    click.echo(
        f"{data.name}: {data.n_train:,} training and {data.n_test:,} test examples, "
        f"{data.n_labels} labels"
    )
    click.echo(f"domain {data.domain}")
    click.echo(f"threats {', '.join(plan.threats)}; alpha {plan.alpha:g}; seed {plan.seed}")
    click.echo(f"output {path}")
    heads = ["base models", "blocks", "covers", "evidence"]
    rows, lost = [], []
    for cell in plan.cells:
        if cell.defense is None:
            lost.append(f"will fail: {cell.label}: {cell.error}")
            continue
        blocks = cell.defense.blocks(plan.shape, Installed(registry, plan.shape.example))
        covered = [t.value for t in plan.threats if t in cell.defense.covers()]
        texts = [f"{sum(map(len, blocks)):,}", str(len(blocks)), ", ".join(covered), cell.key]
        rows.append((cell.label, [Text(text or "nothing here") for text in texts]))
    console = Console(highlight=False)
    if rows:
        console.print(label_table("defense", heads, rows, console.width))
    for line in lost:
        click.echo(line)


def print_summary(path: Path) -> None:
    """The table at the end of a run, and where everything is."""
    from rich.console import Console

    from harness.report.problem import not_fitted, trusted
    from harness.report.terminal import SummaryTable
    from harness.results.reader import load_run
    from harness.results.schema import UNFINISHED

    result = load_run(path)
    Console(highlight=False).print(SummaryTable(result))
    for name, text in trusted(result):
        click.echo(f"trusted: {text} ({name})")
    for name, text in not_fitted(result):
        click.echo(f"not fitted: {name}: {text}")
    click.echo(f"report: {path / 'report.html'}")
    for label in result.manifest.get(UNFINISHED, ()):
        click.echo(f"not finished: {label}: select it again to finish it", err=True)
    for cell in result.manifest["cells"]:
        if cell["status"] == "failed":
            click.echo(f"failed: {cell['label']}: {cell['error']}", err=True)


def aligned(rows: Sequence[Sequence[str]], gap: int) -> list[str]:
    """Names to the left and numbers to the right of columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (" " * gap).join(
            [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]  # numbers below numbers
        )
        for row in rows
    ]
