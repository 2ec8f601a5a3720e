"""What a script defines, told to other processes: a script is imported once more, or kept out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.results.cells import Cell, Plan

_SCRIPT, _IMPORTED = "__main__", "__mp_main__"
GUARD = (
    "; a defense that a script defines runs in a process of its own, as --timeout needs it, only "
    'where what the script does stands below: if __name__ == "__main__":'
)


def of_the_script(plan: Plan, cell: Cell) -> bool:
    """Whether the cell's defense, or the data set, is of a class that the script itself defines, or
    its parameters name one.
    """
    if type(plan.dataset).__module__ == _SCRIPT:
        return True
    try:
        return _SCRIPT.encode() in bytes(ForkingPickler.dumps(cell))
    except Exception:  # it cannot be sent, which is said when it is
        return False


@contextmanager
def without_script() -> Iterator[None]:
    """A process that is started meanwhile does not run the script again to have what it defines."""
    script = sys.modules.get(_SCRIPT)
    sys.modules[_SCRIPT] = ModuleType(_SCRIPT)
    try:
        yield
    finally:
        if script is None:
            del sys.modules[_SCRIPT]
        else:
            sys.modules[_SCRIPT] = script


def call_the_script_main() -> None:
    """What a script defines is called after its module in the keys of evidence: as in the parent,
    and not as multiprocessing calls a script that is imported.
    """
    script = sys.modules.get(_IMPORTED)
    if script is None:
        return
    script.__name__ = _SCRIPT
    for one in list(vars(script).values()):
        inside = list(vars(one).values()) if isinstance(one, type) else []
        for thing in (one, *inside):
            if getattr(thing, "__module__", None) == _IMPORTED:
                with suppress(Exception):
                    thing.__module__ = _SCRIPT
