"""Paths as Python users give them: what can name no file is a line, no traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.errors import UsageError


def as_path(name: str, value: Any) -> Path:
    """The path that ``value`` is; ``name`` is what messages call it. Raises UsageError.

    >>> as_path("output", "runs/mine").name
    'mine'
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{name}={value!r} is no path; wanted a text or a pathlib.Path")
    if "\0" in text:
        raise UsageError(f"{name}={text!r} is no path: it holds a null character")
    return Path(text)
