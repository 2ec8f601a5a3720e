"""What a result rests on: a digest of the source of a defense, of its learner, and of theirs.

The imports of each module are followed, those inside functions too, as they are written: nothing is
imported for it. Followed are the harness, the packages that are asked about, wherever they are
installed, and every module that is not installed at all. The standard library and installed
distributions are not: their versions count instead.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import platform
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.running.code_objects import in_memory

NUMERICAL = {
    "numpy": "numpy",
    "opacus": "opacus",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torchvision": "torchvision",
}
"""The libraries that compute: import and distribution. Their versions are in every digest."""

_WITHOUT_NUMBERS = {"pluggy", "pydantic", "pydantic_core"}
"""What the harness rests on and no number does: another version trains nothing again."""

_INSTALLED = {"site-packages", "dist-packages"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

Root = type[Any] | ModuleType


def code_digest(*roots: Root) -> str:
    """Names the code that those classes and modules rest on, and the versions of the libraries.

    A class rests on its module and on those of its bases; a module on what it imports. Comments
    and formatting do not count. The same in every process and wherever the files lie.
    """
    rests = _Closure(roots)
    modules = sorted((name, source.digest) for name, source in rests.sources.items())
    names = sorted(
        f"{root.__module__}.{root.__qualname__}" for root in roots if isinstance(root, type)
    )
    libraries = [[name, _version(name)] for name in sorted(rests.libraries)]
    content = [platform.python_version(), names, libraries, modules, sorted(rests.unfiled.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def constants_given_to(method: str, *roots: Root) -> set[str]:
    """The texts that stand as first argument in a call of that method in the code of the roots.

    >>> from harness.scaffold.templates import my_defense  # calls task.learner("ridge")
    >>> constants_given_to("learner", my_defense)
    {'ridge'}
    """
    sources = _Closure(roots).sources.values()
    return {text for source in sources for called, text in source.calls if called == method}


@dataclass(frozen=True)
class _Import:
    """``import MODULE`` (no names) or ``from MODULE import NAMES``, ``level`` dots before it."""

    module: str
    level: int
    names: tuple[str, ...]
    in_function: bool


@dataclass(frozen=True)
class _Source:
    """What was read from one file. ``calls``: method and text, of calls with a text first."""

    digest: str
    imports: tuple[_Import, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()


class _Closure:
    """The modules that roots rest on.

    ``sources``: by name, those that are followed. ``libraries``: imports whose version counts.
    ``unfiled``: digests of the classes that have no file.
    """

    def __init__(self, roots: Iterable[Root]) -> None:
        roots = list(roots)
        self.sources: dict[str, _Source] = {}
        self.libraries = set(NUMERICAL)
        self.unfiled: dict[str, str] = {}
        self._used: dict[str, bool] = {}
        self._asked = {_top(r.__module__ if isinstance(r, type) else r.__name__) for r in roots}
        for root in roots:
            if isinstance(root, type):
                for base in root.__mro__:
                    self._add_class(base)
            else:
                self._add(root.__name__)

    def _add_class(self, cls: type[Any]) -> None:
        self._add(cls.__module__)
        if _has_no_file(cls):
            digest, modules = in_memory(cls)
            self.unfiled[f"{cls.__module__}.{cls.__qualname__}"] = digest
            for name in modules:
                self._add(name)

    def _add(self, name: str, *, used: bool = True) -> None:
        """Adds a module, its packages and what they import.

        A package of the harness that is not ``used`` itself was only run on the way to a module in
        it: what it imports inside functions (to register all that is in it) does not count.
        """
        before = self._used.get(name)
        if not _counts(name) or before or before is used:
            return
        self._used[name] = used
        spec = _find(name)
        if spec is None or not self._is_followed(name, spec):
            return
        if "." in name:
            self._add(name.rpartition(".")[0], used=_top(name) != "harness")
        path = _file(spec)
        if path is None:  # a folder that is a package without saying so
            return
        source = self.sources[name] = _source(path)
        package = name.rpartition(".")[0] if spec.submodule_search_locations is None else name
        for one in source.imports:
            if used or not one.in_function:
                self._import(one, package)

    def _is_followed(self, name: str, spec: ModuleSpec) -> bool:
        top, places = _top(name), [spec.origin or "", *(spec.submodule_search_locations or ())]
        installed = any(not _INSTALLED.isdisjoint(Path(place).parts) for place in places)
        if installed and top != "harness" and top not in self._asked:
            self.libraries.add(top)
        return not installed or top == "harness" or top in self._asked

    def _import(self, one: _Import, package: str) -> None:
        try:
            module = resolve_name("." * one.level + one.module, package)
        except ImportError:  # more dots than packages: it cannot be run either
            return
        if not _counts(module):
            return
        modules = [name for name in (f"{module}.{name}" for name in one.names) if _find(name)]
        self._add(module, used=not one.names or len(modules) < len(one.names))
        for name in modules:
            self._add(name)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _counts(name: str) -> bool:
    """Whether a module is neither of the standard library nor one whose code does not count."""
    top = _top(name)
    return top not in sys.stdlib_module_names and top not in NUMERICAL.keys() | _WITHOUT_NUMBERS


def _find(name: str) -> ModuleSpec | None:
    """Where a module comes from, without importing it or its packages; None if it is nowhere."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        spec: ModuleSpec | None = getattr(loaded, "__spec__", None)
        if spec is None:  # of a script
            spec = ModuleSpec(name, None, origin=getattr(loaded, "__file__", None))
            spec.submodule_search_locations = getattr(loaded, "__path__", None)
        return spec
    places = None
    if "." in name:
        package = _find(name.rpartition(".")[0])
        places = package.submodule_search_locations if package else None
        if places is None:
            return None
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    found = (find(name, places) for find in finders if find is not None)
    return next((spec for spec in found if spec is not None), None)


def _has_no_file(cls: type[Any]) -> bool:
    """Whether it is of a notebook, say, or made by exec: to be seen in memory only."""
    if cls.__module__ == "builtins":  # so says a class of a bare exec, too
        return vars(builtins).get(cls.__name__) is not cls
    return _counts(cls.__module__) and _file(_find(cls.__module__)) is None


def _file(spec: ModuleSpec | None) -> Path | None:
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


_READ: dict[Path, tuple[tuple[int, int], _Source]] = {}
"""What was read, with the time of change and the size that the file had."""


def _source(path: Path) -> _Source:
    """What is in a file, read again once it was edited."""
    state = path.stat()
    version = (state.st_mtime_ns, state.st_size)
    if path not in _READ or _READ[path][0] != version:
        _READ[path] = (version, _read(path))
    return _READ[path][1]


def _read(path: Path) -> _Source:
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
        return _Source(hashlib.sha256(content).hexdigest())
    imports, calls = [], []
    for node, in_function in _walk(tree):
        if isinstance(node, ast.Import):
            imports += [_Import(name, 0, (), in_function) for name in _bound(node)]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            imports.append(_Import(node.module or "", node.level, names, in_function))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                calls.append((node.func.attr, first.value))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return _Source(digest, tuple(imports), tuple(calls))


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


def _version(name: str) -> str:
    """The version of the distribution that brings the module ``name``."""
    try:
        return metadata.version(NUMERICAL.get(name, name))
    except metadata.PackageNotFoundError:
        if name in NUMERICAL:
            return "not installed"
    # It reads the list of files of every distribution, so it comes last.
    found = metadata.packages_distributions().get(name, ())
    return " ".join(sorted(f"{one} {metadata.version(one)}" for one in set(found)))
