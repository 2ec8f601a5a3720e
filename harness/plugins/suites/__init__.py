"""Suites: named comparisons, each in a TOML file: a data set, seeds, alphas, threats and cells."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import DataError, UsageError, unknown
from harness.threats import parse_threat

DEFAULT = "jia2021-figure3"
"""What ``harness run`` does without arguments."""

THREATS = ("modify", "any", "label-flip")
"""What is asked about unless something else is."""
ALPHA = 0.001
SEED = 0
DATASET = "mnist17"

_FOLDER = Path(__file__).parent


class Suite(BaseModel):
    """A named comparison. What a file leaves out is as in ``harness run``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="how it is selected")
    summary: str = Field(min_length=1, description="one sentence: what it compares")
    dataset: str = Field(DATASET, min_length=1)
    seeds: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field((SEED,), min_length=1)
    alphas: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field((ALPHA,), min_length=1)
    threats: tuple[str, ...] = Field(THREATS, min_length=1)
    cells: tuple[str, ...] = Field(min_length=1, description="as after harness run -d")

    @field_validator("threats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_threat(name).value for name in value)


def built_in() -> dict[str, Path]:
    """The files of the suites that come with the harness, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def is_suite(text: str) -> bool:
    """Whether the text names a suite: one that is built in, or a TOML file."""
    return text in built_in() or text.endswith(".toml")


def load_suite(text: str | Path) -> Suite:
    """The suite of that name, or in that file.

    Raises UsageError for a name that does not exist, DataError for a file that cannot be read or
    that is no suite.
    """
    known = built_in()
    path = known.get(str(text), Path(text))
    if str(text) not in known and path.suffix != ".toml":
        error = unknown("suite", str(text), known)
        raise UsageError(f"{error}, or a file that ends in .toml; a defense is given with -d")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the suite {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"the suite {path} is not TOML: {error}") from None
    try:
        return Suite.model_validate(content)
    except ValidationError as error:
        raise DataError(f"the suite {path}: {_explain(error)}") from None
    except UsageError as error:
        raise DataError(f"the suite {path}: {error}") from None


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == "extra_forbidden":
        return str(unknown("key", key, Suite.model_fields))
    wanted = first["msg"].removeprefix("Input ").removeprefix("Tuple ")
    return f"{place} = {first['input']!r} is not allowed: {wanted}"
