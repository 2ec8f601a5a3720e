"""``bagging[k=10|20|50,features=raw|hog]``: every combination of alternatives and of ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, DecimalException
from itertools import product
from math import prod

from harness.errors import UsageError
from harness.plugins.selection import Selection, split

_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")
_MOST = 1000
"""Cells of one sweep, and values of one range: more were hardly meant."""


def expand_all(texts: Iterable[str]) -> list[str]:
    """What all of the texts stand for, in their order. Raises UsageError as :func:`expand`, also
    for more than a sweep may have.
    """
    cells = [cell for text in texts for cell in expand(text)]
    if len(cells) > _MOST:
        raise UsageError(f"the sweep has {len(cells):,} cells; allowed: {_MOST:,}")
    return cells


def expand(text: str) -> Iterator[str]:
    """The selections that ``NAME[KEY=VALUE|VALUE,...]`` stands for, the last key moving fastest.

    A value ``10..100:10`` is a range with both ends, and ``10..20`` one in steps of 1. A | inside
    brackets or quotes is part of its value. Raises UsageError for an alternative that is empty or
    given twice, a range without values, too many cells, and for what is no selection at all.

    >>> list(expand("bagging[k=10|20,learner='a|b']"))
    ["bagging[k=10,learner='a|b']", "bagging[k=20,learner='a|b']"]
    >>> list(expand("dp[epsilon=0.1..0.3:0.1]@seed=0|1"))[:3]
    ['dp[epsilon=0.1]@seed=0', 'dp[epsilon=0.1]@seed=1', 'dp[epsilon=0.2]@seed=0']
    """
    selection = Selection.parse(text)
    inside = [_alternatives(key, value, text) for key, value in selection.parameters]
    after = [_alternatives(key, value, text) for key, value in selection.settings]
    count = prod(map(len, [*inside, *after]))
    if count > _MOST:
        raise UsageError(f"{text!r} stands for {count:,} cells; allowed: {_MOST:,}")
    for chosen in product(*inside, *after):
        parameters, settings = chosen[: len(inside)], chosen[len(inside) :]
        brackets = f"[{','.join(parameters)}]" if parameters else ""
        yield selection.name + brackets + ("@" + ",".join(settings) if settings else "")


def _alternatives(key: str, value: str, text: str) -> list[str]:
    parts = [part.strip() for part in split(value, "|", text)]
    if not all(parts):
        raise UsageError(f"{key} has an empty alternative in {text!r}")
    values = [one for part in parts for one in _range(key, part, text)]
    twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
    if twice is not None:
        raise UsageError(f"{key}={twice} is given twice in {text!r}")
    return [f"{key}={one}" for one in values]


def _range(key: str, value: str, text: str) -> list[str]:
    """The values of ``FIRST..LAST:STEP``; anything else is one value."""
    found = _RANGE.fullmatch(value)
    if found is None:
        return [value]
    # In decimals: 0.1..0.3:0.1 has 0.3 among its values, and calls it so.
    try:
        first, last, step = (Decimal(number or "1") for number in found.groups())
        steps = (last - first) / step if step else Decimal(-1)
    except DecimalException:  # beyond what decimals can be
        raise UsageError(
            f"{key}={value} in {text!r} is too large; allowed: {_MOST:,} values"
        ) from None
    if step <= 0 or last < first:
        raise UsageError(
            f"{key}={value} in {text!r} has no values; wanted FIRST..LAST:STEP, rising"
        )
    if steps >= _MOST:
        shown = f"{int(steps) + 1:,}" if steps < 10**9 else f"more than {10**9:,}"
        raise UsageError(f"{key}={value} in {text!r} has {shown} values; allowed: {_MOST:,}")
    count = int(steps) + 1
    return [f"{first + i * step}" for i in range(count)]
