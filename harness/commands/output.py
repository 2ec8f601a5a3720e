"""What commands print on the terminal: the plan, the summary of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.plugins import Registry


def print_plan(plan: Plan, registry: Registry, path: Path) -> None:
    """What ``--dry-run`` shows: cells, blocks, threats, where the results would go."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from harness.plan import learner_of

    data = plan.dataset
    click.echo(
        f"{data.name}: {data.n_train:,} training and {data.n_test:,} test examples, "
        f"{data.n_labels} labels"
    )
    click.echo(f"threats {', '.join(plan.threats)}; alpha {plan.alpha:g}; seed {plan.seed}")
    click.echo(f"output {path}")
    table = Table(box=None)
    for title in ("defense", "base models", "blocks", "covers", "evidence"):
        table.add_column(title, overflow="fold")
    for cell in plan.cells:
        if cell.defense is None:
            table.add_row(escape(cell.label), "", "", "", escape(cell.error or ""))
            continue
        blocks = cell.defense.blocks(plan.shape, lambda spec: learner_of(registry, spec))
        covered = [t.value for t in plan.threats if t in cell.defense.covers()]
        table.add_row(
            escape(cell.label),
            f"{sum(map(len, blocks)):,}",
            str(len(blocks)),
            ", ".join(covered) or "none of these threats",
            cell.key,
        )
    Console(highlight=False).print(table)


def print_summary(path: Path) -> None:
    """The table at the end of a run, and where everything is."""
    from rich.console import Console

    from harness.report.load import load_run
    from harness.report.tables import summary_table

    result = load_run(path)
    Console(highlight=False).print(summary_table(result))
    click.echo(f"report: {path / 'report.html'}")
    for cell in result.manifest["cells"]:
        if cell["status"] == "failed":
            click.echo(f"failed: {cell['label']}: {cell['error']}", err=True)
