"""``harness compare BASE NEW``: what became worse, for people and for CI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.comparing.defaults import DEFAULT_GATES

if TYPE_CHECKING:
    from harness.comparing.comparison import Comparison
    from harness.results.reader import RunResult

_EPILOG = f"""\b
Gates are METRIC[@R]:CHANGE, the most that a metric may change for the worse:
  clean_accuracy, certified_accuracy, abstained   -0.5pp, -1%
  median_radius, max_radius                       -10%, -5
  train_s, predict_s, certify_s, total_s          +50%, +2s
  peak_rss_mb                                     +20%, +100MB
Without --fail-on: {DEFAULT_GATES[0]}
  (at r = 0, 10, 50, 100, 200, 500 and 1000), {", ".join(DEFAULT_GATES[1:])}.
What is given is added to these; "--fail-on none" drops them.

\b
Accuracies are compared example by example: a difference that chance alone makes
in one of twenty comparisons is noise, whatever its size. Seconds gate if both runs
come from the same kind of machine, else as multiples of the calibration that each
run measured; memory, only on the same kind of machine.

\b
Exit codes: 0 no regression, 1 a regression, 2 a mistake in the command,
4 nothing comparable.

\b
Examples:
  harness compare reports/mnist17 runs/mnist17-1a2b3c4d
  harness compare runs/before runs/after --fail-on certified_accuracy@50:-0.2pp
  harness compare reports/mnist17 runs/ci -d bagging --markdown summary.md --junit gate.xml
"""


@click.command(epilog=_EPILOG)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "-d",
    "--defense",
    "wanted",
    multiple=True,
    metavar="NAME",
    help="Compare only this cell, or all cells of this defense; repeatable.",
)
@click.option(
    "--fail-on",
    "gates",
    multiple=True,
    metavar="METRIC[@R]:CHANGE",
    help="A change for the worse that is an error; repeatable. See below.",
)
@click.option(
    "--allow-missing-baseline",
    is_flag=True,
    help="Pass, and say so, where BASE does not exist: the first run of a CI job.",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="For a job's summary page.")
@click.option("--junit", type=click.Path(path_type=Path), help="XML for CI test panels.")
@click.option("--json", "json_", type=click.Path(path_type=Path), help="Everything, for programs.")
@click.option("--figure", type=click.Path(path_type=Path), help="Both curves, .svg or .png.")
def command(
    base: Path,
    new: Path,
    wanted: tuple[str, ...],
    gates: tuple[str, ...],
    allow_missing_baseline: bool,
    markdown: Path | None,
    junit: Path | None,
    json_: Path | None,
    figure: Path | None,
) -> None:
    """Compare two runs, or their published reports: what became worse?

    Cells are paired by defense, parameters and data; each threat is compared by itself.
    """
    from rich.console import Console

    from harness.comparing import machine_readable, tables
    from harness.comparing.folders import compare_folders
    from harness.comparing.metrics import Rules
    from harness.comparing.terminal import ComparisonTable
    from harness.errors import UsageError
    from harness.results.files import write_output

    rules = Rules.parse(gates)
    if figure is not None and figure.suffix not in (".svg", ".png"):
        raise UsageError(f"--figure {figure}: a figure is .svg or .png")
    found, runs = compare_folders(base, new, rules, wanted, allow_missing=allow_missing_baseline)
    outputs: tuple[tuple[Path | None, Callable[[Comparison], str]], ...] = (
        (markdown, tables.markdown),
        (junit, machine_readable.as_junit),
        (json_, machine_readable.as_json),
    )
    for path, make in outputs:
        if path is not None:
            write_output(path, make(found).encode("utf-8", "backslashreplace"))
    if figure is not None:
        _draw(figure, found, runs)
    Console(highlight=False).print(ComparisonTable(found))
    raise SystemExit(found.exit_code)


def _draw(path: Path, found: Comparison, runs: tuple[RunResult, RunResult] | None) -> None:
    from harness.comparing.figure import figure
    from harness.report.figures import render
    from harness.results.files import write_output

    if runs is None or not any(t.changes for cell in found.cells for t in cell.threats):
        click.echo(f"no figure: nothing was compared, so {path} is not written", err=True)
        return
    write_output(path, render(figure(found, *runs))[path.suffix.removeprefix(".")])
