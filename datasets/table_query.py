"""What may follow the path of a table: ``csv:PATH?label=NAME&test=PATH``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from harness.errors import UsageError, unknown

_FORM = "PATH?label=NAME&test=PATH&labels=A,B&range=LOW,HIGH, or split=FRACTION&seed=N for test"
KEYS = ("label", "labels", "range", "seed", "split", "test")


@dataclass(frozen=True)
class TableQuery:
    """Which table, and what is said of it.

    ``label``: the column of labels. ``test``: a table with the test examples; without it a
    ``split`` in (0, 1) of the examples is for testing, drawn with ``seed``. ``labels``: all that an
    example can have, in the order of their codes. ``range``: the lowest and the highest value.
    """

    path: Path
    label: str = "label"
    test: Path | None = None
    split: float = 0.2
    seed: int = 0
    labels: tuple[str, ...] | None = None
    range: tuple[float, float] | None = None

    @classmethod
    def parse(cls, kind: str, text: str) -> TableQuery:
        """What ``text`` after ``kind:`` says. Raises UsageError.

        The query is what follows the last question mark, so a path that has one ends in another.
        In it, %26 is an ampersand, %2C a comma and %25 a per cent sign.
        """
        path, mark, query = text.rpartition("?")
        if not mark:
            path, query = text, ""
        if not path:
            raise UsageError(f"dataset {kind} needs a path: {kind}:{_FORM}")
        said: dict[str, str] = {}
        for item in filter(None, query.split("&")):
            key, equals, value = item.partition("=")
            if key not in KEYS:
                raise unknown(f"key of {kind}:PATH?...", key, KEYS)
            if not equals or not value or key in said:
                what = "is given twice" if key in said else "has no value"
                raise UsageError(f"dataset {kind}:{text}: {key} {what}; wanted {kind}:{_FORM}")
            said[key] = value
        if "test" in said and (wrong := {"split", "seed"} & said.keys()):
            raise UsageError(
                f"dataset {kind}:{text}: test and {' and '.join(sorted(wrong))} exclude each other"
            )
        return cls(
            _path(path),
            unquote(said.get("label", "label")),
            _path(unquote(said["test"])) if "test" in said else None,
            _fraction(said.get("split", "0.2")),
            _seed(said.get("seed", "0")),
            tuple(map(unquote, said["labels"].split(","))) if "labels" in said else None,
            _range(said["range"]) if "range" in said else None,
        )


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise UsageError(f"split must be above 0 and below 1, found {text}")
    return value


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"the seed of a split must be a whole number of at least 0, found {text}")
    return int(text)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"range must be LOW,HIGH, two numbers, found {text}") from None
    return low, high
