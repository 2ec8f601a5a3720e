"""What a result rests on: a digest of the source of a defense, of its learner, and of theirs.

The imports of each module are followed, those inside functions too, as they are written: nothing is
imported for it. Followed are the harness, the packages that are asked about, wherever they are
installed, and every module that is not installed at all. The standard library and installed
distributions are not: their versions count instead.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.running.code_objects import InMemory, in_memory
from harness.running.loaded import as_loaded, refuse_edited, values_set_since
from harness.running.source import Import, Source, read_source

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

Root = type[Any] | ModuleType


def code_digest(*roots: Root) -> str:
    """Names the code that those classes and modules rest on, and the versions of the libraries.

    A class rests on its module and on those of its bases; a module on what it imports. Of what is
    loaded, the code as it was loaded counts, and what is in memory: class attributes, say, that
    were set since. Comments and formatting do not count. The same in every process and wherever
    the files lie; but where a value is used that nothing sure can be said about, never the same.

    Raises UsageError for a module that was edited after it was loaded, where what is in memory can
    no longer be known by its file.
    """
    rests = _Closure(roots)
    memory = rests.read_memory()
    refuse_edited(memory.codes)
    modules = sorted((name, source.digest) for name, source in rests.sources.items())
    names = sorted(
        f"{root.__module__}.{root.__qualname__}" for root in roots if isinstance(root, type)
    )
    libraries = [[name, _version(name)] for name in sorted(rests.libraries)]
    values: list[tuple[str, str]] = []
    for name, source in rests.sources.items():
        values += values_set_since(name, source)
    content = [platform.python_version(), names, libraries, modules, memory.digest, sorted(values)]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    _LATER[digest] = {
        name: source.digest for name, source in rests.sources.items() if name not in sys.modules
    }
    return digest


_LATER: dict[str, dict[str, str]] = {}
"""For each digest of code, the modules that were not loaded, with the digests of their sources."""


def edited_before_loaded(digest: str) -> list[str]:
    """Modules that were loaded after the code was called ``digest``, and edited before they were.

    What was computed with them is no result of that code. Raises UsageError as above.
    """
    later = _LATER.get(digest, {})
    loaded = [name for name in later if name in sys.modules]
    edited = []
    for name in loaded:
        path = _file(_find(name))
        if path is None or as_loaded(name, path).digest != later[name]:
            edited.append(name)
        else:
            del later[name]
    return edited


def constants_given_to(method: str, *roots: Root) -> set[str]:
    """The texts that stand as first argument in a call of that method in the code of the roots.

    >>> from harness.scaffold.templates import my_defense  # calls task.learner("ridge")
    >>> constants_given_to("learner", my_defense)
    {'ridge'}
    """
    sources = _Closure(roots).sources.values()
    return {text for source in sources for called, text in source.calls if called == method}


class _Closure:
    """The modules that roots rest on.

    ``sources``: by name, those that are followed. ``libraries``: imports whose version counts.
    """

    def __init__(self, roots: Iterable[Root]) -> None:
        roots = list(roots)
        self.sources: dict[str, Source] = {}
        self.libraries = set(NUMERICAL)
        self._follows: dict[str, bool] = {}
        self._used: dict[str, bool] = {}
        self._asked = {_top(r.__module__ if isinstance(r, type) else r.__name__) for r in roots}
        for root in roots:
            if isinstance(root, type):
                for base in root.__mro__:
                    self._add(base.__module__)
            else:
                self._add(root.__name__)
        self._classes = [root for root in roots if isinstance(root, type) and self._is_read(root)]
        self.memory: InMemory | None = None
        if any(map(_has_no_file, self._classes)):  # what they import is to be seen in memory only
            self.read_memory()

    def read_memory(self) -> InMemory:
        """What the classes are in memory."""
        if self.memory is None:
            self.memory = in_memory(self._classes, self._follow, _is_filed)
            for name in sorted(self.memory.modules):
                self._add(name)
        return self.memory

    def _is_read(self, cls: type[Any]) -> bool:
        return _has_no_file(cls) or self._follow(cls.__module__)

    def _follow(self, name: str) -> bool:
        """Whether classes and functions of that module are read in memory."""
        if name not in self._follows:
            spec = _find(name) if _counts(name) else None
            self._follows[name] = spec is not None and self._is_followed(name, spec)
        return self._follows[name]

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
        source = as_loaded(name, path) if name in sys.modules else read_source(path)
        self.sources[name] = source
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

    def _import(self, one: Import, package: str) -> None:
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
    return _counts(cls.__module__) and not _is_filed(cls.__module__)


def _is_filed(name: str) -> bool:
    return _file(_find(name)) is not None


def _file(spec: ModuleSpec | None) -> Path | None:
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


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
