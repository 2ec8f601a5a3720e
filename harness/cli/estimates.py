"""What ``--dry-run`` says of time and memory, on standard error: it is another each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.running.session import Session

_SECONDS, _MINUTES = 100, 6000
"""Up to so many seconds they are told in seconds, and in minutes."""


def print_estimates(planned: Session) -> None:
    """A line for each cell as soon as it is known, and what all take together."""
    click.echo("estimated for this machine and one process, by timing a few models:", err=True)
    total, unknown = 0.0, False
    for one in planned.estimates():
        if one.seconds is None:
            unknown = True
            click.echo(f"{one.name}: {one.how}", err=True)
            continue
        total += one.seconds
        memory = "" if one.megabytes is None else f", {one.megabytes / 1000:.1f} GB"
        said = about(one.seconds) if one.seconds else "nothing to train"
        click.echo(f"{one.name}: {said}{memory} ({one.how})", err=True)
    rest = ", and what is unknown" if unknown else ""
    click.echo(f"together: {about(total)}{rest}; certifying and the report come on top", err=True)


def about(seconds: float) -> str:
    """So much time, roughly.

    >>> about(0.2), about(12.4), about(2400), about(9000)
    ('under 1 s', '~12 s', '~40 min', '~2.5 h')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < _SECONDS:
        return f"~{seconds:.0f} s"
    return f"~{seconds / 60:.0f} min" if seconds < _MINUTES else f"~{seconds / 3600:.1f} h"
