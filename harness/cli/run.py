"""``harness run``: plan, train, certify, report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from harness.running.session import Session

_Function = TypeVar("_Function", bound=Callable[..., Any])

_EPILOG = """\b
SUITE is a named comparison ("harness list" shows those that come with the
harness) or a TOML file with one; options that are given win over it.

\b
Examples:
  harness run
  harness run -d bagging -d "bagging[k=20,features=raw]" --threat any
  harness run strongest-mnist17 --seed 0 --seed 1 --seed 2
  harness run -d dp --dataset npz:my-data.npz --output results/mine
"""

_OPTIONS = (
    click.option(
        "-d",
        "--defense",
        "defenses",
        multiple=True,
        metavar="NAME[KEY=VALUE,...]",
        help="A defense and its parameters; repeatable.",
    ),
    click.option(
        "--data-root",
        type=click.Path(path_type=Path),
        help="Where data sets that are not part of the package lie or are downloaded to.",
    ),
    click.option(
        "--threat",
        "threats",
        multiple=True,
        metavar="NAME",
        help="any, modify, insert, delete or label-flip; repeatable. Default: modify, any and "
        "label-flip.",
    ),
    click.option(
        "--alpha",
        "alphas",
        type=float,
        multiple=True,
        help="Probability that a probabilistic defense has anything certified wrongly; repeatable. "
        "Default: 0.001.",
    ),
    click.option(
        "--seed",
        "seeds",
        type=int,
        multiple=True,
        help="Of everything random; repeatable. Default: 0.",
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="The run's folder; widened if it holds a run on the same data. Default: "
        "runs/DATASET-PLAN.",
    ),
    click.option(
        "--store",
        metavar="FOLDER",
        help="Where all runs keep what they train, or off. Default: HARNESS_STORE, else the "
        "user's cache.",
    ),
    click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="The most that a cell may take, else it fails; each runs in a process of its own. "
        "Default: no limit.",
    ),
    click.option(
        "--workers",
        type=int,
        metavar="N",
        help="Train in so many processes of this machine, with Dask. Default: in this one.",
    ),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Train on a Dask cluster that is there: tcp://HOST:PORT, or its scheduler file.",
    ),
    click.option(
        "--fresh", is_flag=True, help="Start over, whatever the folder and the store hold."
    ),
    click.option("--dry-run", is_flag=True, help="Show the plan and what it will take, and stop."),
)


def options(function: _Function) -> _Function:
    """The options of every command that trains."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(epilog=_EPILOG)
@click.argument("suite", required=False)
@click.option(
    "--dataset",
    metavar="NAME",
    help="See harness list; or npz:PATH, npy:FOLDER, csv:PATH?label=COLUMN. Default: mnist17.",
)
@options
def command(suite: str | None, **chosen: Any) -> None:
    """Train, certify and compare defenses.

    Without arguments: the paper's comparison on MNIST 1/7. What was trained is kept in the evidence
    store: another alpha, threat, certificate or folder trains nothing again.
    """
    dry_run = chosen.pop("dry_run")
    planned = plan(suite, **chosen)
    if dry_run:
        show(planned)
    elif execute(planned):
        raise SystemExit(3)


def plan(
    suite: str | None,
    *,
    defenses: Sequence[str],
    threats: Sequence[str],
    alphas: Sequence[float],
    seeds: Sequence[int],
    output: Path | None,
    **chosen: Any,
) -> Session:
    """What the options ask for, everything checked, with a folder; says what is left out."""
    from dataclasses import replace

    from harness.running.session import prepare

    planned = prepare(
        suite if suite or not defenses else list(defenses),
        defenses=defenses if suite else (),
        threats=threats or None,
        alpha=alphas or None,
        seed=seeds or None,
        output=output,
        **chosen,
    )
    for reason in planned.plan.left_out:
        click.echo(f"left out: {reason}", err=True)
    if output is None:
        planned = replace(planned, folder=Path("runs") / planned.plan.folder_name())
    return planned


def show(planned: Session) -> None:
    """What ``--dry-run`` shows."""
    from harness.cli.estimates import print_estimates
    from harness.cli.output import print_plan

    assert planned.folder is not None
    print_plan(planned.plan, planned.registry, planned.folder)
    print_estimates(planned)


def execute(planned: Session) -> bool:
    """Does what was planned and prints the summary. Returns whether a cell failed."""
    from harness.api import carry_out
    from harness.cli.output import print_summary

    words = ["harness", *sys.argv[1:]]
    try:
        run = carry_out(planned, words, progress=True)
    except KeyboardInterrupt:
        again = shlex.join(words[:1] + [w for w in words[1:] if w != "--fresh"])
        raise KeyboardInterrupt(f"finished blocks are kept; go on with: {again}") from None
    print_summary(run.folder)
    return any(cell.label in run.failures for cell in planned.plan.cells)
