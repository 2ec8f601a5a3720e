"""``harness sweep``: every combination of the parameters' alternatives, as one run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import click

from harness.cli.run import execute, options

_EPILOG = """\b
Examples:
  harness sweep -d "bagging[k=10|20|50|100]"
  harness sweep -d "bagging[k=20|50,features=raw|hog]" -d "dp[epsilon=0.1|0.3]" --threat any
"""


@click.command(epilog=_EPILOG)
@options
def command(defenses: tuple[str, ...], **chosen: Any) -> None:
    """Train and compare every combination of parameters.

    As run, but a parameter may have alternatives: NAME[KEY=VALUE|VALUE,...]. The report adds the
    Pareto front: which combination proves most at which r.
    """
    from harness.errors import UsageError

    if not defenses:
        raise UsageError('nothing to sweep over: give -d "NAME[KEY=VALUE|VALUE]"')
    execute([cell for text in defenses for cell in expand(text)], **chosen)


def expand(text: str) -> Iterator[str]:
    """The selections that ``NAME[KEY=VALUE|VALUE,...]`` stands for, the last key moving fastest.

    A | inside brackets or quotes is part of its value. Raises UsageError for an alternative that is
    empty or given twice, and for what is no selection at all.

    >>> list(expand("bagging[k=10|20,learner='a|b']"))
    ["bagging[k=10,learner='a|b']", "bagging[k=20,learner='a|b']"]
    """
    from harness.plugins.selection import Selection

    selection = Selection.parse(text)
    if not selection.parameters:
        yield selection.name
        return
    choices = [_alternatives(key, value, text) for key, value in selection.parameters]
    for chosen in product(*choices):
        yield f"{selection.name}[{','.join(chosen)}]"


def _alternatives(key: str, value: str, text: str) -> list[str]:
    from harness.errors import UsageError
    from harness.plugins.selection import split

    values = [part.strip() for part in split(value, "|", text)]
    if not all(values):
        raise UsageError(f"{key} has an empty alternative in {text!r}")
    twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
    if twice is not None:
        raise UsageError(f"{key}={twice} is given twice in {text!r}")
    return [f"{key}={one}" for one in values]
