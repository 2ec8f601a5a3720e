"""``harness run``: plan, train, certify, report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])

_EPILOG = """\b
Examples:
  harness run
  harness run -d bagging -d "bagging[k=20,features=raw]" --threat any
  harness run -d dp --dataset npz:my-data.npz --output results/mine
"""

_TRAINED_AGAIN = "its code or a library changed since it was trained here; training it again"

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
        "--dataset", default="mnist17", show_default=True, metavar="NAME", help="Or npz:PATH."
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
        default=("modify", "any", "label-flip"),
        show_default=True,
        metavar="NAME",
        help="any, modify, insert, delete or label-flip; repeatable.",
    ),
    click.option(
        "--alpha",
        type=float,
        default=0.001,
        show_default=True,
        help="Probability that a probabilistic defense has anything certified wrongly.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of everything random."),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="The run's folder; resumed if it holds the same run. Default: runs/DATASET-PLAN.",
    ),
    click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="The most that a cell may take, else it fails; each runs in a process of its own. "
        "Default: no limit.",
    ),
    click.option("--fresh", is_flag=True, help="Start over, whatever the folder holds."),
    click.option("--dry-run", is_flag=True, help="Show the plan and stop."),
)


def options(function: _Function) -> _Function:
    """The options of ``harness run``, for every command that trains."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(epilog=_EPILOG)
@options
def command(defenses: tuple[str, ...], **chosen: Any) -> None:
    """Train, certify and compare defenses.

    Without arguments: the paper's comparison on MNIST 1/7. What was trained is kept in the output
    folder; another alpha or threat for the same run trains nothing.
    """
    execute(defenses, **chosen)


def execute(
    defenses: Sequence[str],
    *,
    dataset: str,
    data_root: Path | None,
    threats: Sequence[str],
    alpha: float,
    seed: int,
    device: str,
    output: Path | None,
    timeout: float | None,
    fresh: bool,
    dry_run: bool,
) -> None:
    """Does what the options say. Raises SystemExit(3) where a cell failed."""
    from harness.cli.output import print_plan, print_summary
    from harness.cli.progress import show_progress
    from harness.plugins.registry import load_dataset, load_registry
    from harness.report.write import write_report
    from harness.results.folder import open_run
    from harness.results.writer import write_manifest, write_results
    from harness.running.machine import choose_device
    from harness.running.plan import make_plan
    from harness.running.runner import Runner
    from harness.threats import parse_threat

    _check_timeout(timeout)
    parsed = [parse_threat(name) for name in threats]
    registry = load_registry()
    chosen = choose_device(device)
    plan = make_plan(
        registry,
        defenses,
        load_dataset(registry, dataset, data_root),
        threats=parsed,
        alpha=alpha,
        seed=seed,
    )
    for reason in plan.left_out:
        click.echo(f"left out: {reason}", err=True)
    path = output or Path("runs") / plan.folder_name()
    if dry_run:
        print_plan(plan, registry, path)
        return
    words = ["harness", *sys.argv[1:]]
    with open_run(path, plan.identity(), fresh=fresh) as folder, show_progress() as progress:
        for label in folder.drop_stale({cell.label: cell.stem for cell in plan.cells}):
            progress.note(f"{label}: {_TRAINED_AGAIN}")
        write_manifest(folder, plan, chosen, words)
        try:
            results = Runner(plan, folder, registry, chosen, progress, timeout).run()
        except KeyboardInterrupt:
            again = shlex.join(words[:1] + [w for w in words[1:] if w != "--fresh"])
            raise KeyboardInterrupt(f"finished blocks are kept; go on with: {again}") from None
        write_results(folder, plan, results, chosen, words)
        progress.note("drawing the report")
        write_report(path)
    print_summary(path)
    if any(result.error for result in results):
        raise SystemExit(3)


def _check_timeout(timeout: float | None) -> None:
    from threading import TIMEOUT_MAX

    from harness.errors import UsageError

    if timeout is not None and not 0 < timeout <= TIMEOUT_MAX:
        raise UsageError(f"--timeout must be a number of seconds above 0, found {timeout:g}")
