"""Keeping what a cell's code writes out of the terminal, and its settings from the other cells.

A defense is a stranger's code: it may print, log or warn as much as it likes. While it runs, all of
that goes into the cell's log.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from harness.errors import HarnessError

LIMIT = 1_000_000
"""Bytes that are kept of what a cell writes."""

_LONGEST = 1000


class CellLog:
    """What a cell wrote: all of it, or its beginning and its end, ``limit`` bytes together."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0
        self._newlines = 0

    def write(self, data: bytes) -> None:
        """Adds what was written; what no longer fits is taken out of the middle."""
        self._size += len(data)
        self._newlines += data.count(b"\n")
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._half :]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def __bool__(self) -> bool:
        return self._size > 0

    @property
    def lines(self) -> int:
        """How many lines were written, those that are not kept included."""
        last = self._tail or self._head
        return self._newlines + (bool(last) and not last.endswith(b"\n"))

    def content(self) -> bytes:
        """The log, with a line that says how much of its middle was left out, if any was."""
        tail = self._tail[-self._half :]
        left_out = self._size - len(self._head) - len(tail)
        gap = f"\n[{left_out:,} bytes left out]\n".encode() if left_out else b""
        return bytes(self._head) + gap + bytes(tail)


class _Sink(io.RawIOBase):
    """The binary stream that ends in a log."""

    name = "<log of the cell>"
    mode = "wb"

    def __init__(self, log: CellLog) -> None:
        self._log = log

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload] # anything with a buffer
        self._log.write(content)
        return len(content)


def _text(sink: _Sink) -> io.TextIOWrapper:
    return io.TextIOWrapper(sink, encoding="utf-8", errors="backslashreplace", write_through=True)


@contextmanager
def contained(log: CellLog) -> Iterator[None]:
    """Sends print, standard output and error, logging and warnings of the code inside to ``log``.

    Standard input is empty inside. Filters of warnings, the root logger, the working directory and
    the settings of NumPy and torch are afterwards as they were. What writes to the file
    descriptors, past Python, is not caught.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    out, error = _text(_Sink(log)), _text(_Sink(log))

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or error).write(text)

    with warnings.catch_warnings(), _settings(), _logging_to(out, error):
        warnings.showwarning = show
        sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), out, error
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


@contextmanager
def _settings() -> Iterator[None]:
    """Puts back what a cell could change for the cells after it."""
    import numpy as np
    import torch

    folder = None
    with suppress(OSError):  # where it was removed there is nothing to go back to
        folder = os.getcwd()
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    threads = torch.get_num_threads()
    try:
        with np.errstate():
            yield
    finally:
        if folder is not None:
            with suppress(OSError):
                os.chdir(folder)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextmanager
def _logging_to(out: TextIO, error: TextIO) -> Iterator[None]:
    """Turns log handlers that write to the terminal to these streams, and then back.

    The root logger belongs to the program, so handlers and a level that a cell gave it are dropped.
    """
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    to = {id(_plain(sys.stdout)): out, id(sys.__stdout__): out}
    to |= {id(_plain(sys.stderr)): error, id(sys.__stderr__): error}
    to.pop(id(None), None)  # without a terminal there may be no such streams
    moved = [(one, one.stream) for one in _handlers() if id(_plain(one.stream)) in to]
    for handler, stream in moved:
        handler.stream = to[id(_plain(stream))]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.manager.disable = disabled
        root.setLevel(level)
        for handler, stream in moved:
            handler.stream = stream
        for handler in _handlers():  # those that were added to other loggers meanwhile
            if handler.stream in (out, error):
                handler.stream = sys.stderr


def _handlers() -> Iterable[logging.StreamHandler[TextIO]]:
    root = logging.getLogger()
    known = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    attached = (handler for logger in [root, *known] for handler in logger.handlers)
    return [handler for handler in attached if isinstance(handler, logging.StreamHandler)]


def _plain(stream: object) -> object:
    """The stream itself where a progress bar stands before it."""
    return getattr(stream, "rich_proxied_file", stream)


def describe(error: BaseException) -> str:
    """An exception in one printable line of a bearable length, whatever its ``__str__`` does."""
    kind = type(error).__name__
    try:
        text = str(error)
    except (Exception, SystemExit) as second:
        return f"{kind}, whose message cannot be shown ({type(second).__name__})"
    text = " ".join(text[: 4 * _LONGEST].split())
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    if isinstance(error, HarnessError):
        return text
    return f"{kind}: {text}" if text else kind
