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
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from harness.errors import RunFolderError, UsageError
from harness.results.files import Stored, explained, npz_bytes, read_npz, write_atomically
from harness.results.paths import as_path

VARIABLE = "HARNESS_STORE"
"""The environment variable that names the store; ``off`` for none."""

FORMAT = 1
"""The form of stored blocks, a part of every key: another version's blocks of another form are not
found. Raise it when what they hold, or what is told beside it, becomes something else."""

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
        stored = self.peek(stem, index, models)
        if stored is None:
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

    def peek(self, stem: str, index: int, models: range) -> Stored | None:
        """The same, but that it is not counted as wanted and nobody is told that it is damaged."""
        stored = read_npz(self._file(stem, index, models))
        return stored if stored is not None and stored.meta else None

    def put(self, stem: str, index: int, models: range, stored: Stored) -> None:
        """Keeps a block. Raises NoSpaceError, RunFolderError; then nothing of it is there."""
        path, content = self._file(stem, index, models), npz_bytes(stored.arrays, stored.meta)
        # Not durable: a run writes thousands, and a damaged one is noticed and trained again.
        _again(lambda: write_atomically(path, content, durable=False))

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
                self._refuse_others()
                write_atomically(mark, b"Made by harness; see: harness cache\n")
            # Asked of the system, not of the permissions: root may write where the disk may not.
            probe = self.path / f".{_MARK}.{uuid4().hex[:16]}.tmp"
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise explained(self.path, error) from error
        return self

    def _refuse_others(self) -> None:
        for found in sorted(self.path.iterdir()):
            # Another process may be making the store at this moment.
            if found.name != _MARK and not found.name.startswith(f".{_MARK}."):
                raise UsageError(
                    f"{self.path} is no evidence store (found {found.name}); name an empty folder, "
                    "or one that does not exist"
                )

    def find(self) -> EvidenceStore | None:
        """The store itself, if it is there; nothing is made or written.

        Raises UsageError for a folder of anything else, RunFolderError where it cannot be read.
        """
        try:
            if (self.path / _MARK).exists():
                return self
            if not self.path.exists():
                return None
            found = next((one.name for one in self.path.iterdir()), None)
        except OSError as error:
            raise RunFolderError(f"cannot read {self.path}: {error.strerror}") from error
        if found is not None:
            raise UsageError(f"{self.path} is no evidence store (found {found})")
        return None

    def hold(self, stem: str, waiting: Callable[[], None]) -> Callable[[], None]:
        """Takes the lock of that cell and returns what lets go of it; a process that dies does.

        ``waiting`` is called once where another process has it. Raises NoSpaceError,
        RunFolderError.
        """
        lock = FileLock(self.path / stem / _LOCK)
        try:
            if not self._take(lock, 0):
                waiting()
                self._take(lock, -1)
        except NotImplementedError:  # a file system without locks: two may do the same work
            return lambda: None
        return lock.release

    def _take(self, lock: FileLock, timeout: float) -> bool:
        """Whether the lock could be taken within so many seconds; -1: however long it takes."""
        path = Path(lock.lock_file)

        def attempt() -> None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=timeout, poll_interval=0.1)
            except Timeout:
                raise
            except OSError as error:
                raise explained(path.parent, error) from error

        try:
            _again(attempt)
        except Timeout:
            return False
        return True

    def entries(self) -> list[Entry]:
        """What is in it, a cell at a time, that which was wanted last first."""
        found = []
        for folder in self._folders():
            named = _ENTRY.fullmatch(folder.name)
            files = _sizes(folder)
            if named and files:
                size, used = sum(one.st_size for one in files), max(one.st_mtime for one in files)
                found.append(Entry(named["name"], named["key"], len(files), size, used))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self) -> list[Entry]:
        """Empties it, but for cells that are being trained. Returns what was removed."""
        return self._remove(self.entries())

    def prune(self, *, older_than: float | None = None, most: int | None = None) -> list[Entry]:
        """Removes entries not wanted for ``older_than`` seconds, then, beginning with those not
        wanted for longest, as many as it takes to leave at most ``most`` bytes; and what was left
        by processes that were killed. Returns what was removed: no cell that is being trained.
        """
        now, kept, gone = time.time(), 0, []
        for entry in self.entries():
            old = older_than is not None and now - entry.used > older_than
            if old or (most is not None and kept + entry.bytes > most):
                gone.append(entry)
            else:
                kept += entry.bytes
        return self._remove(gone)

    def _remove(self, gone: list[Entry]) -> list[Entry]:
        wanted = {f"{entry.name}-{entry.key}": entry for entry in gone}
        removed = []
        try:
            for folder in self._folders():
                lock = FileLock(folder / _LOCK)
                try:
                    lock.acquire(timeout=0)
                except (Timeout, FileNotFoundError):
                    continue
                except NotImplementedError:
                    pass
                try:
                    if folder.name in wanted:
                        _unlink(_blocks(folder))
                        removed.append(wanted[folder.name])
                    old = time.time() - _TEMPORARY_S
                    _unlink(path for path in folder.glob(".*.tmp") if path.stat().st_mtime < old)
                    if not _blocks(folder):
                        (folder / _LOCK).unlink(missing_ok=True)
                finally:
                    lock.release()
                with suppress(OSError):  # it is not empty
                    folder.rmdir()
        except OSError as error:
            raise explained(self.path, error) from error
        return removed

    def _folders(self) -> list[Path]:
        if not (self.path / _MARK).exists():
            return []
        return [one for one in sorted(self.path.iterdir()) if _ENTRY.fullmatch(one.name)]


def _blocks(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.glob("*.npz") if not path.name.startswith(".")]
    except FileNotFoundError:  # another process has removed the folder meanwhile
        return []


def _sizes(folder: Path) -> list[os.stat_result]:
    """Of the blocks that are there; another process may remove some meanwhile."""
    found = []
    for path in _blocks(folder):
        with suppress(FileNotFoundError):
            found.append(path.stat())
    return found


def _unlink(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)


def _again(action: Callable[[], None]) -> None:
    """Does it, and once more where a folder was removed under it by another process."""
    for tries in range(5):
        try:
            action()
        except RunFolderError as error:
            gone = isinstance(error.__cause__, FileNotFoundError | FileExistsError)
            if tries == 4 or not gone:
                raise
        else:
            return


def store_path(named: str | Path | None = None) -> Path | None:
    """Where the store is: where it was ``named``, else ``HARNESS_STORE``, else the user's cache.

    None where it is ``off``. Raises UsageError for what is no path.
    """
    chosen = os.environ.get(VARIABLE) or None if named is None else named
    if chosen is None:
        from platformdirs import user_cache_path

        return user_cache_path("poisoning-harness") / "evidence"
    if str(chosen) == "off":
        return None
    name = VARIABLE if named is None else "store"
    path = as_path(name, chosen)
    try:
        return path.expanduser()
    except RuntimeError:
        user = path.parts[0]
        raise UsageError(
            f"{name}={str(path)!r}: {user} is nobody's home; wanted a folder, or off"
        ) from None
