"""A benchmark harness for certified defenses against data poisoning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pluggy

    __version__: str
    hookimpl: pluggy.HookimplMarker
    """Marks a plugin's functions as implementations of the hooks in :mod:`harness.hookspecs`."""

__all__ = ["__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    """``__version__`` and ``hookimpl``, made when asked for: importing the package takes no time,
    so that :mod:`harness.cli.main` is there before anybody can interrupt it.
    """
    if name == "__version__":
        return _version()
    if name == "hookimpl":
        import pluggy

        return pluggy.HookimplMarker("harness")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("poisoning-harness")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
