"""Progress on a terminal as a bar with the remaining time, elsewhere as plain lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column


class Shown(Protocol):
    """What the runner tells, plus notes of the command."""

    def start(self, cell: str, total: int, done: int) -> None: ...
    def advance(self, models: int) -> None: ...
    def finish(self, cell: str, seconds: float, error: str | None) -> None: ...
    def note(self, text: str) -> None: ...


class PlainProgress:
    """A line when a cell begins and one when it ends, on what is standard error now.

    While a cell runs, ``sys.stderr`` is its log. ``of``: what a cell consists of.
    """

    def __init__(self, of: str = "base models") -> None:
        self._stream, self._of = sys.stderr, of

    def _say(self, text: str) -> None:
        click.echo(text, file=self._stream)

    def start(self, cell: str, total: int, done: int) -> None:
        kept = f", {done:,} of them from before" if done else ""
        self._say(f"{cell}: {total:,} {self._of}{kept}")

    def advance(self, models: int) -> None:
        pass

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        outcome = f"failed: {error}" if error else "done"
        self._say(f"{cell}: {outcome} ({seconds:.1f} s)")

    def note(self, text: str) -> None:
        self._say(text)

    def working(self, on: str, done: int, total: int) -> None:
        """So many of the examples that ``on`` is computed of are done."""
        self._say(f"{on}: {done:,} of {total:,} examples")


class BarProgress:
    """A bar for each cell, with the time that it will still take."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._works: dict[str, TaskID] = {}

    def start(self, cell: str, total: int, done: int) -> None:
        self._task = self._bars.add_task(_escaped(cell), total=total or 1, completed=done)

    def advance(self, models: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, models)

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        if self._task is None:
            return
        if error:
            self._bars.console.print(f"{cell}: failed: {error}", markup=False, highlight=False)
            self._bars.remove_task(self._task)
        else:
            total = next(one.total for one in self._bars.tasks if one.id == self._task)
            self._bars.update(self._task, completed=total)
        self._task = None

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def working(self, on: str, done: int, total: int) -> None:
        """A bar of its own for what is computed of so many examples."""
        if on not in self._works:
            self._works[on] = self._bars.add_task(_escaped(on), total=total)
        self._bars.update(self._works[on], completed=done, total=total)
        if done == total:
            self._bars.remove_task(self._works.pop(on))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


@contextmanager
def show_progress(of: str = "base models") -> Iterator[Shown]:
    """Bars on a terminal, plain lines on standard error where there is none; ``of``: what is told
    of, so many for each cell.
    """
    console = Console(file=sys.stderr)  # as it is now: while a cell runs, it is the cell's log
    if not console.is_terminal:
        yield PlainProgress(of)
        return
    # A long label leaves the numbers beside it their room.
    label = Column(no_wrap=True, overflow="ellipsis", max_width=max(24, console.width - 56))
    columns = (
        TextColumn("{task.description}", table_column=label),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield BarProgress(bars)
