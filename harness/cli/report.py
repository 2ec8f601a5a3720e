"""``harness report RUN...``: draw again, or several runs in one."""

from __future__ import annotations

from pathlib import Path

import click

_EPILOG = """\b
Examples:
  harness report runs/mnist17-1a2b3c4d
  harness report runs/first runs/second --output both
"""


@click.command(epilog=_EPILOG)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where a report of several runs goes.",
)
def command(runs: tuple[Path, ...], output: Path | None) -> None:
    """Draw the report of a run again, or of several runs in one."""
    from harness.cli.output import print_summary
    from harness.errors import UsageError
    from harness.report.write import write_combined, write_report
    from harness.results.reader import load_run

    if output is None and len(runs) > 1:
        raise UsageError("several runs need --output, the folder for the report of all of them")
    if output is None:
        write_report(runs[0])
        print_summary(runs[0])
        return
    write_combined([load_run(run) for run in runs], output)
    print_summary(output)
