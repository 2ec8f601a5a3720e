"""The evidence store: blocks of base models that were trained before, for whatever run.

A block is found by the key of its cell, which names everything that its arrays depend on (see
``harness.running.keys``), by its place among them and by the base models in it:
``NAME-KEY/INDEX-START-STOP.npz``. The store
is one folder for all runs of a user, and may be filled by many processes at once: files appear
whole, and a cell's blocks are trained by one process at a time while the others wait for them.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import RunFolderError, UsageError
from harness.results.files import Stored, explained, npz_bytes, read_npz, write_atomically

VARIABLE = "HARNESS_STORE"
"""The environment variable that names the store; ``off`` for none."""

_LOCK = ".lock"
_MARK = "this-is-an-evidence-store"
"""A file that only stores hold: nothing is ever removed from a folder without it."""
_ENTRY = re.compile(r"(?P<name>.+)-(?P<key>[0-9a-f]{16})")
_TEMPORARY_S = 24 * 3600.0
"""The age at which a temporary file was left by a process that was killed."""


class Blocks:
    """Blocks of base models in one folder. ``damaged`` is told of files that cannot be read."""

    def __init__(self, path: Path, damaged: Callable[[Path], None] | None = None) -> None:
        self.path = path
        self._damaged = damaged

    def get(self, stem: str, index: int, models: range) -> Stored | None:
        """The block of that cell, place and base models, or None. Raises RunFolderError."""
        path = self._file(stem, index, models)
        stored = read_npz(path)
        if stored is None or not stored.meta:
            try:
                broken = path.exists()
            except OSError as error:
                raise RunFolderError(f"cannot read {path}: {error.strerror}") from error
            if broken and self._damaged is not None:
                self._damaged(path)
            return None
        with suppress(OSError):
            os.utime(path)  # it was wanted today: what was not for long is pruned first
        return stored

    def put(self, stem: str, index: int, models: range, stored: Stored) -> None:
        """Keeps a block. Raises NoSpaceError, RunFolderError; then nothing of it is there."""
        write_atomically(self._file(stem, index, models), npz_bytes(stored.arrays, stored.meta))

    def drop(self, stem: str) -> None:
        """Removes the blocks of that cell."""
        shutil.rmtree(self.path / stem, ignore_errors=True)

    def _file(self, stem: str, index: int, models: range) -> Path:
        return self.path / stem / f"{index:06d}-{models.start}-{models.stop}.npz"


@dataclass(frozen=True)
class Entry:
    """What the store holds of one cell. ``used``: when it was last wanted, in seconds since 1970"""

    name: str
    key: str
    blocks: int
    bytes: int
    used: float


class EvidenceStore(Blocks):
    """A folder of blocks that is there for all runs."""

    def open(self) -> EvidenceStore:
        """The store itself, made if it was not there.

        Raises UsageError for a folder of anything else, NoSpaceError and RunFolderError where it
        cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            mark = self.path / _MARK
            if not mark.exists():
                found = next((one.name for one in self.path.iterdir()), None)
                if found is not None and not found.startswith("."):
                    raise UsageError(
                        f"{self.path} is no evidence store (found {found}); name an empty folder, "
                        "or one that does not exist"
                    )
                write_atomically(mark, b"Made by harness; see: harness cache\n")
            # Asked of the system, not of the permissions: root may write where the disk may not.
            probe = self.path / f".probe.{os.getpid()}.tmp"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise explained(self.path, error) from error
        return self

    def hold(self, stem: str, waiting: Callable[[], None]) -> Callable[[], None]:
        """Takes the lock of that cell and returns what lets go of it; a process that dies does.

        ``waiting`` is called once where another process has it. Raises NoSpaceError,
        RunFolderError.
        """
        folder = self.path / stem
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                waiting()
                lock.acquire(poll_interval=0.1)
        except NotImplementedError:  # a file system without locks: two may do the same work
            return lambda: None
        except OSError as error:
            raise explained(folder, error) from error
        return lock.release

    def entries(self) -> list[Entry]:
        """What is in it, a cell at a time, that which was wanted last first."""
        found = []
        for folder in self._folders():
            named = _ENTRY.fullmatch(folder.name)
            files = [path.stat() for path in _blocks(folder)]
            if named and files:
                size, used = sum(one.st_size for one in files), max(one.st_mtime for one in files)
                found.append(Entry(named["name"], named["key"], len(files), size, used))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self) -> list[Entry]:
        """Empties it. Returns what was in it."""
        return self._remove(self.entries(), everything=True)

    def prune(self, *, older_than: float | None = None, most: int | None = None) -> list[Entry]:
        """Removes entries not wanted for ``older_than`` seconds, then, beginning with those not
        wanted for longest, as many as it takes to leave at most ``most`` bytes. Returns them.
        """
        now, kept, gone = time.time(), 0, []
        for entry in self.entries():
            old = older_than is not None and now - entry.used > older_than
            if old or (most is not None and kept + entry.bytes > most):
                gone.append(entry)
            else:
                kept += entry.bytes
        return self._remove(gone, everything=False)

    def _remove(self, gone: list[Entry], *, everything: bool) -> list[Entry]:
        wanted = {f"{entry.name}-{entry.key}" for entry in gone}
        try:
            for folder in self._folders():
                idle = not _blocks(folder) and time.time() - folder.stat().st_mtime > _TEMPORARY_S
                if everything or folder.name in wanted or idle:
                    # What a process writes in there meanwhile is lost to it, and trained again.
                    shutil.rmtree(folder, ignore_errors=True)
                    continue
                for left in folder.glob(".*.tmp"):
                    if time.time() - left.stat().st_mtime > _TEMPORARY_S:
                        left.unlink(missing_ok=True)
        except OSError as error:
            raise explained(self.path, error) from error
        return gone

    def _folders(self) -> list[Path]:
        if not (self.path / _MARK).exists():
            return []
        return [one for one in sorted(self.path.iterdir()) if _ENTRY.fullmatch(one.name)]


def _blocks(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.npz") if not path.name.startswith(".")]


def store_path(named: str | Path | None = None) -> Path | None:
    """Where the store is: where it was ``named``, else ``HARNESS_STORE``, else the user's cache.

    None where it is ``off``.
    """
    chosen = os.environ.get(VARIABLE) or None if named is None else named
    if chosen is None:
        from platformdirs import user_cache_path

        return user_cache_path("poisoning-harness") / "evidence"
    return None if str(chosen) == "off" else Path(chosen).expanduser()
