"""The ``harness`` program."""

from __future__ import annotations

import os
import sys

import click

from harness import __version__
from harness.commands.lazy import LazyGroup

_EPILOG = """\b
Examples:
  harness run
  harness run -d bagging -d "bagging[k=20,features=raw]" -d dp
  harness show bagging

\b
Exit codes: 0 fine, 2 usage, 3 a cell failed (the others are reported),
130 interrupted (the same command resumes).
"""


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="harness")
def program() -> None:
    """Compare certified defenses against data poisoning.

    A certified defense proves, for each test example, that its prediction stays the same as long as
    at most r training examples were poisoned.
    """


def main() -> None:
    """Entry point of the console script."""
    # Threads that wait for others let go of their core. Small batched operations are as fast, and
    # ten times faster where other programs want the cores too. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        program(prog_name="harness")
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
