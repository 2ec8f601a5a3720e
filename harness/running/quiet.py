"""Progress that nobody watches."""

from __future__ import annotations

from collections.abc import Callable


class Quiet:
    """Shows no progress and keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, cell: str, total: int, done: int) -> None:
        """Shows nothing."""

    def advance(self, models: int) -> None:
        """Shows nothing."""

    def finish(self, cell: str, seconds: float, error: str | None) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        self.notes.append(text)


class Notes(Quiet):
    """Of a progress that is shown elsewhere, only the notes are passed on."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def note(self, text: str) -> None:
        self._note(text)
