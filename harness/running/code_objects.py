"""A digest of classes that are in no file, as in a notebook: of their code as it is in memory."""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Iterator
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_METHODS = (FunctionType, staticmethod, classmethod, property)


def in_memory(cls: type[Any]) -> tuple[str, set[str]]:
    """The digest of a class, and the names of the modules that its code uses.

    Its functions, what they are closed over, the constants, functions and classes beside it that
    they use; without line numbers. The same in every process.
    """
    reader = _Reader(cls.__module__)
    text = "\n".join(reader.lines(cls))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest(), reader.modules


class _Reader:
    """Lines that say what a thing of one module is; ``modules`` are the others that it uses."""

    def __init__(self, module: str) -> None:
        self.modules: set[str] = set()
        self._module = module
        self._seen: set[int] = set()

    def lines(self, thing: Any) -> Iterator[str]:
        if isinstance(thing, _PLAIN):
            yield repr(thing)
        elif isinstance(thing, CodeType):
            yield from self._code(thing)
        elif isinstance(thing, tuple | list | dict):
            yield f"{len(thing)} parts"
            if id(thing) not in self._seen:
                self._seen.add(id(thing))
                for part in thing.items() if isinstance(thing, dict) else thing:
                    yield from self.lines(part)
        elif isinstance(thing, np.ndarray | np.generic):
            yield f"{thing.dtype.str} {thing.shape}"
            yield thing.tobytes().hex() if not thing.dtype.hasobject else repr(thing.tolist())
        elif isinstance(thing, partial):
            yield from self.lines((thing.func, thing.args, thing.keywords))
        elif isinstance(thing, frozenset | set):  # in another order in another process
            yield from sorted("\n".join(self.lines(part)) for part in thing)
        elif isinstance(thing, ModuleType):
            self.modules.add(thing.__name__)
        elif isinstance(thing, type | FunctionType):
            yield thing.__qualname__
            if thing.__module__ not in (self._module, None):  # None: made by a bare exec
                self.modules.add(thing.__module__)
            elif id(thing) not in self._seen:
                self._seen.add(id(thing))
                yield from self._class(thing) if isinstance(thing, type) else self._function(thing)
        else:
            yield from self._wrapper(thing)

    def _class(self, cls: type[Any]) -> Iterator[str]:
        for base in cls.__bases__:
            yield from self.lines(base)
        for name, value in sorted(vars(cls).items()):
            # What the interpreter and pydantic keep in there is no code and holds addresses.
            if not name.startswith("__") or isinstance(value, _METHODS):
                yield name
                yield from self.lines(value)

    def _function(self, function: FunctionType) -> Iterator[str]:
        yield from self._code(function.__code__)
        yield from self.lines(function.__defaults__)
        for name, default in sorted((function.__kwdefaults__ or {}).items()):
            yield name
            yield from self.lines(default)
        for cell in function.__closure__ or ():
            try:
                yield from self.lines(cell.cell_contents)
            except ValueError:  # still empty
                yield "nothing"
        for name in sorted(set(_names(function.__code__)) & function.__globals__.keys()):
            yield name
            yield from self.lines(function.__globals__[name])

    def _code(self, code: CodeType) -> Iterator[str]:
        yield f"{code.co_name} {code.co_flags} {code.co_argcount} {code.co_kwonlyargcount}"
        yield code.co_code.hex()
        yield " ".join((*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars))
        yield from self.lines(code.co_consts)
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                self.modules.add(step.argval)

    def _wrapper(self, thing: Any) -> Iterator[str]:
        """A property, a static or cached method: what it wraps. Of anything else, its type."""
        yield f"{type(thing).__module__}.{type(thing).__qualname__}"
        for name in ("__func__", "__wrapped__", "func", "fget", "fset", "fdel"):
            inside = getattr(thing, name, None)
            if isinstance(inside, FunctionType):
                yield from self.lines(inside)


def _names(code: CodeType) -> Iterator[str]:
    """The names that code and the code inside it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
