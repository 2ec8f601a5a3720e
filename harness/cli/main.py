"""The entry point of ``harness``. It imports nothing that takes time before it can be interrupted.

The program itself is :mod:`harness.cli.program`.
"""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Entry point of the console script."""
    # Threads that wait for others let go of their core. Small batched operations are as fast, and
    # ten times faster where other programs want the cores too. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        # Where the terminal lacks a character, a question mark is better than a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from harness.cli.program import program

        program(prog_name="harness")
    except KeyboardInterrupt:  # during the imports; commands have their own words for it
        print("harness: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
