"""``harness attack``: what attacks reach, beside what is proved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.attacking.told import Attacks

_EPILOG = """\b
RUN is the folder of a finished run. Without it, the defenses that -d names are
run first, as by "harness run".

\b
Examples:
  harness attack runs/mnist17-1a2b3c4d
  harness attack -d "bagging[k=10]" -d knn --threat insert --examples 50
  harness attack runs/mnist17-1a2b3c4d --attack copies --attack nearest
  harness attack --replay runs/mnist17-1a2b3c4d/attacks/knn-....npz
"""


@click.command(epilog=_EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "-d",
    "--defense",
    "defenses",
    multiple=True,
    metavar="NAME[KEY=VALUE,...]",
    help="Without RUN, what is run and attacked; with RUN, which of its cells. Repeatable.",
)
@click.option("--dataset", metavar="NAME", help="Without RUN, as harness run has it.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Where data sets that are not part of the package lie.",
)
@click.option(
    "--threat",
    "threats",
    multiple=True,
    metavar="NAME",
    help="any, modify, insert, delete or label-flip; repeatable. Default: those of the run.",
)
@click.option(
    "--examples",
    default="100",
    show_default=True,
    metavar="N",
    help="Test examples that are attacked, drawn among those that are predicted rightly with a "
    "radius; or all.",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME",
    help="See harness list; own is what a defense brings itself. Repeatable. Default: all.",
)
@click.option(
    "--budget",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="What each defense and threat may take.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the choice of test examples."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Attack in so many processes of this machine, with Dask. Default: in this one.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Attack on a Dask cluster that is there: tcp://HOST:PORT, or its scheduler file.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Without RUN, the run's folder. Default: runs/DATASET-PLAN.",
)
@click.option(
    "--store",
    metavar="FOLDER",
    help="The evidence store, or off. Default: HARNESS_STORE, else the user's cache.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Carry one attack out again, from its file of poisoned rows.",
)
def command(run: Path | None, replay: Path | None, **chosen: Any) -> None:
    """What attacks reach, beside what is proved.

    Training sets are really poisoned and the defenses really trained on them. An attack of a size
    that is proved impossible, and that succeeds, is told as REFUTED; the exit code is then 1.
    """
    if replay is not None:
        _replay(replay, chosen)
        return
    from harness.api import attack
    from harness.attacking.session import Wishes
    from harness.attacking.told import said_of
    from harness.errors import UsageError
    from harness.plugins.registry import load_registry
    from harness.results.reader import load_run

    defenses, output = chosen.pop("defenses"), chosen.pop("output")
    dataset, data_root = chosen.pop("dataset"), chosen["data_root"]
    # What is wrong is said before anything is trained.
    registry, examples = load_registry(), _examples(chosen["examples"])
    Wishes(examples, (), chosen["attacks"], (), chosen["budget"], chosen["seed"]).check(registry)
    if run is None and not defenses:
        raise UsageError("nothing to attack: name a run's folder, or a defense with -d")
    if run is not None and (dataset is not None or output is not None):
        raise UsageError("--dataset and --output are for -d without RUN; the run has its own")
    if run is None:
        run = _run(defenses, dataset, output, chosen)
        defenses = ()
    found = attack(
        run,
        cells=defenses,
        threats=chosen["threats"] or None,
        examples=examples,
        attacks=chosen["attacks"],
        budget=chosen["budget"],
        seed=chosen["seed"],
        device=chosen["device"],
        workers=chosen["workers"],
        scheduler=chosen["scheduler"],
        store=chosen["store"],
        data_root=data_root,
        progress=True,
    )
    _print(found)
    if found.refuted:
        result = load_run(found.folder)
        for row in found.refuted:
            click.echo(said_of(row, result))
        raise SystemExit(1)
    if found.failures:
        raise SystemExit(3)


def _run(defenses: tuple[str, ...], dataset: str | None, output: Path | None, chosen: Any) -> Path:
    """The folder of the run of those defenses, made now or kept from before."""
    from dataclasses import replace

    from harness.api import carry_out
    from harness.running.session import prepare

    planned = prepare(
        list(defenses),
        dataset=dataset,
        data_root=chosen["data_root"],
        threats=chosen["threats"] or None,
        device=chosen["device"],
        workers=chosen["workers"],
        scheduler=chosen["scheduler"],
        store=chosen["store"],
        output=output,
    )
    if output is None:
        planned = replace(planned, folder=Path("runs") / planned.plan.folder_name())
    return carry_out(planned, ["harness", *sys.argv[1:]], progress=True).folder


def _examples(text: str) -> int | None:
    from harness.errors import UsageError

    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--examples {text!r} is not allowed; wanted a number, or all") from None


def _print(found: Attacks) -> None:
    """What was reached, a row for each defense and threat."""
    from harness.cli.output import aligned
    from harness.report import reached, reached_tables
    from harness.results.reader import load_run

    told = reached.attacks(load_run(found.folder))
    if told is not None:
        for head, rows in (
            (reached_tables.COLUMNS, reached_tables.rows(told)),
            (reached_tables.JOINT_COLUMNS, reached_tables.joint_rows(told)),
        ):
            for line in aligned([head, *rows], 2) if rows else ():
                click.echo(line)
    if not found.rows and not found.joint:
        click.echo(
            "nothing was attacked: no cell has a radius under these threats, of a test example "
            "that is predicted rightly; or --budget was over before"
        )
        return
    click.echo(f"\nattacks: {found.folder / 'attacks.csv'}")
    click.echo(f"report: {found.folder / 'report.html'}")


def _replay(file: Path, chosen: Any) -> None:
    from harness.attacking.replay import JointReplayed, replay
    from harness.plugins.registry import load_registry
    from harness.running.machine import choose_device

    device = choose_device(chosen["device"])
    found = replay(file, load_registry(), device, data_root=chosen["data_root"])
    told = found.told
    if isinstance(found, JointReplayed):
        click.echo(f"{told['defense']}, {told['threat']}, all test examples at once")
        click.echo(f"  trained on the clean set: accuracy {found.clean:.4f}")
        click.echo(
            f"  {told['attack']} with {found.size:,} leaves {found.left:.4f}; "
            f"{found.certified:.4f} is proved"
        )
        if found.refuted:
            click.echo("REFUTED: less is left than is proved")
            raise SystemExit(1)
        return
    click.echo(f"{told['defense']}, {told['threat']}, test example {told['example']}")
    sides = [("clean", found.before), ("poisoned", found.after)]
    for name, (label, radius) in sides[: 1 if found.failure else 2]:
        proved = f"radius {radius:,}" if radius >= 0 else "nothing proved"
        click.echo(f"  trained on the {name} set: predicts {label}, {proved}")
    if found.failure:
        click.echo(f"  it fails on the poisoned set: {found.failure}")
    outcome = "turns it" if found.turned else "does not turn it"
    click.echo(f"  {told['attack']} with {found.size:,} {outcome}")
    if found.refuted:
        click.echo(
            f"REFUTED: {found.before[1]:,} is proved, and {found.size:,} turn the prediction"
        )
        raise SystemExit(1)
