"""Where a result comes from: versions, kind of machine, commits of the code."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import harness
from harness import features, learners
from harness.learners.spec import parse_spec
from harness.plugins.lookup import learner_of
from harness.plugins.registry import load_registry
from harness.results.checkout import Checkout, checkout_of

if TYPE_CHECKING:
    import torch

    from harness.results.cells import Cell

_PACKAGES = (
    "poisoning-harness",
    "torch",
    "torchvision",
    "opacus",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
)


def versions() -> dict[str, str]:
    """Python's version and those of the packages that compute."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """What kind of machine this is: nothing that names it."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def device_name(device: torch.device) -> str:
    """The device as the manifest names it: a GPU with its model."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def fingerprint(device: torch.device) -> str:
    """Twelve hexadecimal digits for the kind of machine: equal where seconds can be compared.

    Same system, processor, number of cores, device and threads.
    """
    import torch

    kind = [platform.system(), _processor(), os.cpu_count(), device_name(device)]
    text = json.dumps([*kind, torch.get_num_threads()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git() -> dict[str, Any]:
    """The commit of the checkout that the harness was imported from and whether that has changes.

    Nulls where it was not: an installed wheel's ``versions`` say which one it is. The folder that
    one stands in plays no part.
    """
    return asdict(checkout_of(harness.__file__))


def sources(cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """The same for each distribution that brought a defense, learner or features of the cells, by
    its name and version; the harness's own is :func:`git`.
    """
    files: dict[str, set[str | None]] = {}
    for distribution, cls in _behind(cells):
        if not _module(cls).startswith("harness."):
            module = sys.modules.get(_module(cls))
            files.setdefault(distribution, set()).add(getattr(module, "__file__", None))
    found = {}
    for distribution, paths in files.items():
        checkouts = [checkout_of(path) for path in sorted(paths, key=str)]
        commits = {one.commit for one in checkouts}
        known = checkouts[0].commit is not None and len(commits) == 1
        dirty = any(one.dirty for one in checkouts)
        found[distribution] = asdict(Checkout(checkouts[0].commit, dirty) if known else Checkout())
    return found


def _behind(cells: Iterable[Cell]) -> Iterator[tuple[str, type[Any] | ModuleType]]:
    """The distributions and classes, or modules, of the cells' defenses, learners and features."""
    own = {learner.name for learner in learners.harness_register_learners()}
    own_features = {one.name for one in features.harness_register_features()}
    registry = None
    for cell in cells:
        if cell.defense is None:
            continue
        yield cell.distribution, type(cell.defense)
        seen = getattr(cell.defense.params, "features", None)
        if isinstance(seen, str) and (name := parse_spec(seen).name) not in own_features:
            registry = registry or load_registry()
            if name in registry.features.entries:
                entry = registry.features.entries[name]
                yield entry.distribution, entry.value
        spec = getattr(cell.defense.params, "learner", None)
        if not isinstance(spec, str):
            continue
        parsed = parse_spec(spec)
        registry = registry or load_registry()
        if parsed.name not in own and parsed.name in registry.learners.entries:
            found = registry.learners.entries[parsed.name]
            yield found.distribution, found.value
        # An estimator's class, those of a pipeline's steps, the module of a user's function.
        for cls in learner_of(registry, spec).behind:
            yield _distribution(cls), cls


def _module(root: type[Any] | ModuleType) -> str:
    return root.__module__ if isinstance(root, type) else root.__name__


def _distribution(cls: type[Any] | ModuleType) -> str:
    """The installed distribution that it is from, else the name of its topmost module."""
    top = _module(cls).partition(".")[0]
    name = packages_distributions().get(top, [top])[0]
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name
