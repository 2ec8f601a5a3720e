"""How a command ends: whatever is wrong is one line, with an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from harness.errors import HarnessError, unknown

_HELP: type[Exception] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What newer versions of click raise to show the help of a group without arguments."""


@contextmanager
def one_line() -> Iterator[None]:
    """Says in one line what went wrong inside, and ends the program: 2 for a mistake in the command
    or what else the error says, 130 for an interruption.
    """
    try:
        yield
    except HarnessError as error:
        _end(str(error), error.exit_code)
    except click.ClickException as error:
        if isinstance(error, _HELP):
            raise
        _end(_explain(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        _end("; ".join(["interrupted", *map(str, interrupt.args)]), 130)


def _end(text: str, exit_code: int) -> NoReturn:
    click.echo(f"harness: {text}", err=True)
    raise click.exceptions.Exit(exit_code)


def _explain(error: click.ClickException) -> str:
    """click's message on one line; with the options there are, or where to read about them."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and context is not None:
        options = [text for p in context.command.get_params(context) for text in p.opts]
        names = [text for text in options if text.startswith("--")]
        return str(unknown("option", error.option_name, names))
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = text[:1].lower() + text[1:]
    return f"{text}; see {context.command_path} --help" if context is not None else text
