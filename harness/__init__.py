"""A benchmark harness for certified defenses against data poisoning."""

from importlib.metadata import PackageNotFoundError, version

import pluggy

try:
    __version__ = version("poisoning-harness")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

hookimpl = pluggy.HookimplMarker("harness")
"""Marks a plugin's functions as implementations of the hooks in :mod:`harness.hookspecs`."""

__all__ = ["__version__", "hookimpl"]
