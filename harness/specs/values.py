"""Checks of parameters, for the constructors of learners and features."""

from __future__ import annotations

import math

from harness.errors import UsageError


def number(
    owner: str, parameter: str, value: object, *, most: float = math.inf, zero: bool = False
) -> float:
    """``value`` as a float; UsageError where it is not a finite number in (0, most], nor ``zero``
    and 0.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (0 < value < math.inf or (zero and value == 0))
        or value > most
    ):
        bound = f", <= {most:g}" if most < math.inf else ""
        raise UsageError(
            f"{owner}: {parameter}={value!r} is not allowed; wanted a number "
            f"{'>=' if zero else '>'} 0{bound}"
        )
    return float(value)


def integer(
    owner: str, parameter: str, value: object, *, least: int = 1, most: float = math.inf
) -> int:
    """``value`` as an int; UsageError where it is not a whole number in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        bound = f", <= {most:g}" if most < math.inf else ""
        raise UsageError(
            f"{owner}: {parameter}={value!r} is not allowed; wanted an integer >= {least}{bound}"
        )
    return value
