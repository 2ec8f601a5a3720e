"""A digest of what classes are in memory: their code, and the values that it uses.

A file says what a class was written as. What it does follows also from what was set while the
process ran: class attributes, values that functions are closed over, variables of a module. Where
there is no file, as in a notebook, memory is all that there is.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache, partial
from threading import Lock, RLock
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_METHODS = (FunctionType, staticmethod, classmethod, property)
_CACHED = type(lru_cache(lambda: None))
_WRAPPERS = (staticmethod, classmethod, property, cached_property, _CACHED)
_LOCKS = (type(Lock()), type(RLock()))
_KEPT_BY_PYTHON = {"_abc_impl"}
"""Class attributes without a dunder that the interpreter keeps: which classes it was asked about"""
_NOTHING = object()

_UNKNOWN: ContextVar[str | None] = ContextVar("_UNKNOWN", default=None)


@contextmanager
def unknown_as(token: str) -> Iterator[None]:
    """What cannot be read counts as that text in here; elsewhere as another one each time."""
    before = _UNKNOWN.set(token)
    try:
        yield
    finally:
        _UNKNOWN.reset(before)


@dataclass(frozen=True)
class InMemory:
    """``digest`` of the things themselves; ``modules``: the other ones that their code uses;
    ``codes``: of all functions that were read.
    """

    digest: str
    modules: frozenset[str]
    codes: frozenset[CodeType]


def in_memory(
    classes: Iterable[type[Any]], follows: Callable[[str], bool], filed: Callable[[str], bool]
) -> InMemory:
    """What the classes are in memory.

    Their functions, what they are closed over, the class attributes, constants, functions and
    classes that they use, in the classes' modules and in those that it ``follows``; without line
    numbers. What a module imports inside functions is among ``modules`` where it is not ``filed``.
    The same in every process; what nothing sure can be said about is never the same.
    """
    classes = list(classes)
    reader = _Reader({cls.__module__ for cls in classes}, follows, filed)
    try:
        text = "\n".join(line for cls in classes for line in reader.lines(cls))
    except RecursionError:
        text = _never_equal()
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return InMemory(digest, frozenset(reader.modules), frozenset(reader.codes))


def value_text(value: object) -> str:
    """What is said about a value, as a part of :func:`in_memory`."""
    return "\n".join(_Reader(set(), _no, _no).lines(value))


def code_text(code: CodeType) -> str:
    """A digest of code and of all code in it, without its file and its line numbers."""
    return _facts(code).digest


@dataclass(frozen=True)
class _Facts:
    """Of one code object: its digest, and the names in it by what it does with them."""

    digest: str
    names: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]


_DOES = {"LOAD_GLOBAL": 0, "LOAD_NAME": 0, "LOAD_ATTR": 1, "LOAD_METHOD": 1, "IMPORT_NAME": 2}


@lru_cache(maxsize=50_000)
def _facts(code: CodeType) -> _Facts:
    found: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for step in dis.get_instructions(code):
        if step.opname in _DOES:
            found[_DOES[step.opname]].add(step.argval)
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _facts(constant)
            constants.append(inner.digest)
            for i, names in enumerate((inner.names, inner.attributes, inner.imports)):
                found[i].update(names)
        else:
            constants.append(value_text(constant))
    content = [
        f"{code.co_qualname} {code.co_flags} {code.co_exceptiontable.hex()} {code.co_code.hex()}",
        f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount}",
        " ".join((*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars, "|")),
        " ".join(code.co_cellvars),
        *constants,
    ]
    digest = hashlib.sha256("\n".join(content).encode("utf-8", "surrogatepass")).hexdigest()
    return _Facts(digest, *map(frozenset, found))


def _no(_module: str) -> bool:
    return False


def _never_equal() -> str:
    return _UNKNOWN.get() or uuid.uuid4().hex


class _Reader:
    """Lines that say what a thing is; ``modules`` are those that it uses and that are not read."""

    def __init__(
        self, own: set[str], follows: Callable[[str], bool], filed: Callable[[str], bool]
    ) -> None:
        self.modules: set[str] = set()
        self.codes: set[CodeType] = set()
        self._own, self._follows, self._filed = own, follows, filed
        # Each with the thing itself: of a thing that is gone, another one may have the number.
        self._seen: dict[int, tuple[int, object]] = {}

    def lines(self, thing: Any) -> Iterator[str]:
        kind = type(thing)
        if kind in _PLAIN:
            yield repr(thing)
        elif kind is CodeType:
            self.codes.add(thing)
            yield code_text(thing)
        elif kind in (tuple, frozenset):  # whether two are one follows how the code was loaded
            yield kind.__qualname__
            yield from self._content(thing, kind)
        elif id(thing) in self._seen:
            yield f"again {self._seen[id(thing)][0]}"
        else:
            self._seen[id(thing)] = len(self._seen), thing
            yield f"{kind.__module__}.{kind.__qualname__}"
            yield from self._content(thing, kind)

    def _content(self, thing: Any, kind: type[Any]) -> Iterator[str]:
        if kind in (tuple, list):
            yield from self._parts(thing)
        elif kind in (dict, MappingProxyType):
            yield from self._parts([part for pair in thing.items() for part in pair])
        elif kind in (frozenset, set):  # in another order in another process
            yield from sorted("\n".join(self._apart(part)) for part in thing)
        elif kind is np.ndarray or isinstance(thing, np.generic):
            yield from self._array(np.asarray(thing))
        elif isinstance(thing, ModuleType):
            self.modules.add(thing.__name__)
            yield thing.__name__
        elif isinstance(thing, type | FunctionType):
            yield str(thing.__qualname__)
            if not self._reads(thing.__module__):
                yield str(thing.__module__)
                if isinstance(thing.__module__, str):
                    self.modules.add(thing.__module__)
            else:
                yield from self._class(thing) if isinstance(thing, type) else self._function(thing)
        elif isinstance(thing, MethodType):
            yield from self._parts([thing.__func__, thing.__self__])
        elif isinstance(thing, _WRAPPERS):
            for name in ("__func__", "__wrapped__", "func", "fget", "fset", "fdel"):
                inside = getattr(thing, name, None)
                if inside is not None:
                    yield name
                    yield from self.lines(inside)
        elif isinstance(thing, Enum):
            yield thing.name
            yield from self._parts([thing.value, kind])
        elif isinstance(thing, _LOCKS):
            pass
        elif _is_tensor(thing):
            yield from self._tensor(thing)
        else:
            yield from self._object(thing, kind)

    def _reads(self, module: object) -> bool:
        # None: made by a bare exec. Of a few classes that are made in C it is no text.
        known = isinstance(module, str) and (module in self._own or self._follows(module))
        return known or module is None

    def _parts(self, parts: Iterable[Any]) -> Iterator[str]:
        parts = list(parts)
        yield f"{len(parts)} parts"
        for part in parts:
            yield from self.lines(part)

    def _apart(self, thing: Any) -> Iterator[str]:
        """The lines of one of several that have no order: none rests on what came before it."""
        reader = _Reader(self._own, self._follows, self._filed)
        reader.modules, reader.codes = self.modules, self.codes
        reader._seen = dict(self._seen)
        return reader.lines(thing)

    def _array(self, array: np.ndarray[Any, Any]) -> Iterator[str]:
        yield f"{array.dtype.descr} {array.shape}"
        if array.dtype.hasobject:
            yield from self.lines(array.tolist())
        else:
            yield hashlib.sha256(array.tobytes()).hexdigest()

    def _tensor(self, tensor: Any) -> Iterator[str]:
        yield f"{tensor.dtype} {tuple(tensor.shape)} {tensor.device} {tensor.requires_grad}"
        try:
            import torch

            plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            yield hashlib.sha256(plain.numpy().tobytes()).hexdigest()
        except Exception:  # sparse, say, or without content
            yield _never_equal()

    def _object(self, thing: Any, kind: type[Any]) -> Iterator[str]:
        """By its class and by what a copy of it would be made of; of what cannot be copied,
        nothing is sure.
        """
        yield from self.lines(kind)
        if isinstance(thing, partial):
            yield from self._parts([thing.func, thing.args, thing.keywords])
            return
        own = self._reads(kind.__module__)
        if not own and (name := _name_in_library(thing, kind)):
            yield name
            return
        try:
            reduce = copyreg.dispatch_table.get(kind)
            made = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        except Exception:
            made = None
        if isinstance(made, str):
            yield f"{getattr(thing, '__module__', None)}.{made}"
        elif isinstance(made, tuple):
            head, rest = made[:3], made[3:]
            yield from self._parts([*head, *(list(one) for one in rest if one is not None)])
        else:
            yield _never_equal()
        if own:  # a copy may leave out what its class makes use of
            yield from self._parts(getattr(thing, "__dict__", {}).items())

    def _class(self, cls: type[Any]) -> Iterator[str]:
        for base in (*cls.__bases__, type(cls)):
            yield from self.lines(base)
        for name, value in sorted(vars(cls).items()):
            # What the interpreter and pydantic keep in there is no code and holds addresses.
            method = isinstance(value, _METHODS)
            # What only repeats a base is left out when a class is sent to another process.
            above: Any = next((vars(b)[name] for b in cls.__bases__ if name in vars(b)), _NOTHING)
            if value is above:
                continue
            if (method or not name.startswith("__")) and name not in _KEPT_BY_PYTHON:
                yield name
                yield from self.lines(value)

    def _function(self, function: FunctionType) -> Iterator[str]:
        yield from self.lines(function.__code__)
        yield from self.lines(function.__defaults__)
        yield from self.lines(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                yield from self.lines(cell.cell_contents)
            except ValueError:  # still empty
                yield "nothing"
        if function.__dict__:
            yield from self.lines(function.__dict__)
        facts, around = _facts(function.__code__), function.__globals__
        if not self._filed(str(around.get("__name__"))):
            self.modules |= facts.imports  # where there is a file, they are found in there
        for name in sorted(facts.names & around.keys()):
            yield name
            yield from self._used(around[name], facts, around)

    def _used(self, value: Any, facts: _Facts, around: dict[str, Any]) -> Iterator[str]:
        """What a function finds under a name of its module."""
        if isinstance(value, ModuleType):
            yield from self.lines(value)
            if self._reads(value.__name__):
                for name in sorted(facts.attributes & vars(value).keys()):
                    yield name
                    yield from self._used(vars(value)[name], facts, vars(value))
        elif _top(around) == "harness" and _may_be_a_cache(value):
            yield type(value).__qualname__
        else:
            yield from self.lines(value)


def _top(around: dict[str, Any]) -> str:
    return str(around.get("__name__")).partition(".")[0]


def _may_be_a_cache(value: object) -> bool:
    """In the harness, variables of modules that can change are caches, and no result rests on
    what is in them.
    """
    return isinstance(value, list | dict | set)


def _name_in_library(thing: object, kind: type[Any]) -> str | None:
    """What a library calls an object of its own, as scipy.stats.binom: its version says more."""
    module = sys.modules.get(str(kind.__module__))
    names = (name for name, value in vars(module).items() if value is thing) if module else ()
    return next(iter(names), None)


def _is_tensor(thing: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.Tensor)
