"""``harness cache``: what the evidence store holds, and getting rid of it."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.results.store import Entry, EvidenceStore

_EPILOG = """\b
Examples:
  harness cache
  harness cache prune --older-than 30
  harness cache prune --most 5GB
  harness cache clear
"""
_SIZES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_FORM = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_SIZES)})")

_store = click.option("--store", metavar="FOLDER", help="Another store than the usual one.")


@click.group(epilog=_EPILOG, invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """The evidence store: what was trained, for whatever run, and is not trained again.

    It lies in the user's cache, or where HARNESS_STORE or --store say. Runs need nothing of it:
    each holds its own evidence.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@command.command()
@_store
def show(store: str | None) -> None:
    """How much it holds, a line for each defense."""
    found = _open(store)
    entries = found.entries()
    click.echo(f"store: {found.path}")
    names = dict.fromkeys(sorted(entry.name for entry in entries))
    width = max(map(len, names), default=0)
    for name in names:
        mine = [entry for entry in entries if entry.name == name]
        last = (time.time() - max(entry.used for entry in mine)) / 86400
        click.echo(f"  {name:{width}}  {_told(mine)}, last used {_days(last)}")
    click.echo(_told(entries) if entries else "empty")


@command.command()
@_store
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Not used since.")
@click.option("--most", metavar="SIZE", help="Leave at most so much, such as 500MB or 5GB.")
def prune(store: str | None, older_than: float | None, most: str | None) -> None:
    """Remove what was not used for long, and what remains of processes that were killed."""
    from harness.errors import UsageError

    if older_than is None and most is None:
        raise UsageError("nothing says what to remove: give --older-than DAYS or --most SIZE")
    seconds = None if older_than is None else 86400 * older_than
    size = None if most is None else _bytes(most)
    gone = _open(store).prune(older_than=seconds, most=size)
    click.echo(f"removed: {_told(gone) if gone else 'nothing'}")


@command.command()
@_store
def clear(store: str | None) -> None:
    """Remove all of it."""
    gone = _open(store, missing=True).clear()
    click.echo(f"removed: {_told(gone) if gone else 'nothing'}")


def _open(named: str | None, *, missing: bool = False) -> EvidenceStore:
    """The store, which none of this makes. Raises UsageError where there is none, but for one that
    may be ``missing``, or that nobody named and that no run has made yet.
    """
    from harness.errors import UsageError
    from harness.results.store import VARIABLE, EvidenceStore, store_path

    path = store_path(named)
    if path is None:
        raise UsageError(f"there is no store: --store or {VARIABLE} says off")
    store = EvidenceStore(path)
    if store.find() is None and not missing and (named or os.environ.get(VARIABLE)):
        raise UsageError(f"{path}: no store there")
    return store


def _told(entries: list[Entry]) -> str:
    """How many blocks of how many cells, and their size."""
    blocks, size = sum(e.blocks for e in entries), sum(e.bytes for e in entries)
    words = f"{len(entries):,} cell{'s' * (len(entries) != 1)}, "
    return words + f"{blocks:,} block{'s' * (blocks != 1)}, {_size(size)}"


def _size(size: float) -> str:
    unit = max(
        (unit for unit in _SIZES if size >= _SIZES[unit]), key=_SIZES.__getitem__, default="B"
    )
    return f"{size / _SIZES[unit]:.3g} {unit}"


def _days(days: float) -> str:
    return "today" if days < 1 else f"{days:,.0f} days ago"


def _bytes(text: str) -> int:
    from harness.errors import UsageError

    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--most {text!r} is no size; wanted a number and {', '.join(_SIZES)}")
    return int(float(match[1]) * _SIZES[match[2]])
