"""``harness sweep``: every combination of the parameters' alternatives, as one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.run import execute, options, plan, show

_EPILOG = """\b
Examples:
  harness sweep -d "bagging[k=10|20|50|100]"
  harness sweep -d "bagging[k=10..100:10]" --seed 0 --seed 1 --seed 2
  harness sweep -d "bagging[k=20|50,features=raw|hog]" -d "dp[epsilon=0.1|0.3]" --threat any
  harness sweep -d "dpa[n_models=500|1000]" --dataset mnist17 --dataset npz:mine.npz
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="As in run; repeatable, a run for each. Default: mnist17.",
)
@options
def command(datasets: tuple[str, ...], **chosen: Any) -> None:
    """Train and compare every combination of parameters.

    As run, but a parameter may have alternatives, NAME[KEY=VALUE|VALUE,...], or a range,
    NAME[KEY=FIRST..LAST:STEP]. The report shows radius, accuracy and cost against the parameter,
    and which combination proves most at which r.
    """
    from harness.errors import UsageError
    from harness.plugins.alternatives import expand_all
    from harness.results.cells import file_name

    if not chosen["defenses"]:
        raise UsageError('nothing to sweep over: give -d "NAME[KEY=VALUE|VALUE]"')
    chosen["defenses"] = expand_all(chosen["defenses"])
    dry_run, output = chosen.pop("dry_run"), chosen.pop("output")
    several = len(datasets) > 1
    plans = []
    for dataset in datasets or (None,):
        folder = Path(output) / file_name(dataset) if output and several and dataset else output
        plans.append(plan(None, dataset=dataset, output=folder, **chosen))
    folders = [planned.folder for planned in plans]
    for planned in plans:
        if folders.count(planned.folder) > 1:
            raise UsageError(f"two of the data sets would both go to {planned.folder}")
    failed = False
    for planned in plans:
        if several:
            click.echo(f"{planned.plan.dataset.name}:")
        if dry_run:
            show(planned)
        else:
            failed = execute(planned) or failed
    if failed:
        raise SystemExit(3)
