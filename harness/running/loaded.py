"""Modules that are loaded: the source that they were loaded from, not the one that is there now.

A file may be edited after it was imported, as in a notebook. The first time that a module is asked
about, its functions are compared with its file; from then on the source that it had then is its
source, until it is loaded again.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from harness.errors import UsageError
from harness.running.code_objects import code_text, value_text
from harness.running.source import Source, read_source

_BEGAN_NS = time.time_ns()
"""When this module was loaded, and the harness with it."""

_CHANGING = (list, dict, set)


@dataclass(frozen=True)
class _Loaded:
    """``loading``: an object that is another one when the module is loaded again. ``codes``: of the
    functions in its file, where they could be compared.
    """

    loading: object
    source: Source
    path: str
    codes: frozenset[str] | None


_SEEN: dict[str, _Loaded] = {}


def as_loaded(name: str, path: Path) -> Source:
    """The source of a loaded module.

    Raises UsageError where it is seen for the first time and was edited since it was loaded.
    """
    module = sys.modules[name]
    loading = getattr(module, "__spec__", None) or module
    seen = _SEEN.get(name)
    if seen is None or seen.loading is not loading:
        source, codes = read_source(path), None
        if _is_comparable(name, path, module):
            codes = _codes_in(path, name)
            if any(code_text(code) not in codes for code in _codes_of(module, str(path))):
                raise _edited(name)
        seen = _SEEN[name] = _Loaded(loading, source, str(path), codes)
    return seen.source


def refuse_edited(codes: Iterable[CodeType]) -> None:
    """Raises UsageError for code in memory that is not in the file which it is from: of a function
    that is still in use after its module was loaded again, say.
    """
    files = {one.path: (name, one.codes) for name, one in _SEEN.items() if one.codes is not None}
    for code in codes:
        name, known = files.get(_absolute(code.co_filename), ("", None))
        if known is not None and code_text(code) not in known:
            raise _edited(name)


def values_set_since(name: str, source: Source) -> Iterator[tuple[str, str]]:
    """The variables of a module, if it is loaded, that are not what its source sets them to."""
    module = sys.modules.get(name)
    if module is None:
        return
    for variable, value in source.literals:
        if name.partition(".")[0] == "harness" and isinstance(value, _CHANGING):
            continue  # a cache
        now = value_text(vars(module)[variable]) if variable in vars(module) else "nothing"
        if now != value_text(value):
            yield f"{name}.{variable}", now


def _edited(name: str) -> UsageError:
    return UsageError(
        f"{name} was edited after it was imported, and what is in memory is no longer in its file: "
        "reload it and what imports it, or restart Python"
    )


def _is_comparable(name: str, path: Path, module: ModuleType) -> bool:
    """Whether Python itself made the module of that file; others, as pytest, may change code."""
    if path.suffix != ".py" or type(getattr(module, "__loader__", None)) is not SourceFileLoader:
        return False
    state = path.stat()
    old = max(state.st_mtime_ns, state.st_ctime_ns) < _BEGAN_NS
    return not (old and name.partition(".")[0] == "harness")  # what comes with the harness is many


def _codes_in(path: Path, name: str) -> frozenset[str]:
    """Of all code in a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        raise _edited(name) from None
    found, waiting = set(), [made]
    while waiting:
        code = waiting.pop()
        found.add(code_text(code))
        waiting += [one for one in code.co_consts if isinstance(one, CodeType)]
    return frozenset(found)


def _codes_of(module: ModuleType, path: str) -> Iterator[CodeType]:
    """Of the functions that a module holds, and its classes, and that are from that file."""
    waiting: list[Any] = list(vars(module).values())
    classes: set[type[Any]] = set()
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, FunctionType):
            if _absolute(thing.__code__.co_filename) == path:
                yield thing.__code__
        elif isinstance(thing, type):
            if thing.__module__ == module.__name__ and thing not in classes:
                classes.add(thing)
                waiting += vars(thing).values()
        elif isinstance(thing, property):
            waiting += [thing.fget, thing.fset, thing.fdel]
        elif isinstance(thing, staticmethod | classmethod):
            waiting.append(thing.__func__)


@cache
def _absolute(path: str) -> str:
    return os.path.abspath(path)
