"""Where blocks are kept until their evidence is merged, and after: the store, or the run's folder.

A store that nobody named is a convenience: where it cannot be used, this is said once and the run's
own folder serves. One that was named must work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.errors import HarnessError, NoSpaceError, RunFolderError
from harness.results.store import Blocks, EvidenceStore

if TYPE_CHECKING:
    from harness.results.files import Stored
    from harness.results.folder import RunFolder

T = TypeVar("T")


class _Busy(Exception):  # noqa: N818 - it is no error
    """Another process has the lock."""


@dataclass
class Keeping:
    """Blocks of base models: read and written where they are kept. ``note`` is told of trouble.

    ``path``: the store's folder, None for no store. With ``named`` its failures are raised. With
    ``fresh`` nothing is read that was not put during this run.
    """

    folder: RunFolder
    path: Path | None = None
    named: bool = False
    fresh: bool = False
    note: Callable[[str], None] = lambda text: None
    wait: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered while another process trains what is wanted here."""
    _claimed: dict[str, Callable[[], None]] = field(default_factory=dict)
    _made: set[tuple[str, int, range]] = field(default_factory=set)
    _told: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._own = Blocks(self.folder.path / "evidence", self._damaged)
        self._store: EvidenceStore | None = None
        if self.path is not None:
            store = EvidenceStore(self.path, self._damaged)
            try:
                self._store = store.open()
            except HarnessError as error:
                self._give_up(error)

    @property
    def terms(self) -> tuple[Path | None, bool, bool]:
        """What another process makes its own of, beside the folder: path, named, fresh."""
        return (self.path and self.path.absolute()), self.named, self.fresh

    def get(self, stem: str, index: int, models: range) -> Stored | None:
        """The block of that cell, place and base models, if it is kept and may be used."""
        if self.fresh and (stem, index, models) not in self._made:
            return None
        found = self._tried(lambda blocks: blocks.get(stem, index, models))
        return found or self._own.get(stem, index, models)  # of a run before there was a store

    def put(self, stem: str, index: int, models: range, stored: Stored) -> None:
        """Keeps a finished block; from then on it is not trained again."""
        self._tried(lambda blocks: blocks.put(stem, index, models, stored))
        self._made.add((stem, index, models))

    def claim(self, stem: str) -> bool:
        """Whether this process may train that cell's blocks: no other does until :meth:`release`.

        False where another process has it: :meth:`held` waits for that one.
        """
        if stem not in self._claimed:
            try:
                self._claimed[stem] = self._tried(lambda blocks: self._take(blocks, stem))
            except _Busy:
                return False
        return True

    def has_claimed(self, stem: str) -> bool:
        """Whether this process alone may train that cell's blocks."""
        return stem in self._claimed

    def release(self, stem: str) -> None:
        """Others may train that cell's blocks again, if they were claimed."""
        self._claimed.pop(stem, lambda: None)()

    @contextmanager
    def held(self, stem: str) -> Iterator[None]:
        """Only one process at a time is inside for a cell, where there is a store."""
        if stem in self._claimed:
            yield
            return
        release = self._tried(lambda blocks: self._hold(blocks, stem))
        try:
            yield
        finally:
            release()

    def merged(self, stem: str) -> None:
        """The blocks are merged in the folder: there they are needed no longer."""
        self._own.drop(stem)

    def _tried(self, action: Callable[[Blocks], T]) -> T:
        if self._store is not None:
            try:
                return action(self._store)
            except (NoSpaceError, RunFolderError) as error:
                self._give_up(error)
        return action(self._own)

    def _hold(self, blocks: Blocks, stem: str) -> Callable[[], None]:
        if not isinstance(blocks, EvidenceStore):  # the run's folder: its lock is held already
            return lambda: None
        with ExitStack() as meanwhile:

            def waiting() -> None:
                self.note("another process trains the same base models: waiting for it")
                meanwhile.enter_context(self.wait())

            return blocks.hold(stem, waiting)

    def _take(self, blocks: Blocks, stem: str) -> Callable[[], None]:
        if not isinstance(blocks, EvidenceStore):
            return lambda: None

        def busy() -> None:
            raise _Busy

        return blocks.hold(stem, busy)

    def _give_up(self, error: HarnessError) -> None:
        if self.named:
            raise error
        self._store = None
        self.note(f"evidence store: {error}; the run's own folder keeps what is trained")

    def _damaged(self, path: Path) -> None:
        if path not in self._told:
            self._told.add(path)
            self.note(f"{path} is damaged: what it held is trained again")
