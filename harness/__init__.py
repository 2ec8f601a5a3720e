"""A benchmark harness for certified defenses against data poisoning.

>>> import harness
>>> run = harness.run(["bagging[n_models=200]", "dpa[n_models=200]"], threats=["any"])
>>> run.summary[["defense", "median_radius"]].to_numpy().tolist()
[['bagging[n_models=200]', 143], ['dpa[n_models=200]', 50]]

``run.figure()`` draws it, and ``run`` alone shows both in a notebook.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pluggy

    from harness.api import Attacks as Attacks
    from harness.api import Run as Run
    from harness.api import attack as attack
    from harness.api import certify as certify
    from harness.api import compare as compare
    from harness.api import list_attacks as list_attacks
    from harness.api import list_datasets as list_datasets
    from harness.api import list_defenses as list_defenses
    from harness.api import list_features as list_features
    from harness.api import list_learners as list_learners
    from harness.api import list_suites as list_suites
    from harness.api import load as load
    from harness.api import plan as plan
    from harness.api import run as run
    from harness.api import sweep as sweep
    from harness.certificates import PointwiseCertificate as PointwiseCertificate
    from harness.datasets.base import Dataset as Dataset
    from harness.defense import Defense as Defense
    from harness.defense import Parameters as Parameters
    from harness.errors import CellFailed as CellFailed
    from harness.errors import DataError as DataError
    from harness.errors import HarnessError as HarnessError
    from harness.errors import NoSpaceError as NoSpaceError
    from harness.errors import RunFolderError as RunFolderError
    from harness.errors import SchemaError as SchemaError
    from harness.errors import UsageError as UsageError
    from harness.plugins.suites import Suite as Suite
    from harness.threats import Threat as Threat

    __version__: str
    hookimpl: pluggy.HookimplMarker
    """Marks a plugin's functions as implementations of the hooks in :mod:`harness.hookspecs`."""

_HOMES = {
    "Attacks": "api",
    "Run": "api",
    "attack": "api",
    "certify": "api",
    "compare": "api",
    "list_attacks": "api",
    "list_datasets": "api",
    "list_defenses": "api",
    "list_features": "api",
    "list_learners": "api",
    "list_suites": "api",
    "load": "api",
    "plan": "api",
    "run": "api",
    "sweep": "api",
    "PointwiseCertificate": "certificates",
    "Dataset": "datasets.base",
    "Defense": "defense",
    "Parameters": "defense",
    "CellFailed": "errors",
    "DataError": "errors",
    "HarnessError": "errors",
    "NoSpaceError": "errors",
    "RunFolderError": "errors",
    "SchemaError": "errors",
    "UsageError": "errors",
    "Suite": "plugins.suites",
    "Threat": "threats",
}
"""Where what users ask for is defined. Imported when asked for: importing the package takes no
time, and :mod:`harness.cli.main` is there before anybody can interrupt it."""

__all__ = ["__version__", "hookimpl", *_HOMES]  # noqa: PLE0604 - they are texts


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name == "hookimpl":
        import pluggy

        return pluggy.HookimplMarker("harness")
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"harness.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("poisoning-harness")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
