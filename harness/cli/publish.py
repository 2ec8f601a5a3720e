"""``harness publish RUN FOLDER``: the small, diffable form of a run, to commit as a baseline."""

from __future__ import annotations

from pathlib import Path

import click

_EPILOG = """\b
Examples:
  harness publish runs/mnist17-1a2b3c4d reports/mnist17
  git add reports/mnist17
"""


@click.command(epilog=_EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def command(run: Path, folder: Path) -> None:
    """Write the small, diffable form of a finished run, to commit as a baseline.

    FOLDER gets README.md with the figures, curves.csv, summary.csv, certificates.csv (a line for
    each test example) and manifest.json. A report that was published there before is replaced.
    """
    from harness.report.publish import publish

    written = publish(run, folder)
    size = sum(path.stat().st_size for path in written)
    click.echo(f"published: {folder} ({len(written)} files, {size / 1e3:,.0f} kB)")
