"""``harness certify``: certificates from votes that somebody else trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.foreign.certify import Certified

_EPILOG = """\b
FILE is one of
  .npz   votes (e, c): how many base models vote for each of the c labels,
         for each of the e test examples; labels (e,), the true ones, if they
         are known; and what else the defense needs. Or one array x: the
         votes and, as its last column, the true label.
  .npy   that one array, (e, c + 1).
  .csv   the same columns without a header; or, below a header
         votes_0,...,votes_9, the votes alone, and a column label if the
         labels are known.
"harness show NAME" lists what a defense needs. Needed numbers that the file
does not hold are given with --set.

\b
Examples:
  harness certify bagging --votes votes.npz --n-train 60000 --set k=100
  harness certify dpa --votes votes.csv --threat any --threat label-flip
"""


@click.command(epilog=_EPILOG)
@click.argument("defense", metavar="DEFENSE")
@click.option(
    "--votes",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the base models said; see below.",
)
@click.option("--n-train", type=int, help="Training examples that the base models were drawn from.")
@click.option("--n-labels", type=int, help="Labels, c. Default: as FILE shows.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the defense; repeatable. As DEFENSE[KEY=VALUE].",
)
@click.option(
    "--threat",
    "threats",
    multiple=True,
    default=("any",),
    show_default=True,
    metavar="NAME",
    help="any, modify, insert, delete or label-flip; repeatable.",
)
@click.option(
    "--alpha",
    type=float,
    default=0.001,
    show_default=True,
    help="Probability that anything that is called certified is wrong.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the certificates and a report of them. Default: only a table.",
)
@click.option("--fresh", is_flag=True, help="Start over, whatever the folder holds.")
def command(
    defense: str,
    votes: Path,
    n_train: int | None,
    n_labels: int | None,
    settings: tuple[str, ...],
    threats: tuple[str, ...],
    alpha: float,
    output: Path | None,
    fresh: bool,
) -> None:
    """Certificates from votes that somebody else trained.

    Trains nothing. The folder is that of a run, for report, compare and publish, and holds
    certificates.csv (example, prediction, radius; a radius of -1 abstains; with several threats a
    column threat before them). Where the true labels are not known, its curves count certified
    predictions, right or wrong.
    """
    from harness.foreign.case import choose, settle
    from harness.foreign.certify import certify, write
    from harness.foreign.votes import read_votes
    from harness.plugins.registry import load_registry
    from harness.report.write import write_report
    from harness.threats import parse_threat

    asked = [parse_threat(name) for name in dict.fromkeys(threats)]
    choice = choose(load_registry(), defense, settings)
    found = read_votes(votes)
    case = settle(choice, found, votes, n_train=n_train, n_labels=n_labels)
    if n_labels is None and "votes" not in found.arrays:
        c = case.evidence.n_labels
        click.echo(f"{c} labels, those that occur in {votes}; if there are more: --n-labels C")
    if case.ignored:
        click.echo(f"ignored, not read by {case.cell.name}: {', '.join(case.ignored)}")
    result = certify(case, asked, alpha)
    if output is not None:
        write(result, output, ["harness", *sys.argv[1:]], fresh=fresh)
        write_report(output)
    _print(result)
    source = click.get_current_context().get_parameter_source("alpha")
    if result.deterministic and source is click.core.ParameterSource.COMMANDLINE:
        click.echo("alpha plays no part: nothing was sampled")
    if output is not None:
        click.echo(f"certificates: {output / 'certificates.csv'}")
        click.echo(f"report: {output / 'report.html'}")


def _print(result: Certified) -> None:
    """What was proved, a row for each threat, in 80 columns."""
    from harness.proofs.curves import SUMMARY_R
    from harness.report.words import percent, radius

    case = result.case
    known = case.labels is not None
    click.echo(f"{case.cell.label}: {case.n_test:,} test examples, {case.evidence.n_labels} labels")
    covered = [(one.threat, one.certificate, one.curve) for one in result.proved]
    reached = max(curve.max_radius for _, _, curve in covered if curve)
    at = [r for r in SUMMARY_R if r <= reached] or [0]
    title = "certified %" if known else "radius >= r, %"
    accuracies = [[title, *(["clean"] if known else []), *(f"r={r}" for r in at)]]
    radii = [["", "median r", "largest"]]
    for threat, _, curve in covered:
        if curve is None:
            continue
        values = [*([curve.clean_accuracy] if known else []), *(curve.at(r) for r in at)]
        accuracies.append([threat.value, *(percent(value, 1).rstrip("%") for value in values)])
        radii.append([threat.value, radius(curve.median_radius), radius(curve.max_radius)])
    for line in _table(accuracies, radii):
        click.echo(line)
    for threat, certificate, _ in covered:
        if certificate is None:
            click.echo(f"not covered: {threat.value}")
    guarantees = dict.fromkeys(str(c.guarantee) for _, c, _ in covered if c is not None)
    click.echo(f"guarantee: {', '.join(guarantees)}")


_WIDTH = 80


def _table(left: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> list[str]:
    """Both tables side by side if that fits, else one below the other; each row starts with its
    name.
    """
    from harness.cli.output import aligned

    beside = [[*a, *b[1:]] for a, b in zip(left, right, strict=True)]
    for gap in (2, 1):
        lines = aligned(beside, gap)
        if max(map(len, lines)) <= _WIDTH:
            return lines
    return [*aligned(left, 2), *aligned(right, 2)]
