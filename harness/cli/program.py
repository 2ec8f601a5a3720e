"""The ``harness`` program: what ``--help`` says, and its commands."""

from __future__ import annotations

import click

from harness import __version__
from harness.cli.lazy import LazyGroup

_EPILOG = """\b
Exit codes: 0 fine, 1 a regression, 2 usage, 3 a cell failed (the others are
reported), 4 nothing comparable, 130 interrupted (the same command resumes).

\b
Examples:
  harness run
  harness run -d bagging -d "bagging[k=20,features=raw]" -d dp
  harness show bagging
"""


@click.group(
    name="harness",
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
