"""Dear features: rows are kept on disk, in the evidence store, under all that they follow from."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessError
from harness.features.cache import FORMAT, RowCache, compute
from harness.results.files import write_atomically
from harness.results.store import EvidenceStore
from harness.running.code import code_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.features.base import Features


class Told(Protocol):
    """What is told of work that takes long."""

    def note(self, text: str) -> None: ...


@dataclass
class KeptFeatures:
    """Computes dear features on ``device``; rows are kept in the evidence store at ``store``.

    None for no store, and where it cannot be used: then they are computed in each process. What
    lies there is found by content alone, so ``--fresh`` reads it as well.
    """

    store: Path | None
    device: torch.device
    _caches: dict[str, RowCache] = field(default_factory=dict)

    def compute(self, name: str, features: Features, x: NDArray[Any], told: Told) -> Tensor:
        """The features of canonical ``name`` of raw examples ``x`` (n, ...): (n, d) float32."""
        features.device = self.device
        if self.store is None:
            told.note(f"{name}: computing {len(x):,} examples; no store keeps them")
            return features.compute(x)
        stem = f"{features.name}-{self._key(name, features, x)}"
        try:
            store = EvidenceStore(self.store, told_damaged(told)).open()
            release = store.hold(
                stem, lambda: told.note(f"{name}: another process computes them: waiting for it")
            )
        except HarnessError as error:
            told.note(f"{name}: {error}; they are not kept")
            return features.compute(x)
        try:
            cache = self._caches.setdefault(stem, RowCache(self.store / stem, told_damaged(told)))
            rows = compute(
                features,
                x,
                cache,
                write=_writing(name, told),
                working=lambda done, total: show_work(told, name, done, total),
            )
            for path in cache.folder.glob("*.npz"):  # wanted today: pruned after what was not
                with suppress(OSError):
                    os.utime(path)
            return rows
        finally:
            release()

    def _key(self, name: str, features: Features, x: NDArray[Any]) -> str:
        """Names all that a row follows from but its example: 16 hexadecimal digits."""
        example = [list(x.shape[1:]), str(x.dtype)]
        code = code_digest(type(features), *features.behind)
        content = [FORMAT, name, features.content(), code, example, self.device.type]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _writing(name: str, told: Told) -> Callable[[Path, bytes], None]:
    """Writes files until one cannot be written: that is said once, and the run goes on."""
    full = False

    def write(path: Path, content: bytes) -> None:
        nonlocal full
        if full:
            return
        try:
            write_atomically(path, content)
        except (OSError, HarnessError) as error:
            full = True
            told.note(f"{name}: {error}; rows from here on are not kept")

    return write


def told_damaged(told: Told) -> Callable[[Path], None]:
    """Says that a file cannot be read."""
    return lambda path: told.note(f"{path} is damaged: what it held is made again")


def show_work(told: Told, name: str, done: int, total: int) -> None:
    """A bar or lines, where the progress has them; else a note when it begins."""
    working = getattr(told, "working", None)
    if working is not None:
        working(name, done, total)
    elif done == 0:
        told.note(f"{name}: computing {total:,} examples, which are kept")
