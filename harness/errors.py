"""What goes wrong in a way that a user can mend: one clear line, no traceback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches

_FARTHER = 0.1
"""How much less alike than the nearest name others may be that are suggested with it."""


class HarnessError(Exception):
    """A problem that one line explains. ``exit_code`` is what the command line ends with."""

    exit_code = 2


class UsageError(HarnessError):
    """A value that is not allowed: names the value and what is allowed."""


class UnsuitableError(UsageError):
    """A defense that cannot work on data of that kind; the default comparison leaves it out."""


class DataError(HarnessError):
    """A data set that cannot be used: names the file or array and what is wrong with it."""


class RunFolderError(HarnessError):
    """An output folder that cannot be used: not writable, in use, or holding another run."""


class SchemaError(RunFolderError):
    """A run that another version of the harness wrote in a form that this one does not read."""


class NoSpaceError(HarnessError):
    """The disk is full; what was finished before is kept and the run can be resumed."""

    exit_code = 3


class ClusterError(HarnessError):
    """A cluster that cannot be used, or was lost; what was finished before is kept."""

    exit_code = 3


class CellFailed(HarnessError):  # noqa: N818 - what happened, as users say it
    """Cells of a run failed; the others finished. ``failures``: by label, why; ``run``: the run."""

    exit_code = 3

    def __init__(self, failures: Mapping[str, str], run: object = None) -> None:
        self.failures = dict(failures)
        self.run = run
        cells = "; ".join(f"{label} failed: {error}" for label, error in self.failures.items())
        super().__init__(f"{cells} (on_error='keep' returns the run)")

    def __reduce__(self) -> tuple[type[CellFailed], tuple[object, ...]]:
        return type(self), (self.failures, self.run)


def unknown(kind: str, name: str, allowed: Iterable[str], meant: str | None = None) -> UsageError:
    """The error for a name that does not exist, with the nearest names first, or what is ``meant``.

    >>> str(unknown("threat", "modfy", ["any", "modify"]))
    "unknown threat 'modfy'; did you mean modify? Allowed: any, modify"
    """
    names = sorted(allowed)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:  # one that is far nearer than others is what was meant
        closest = SequenceMatcher(None, near[0], name).ratio()
        near = get_close_matches(name, near, n=3, cutoff=max(0.6, closest - _FARTHER))
    near = [meant] if meant else near
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}; {hint}Allowed: {', '.join(names)}")
