"""A limit on how long code in this process may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TooLong(BaseException):
    """The code inside :func:`limited` took longer than it was given."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises :class:`TooLong` inside after so many seconds, at the next line of Python.

    In the main thread of a POSIX system; elsewhere nothing can interrupt, and nothing does.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
