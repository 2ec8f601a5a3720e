"""What is read from one file of code, without importing it."""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Import:
    """``import MODULE`` (no names) or ``from MODULE import NAMES``, ``level`` dots before it."""

    module: str
    level: int
    names: tuple[str, ...]
    in_function: bool


@dataclass(frozen=True)
class Source:
    """What was read from one file.

    ``calls``: method and text, of calls with a text first. ``literals``: name and value, of
    variables of the module that are set once, to a number, a text or several of these.
    """

    digest: str
    imports: tuple[Import, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    literals: tuple[tuple[str, Any], ...] = ()


_READ: dict[Path, tuple[tuple[int, int], Source]] = {}
"""What was read, with the time of change and the size that the file had."""


def read_source(path: Path) -> Source:
    """What is in a file, read again once it was edited."""
    state = path.stat()
    version = (state.st_mtime_ns, state.st_size)
    if path not in _READ or _READ[path][0] != version:
        _READ[path] = (version, _read(path))
    return _READ[path][1]


def _read(path: Path) -> Source:
    """What is no Python (an extension module) counts by its bytes."""
    content = path.read_bytes()
    try:
        if path.suffix != ".py":
            raise SyntaxError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler; they come when it is imported
            tree = ast.parse(content)
        text = ast.dump(tree)  # without positions
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Source(hashlib.sha256(content).hexdigest())
    imports, calls = [], []
    bound: Counter[str] = Counter()
    for node, in_function in _walk(tree):
        if isinstance(node, ast.Name):
            if not in_function and not isinstance(node.ctx, ast.Load):
                bound[node.id] += 1
        elif isinstance(node, ast.Global):
            bound.update(2 * node.names)  # a function sets it
        elif isinstance(node, ast.Import):
            imports += [Import(name, 0, (), in_function) for name in _bound(node)]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            imports.append(Import(node.module or "", node.level, names, in_function))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                calls.append((node.func.attr, first.value))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Source(digest, tuple(imports), tuple(calls), tuple(_literals(tree, bound)))


def _literals(tree: ast.Module, bound: Counter[str]) -> Iterator[tuple[str, Any]]:
    """The variables that are set to a literal. ``bound``: how often each name is set."""
    for statement in tree.body:
        match statement:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, value):
                if bound[name] == 1 and value is not None:
                    try:
                        yield name, ast.literal_eval(value)
                    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                        continue


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes, each with whether it is in a function, without what only type checkers read."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, in_function = waiting.pop()
        yield node, in_function
        below: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, ast.If) and _for_type_checkers(node.test):
            below = node.orelse
        inside = in_function or isinstance(node, _FUNCTIONS)
        waiting += [(child, inside) for child in below]


def _for_type_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _bound(node: ast.Import) -> Iterator[str]:
    """The modules that it gives access to: ``import a.b`` to a too, ``import a.b as c`` not."""
    for alias in node.names:
        parts = alias.name.split(".")
        first = len(parts) if alias.asname else 1
        yield from (".".join(parts[:end]) for end in range(first, len(parts) + 1))
