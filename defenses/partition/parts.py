"""Which part of the training set an example belongs to: by what it is, never by where it stands."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import settled

if TYPE_CHECKING:
    from harness.defense import Task

Hash = Literal["features", "content"]
"""What the hash of an example covers: its features alone, or its features and its label."""

DIGEST_BYTES = 16


def digests(x: NDArray[Any], y: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
    """(n, 2) uint64: the BLAKE2b digest of each example ``x[i]``, with its label if ``y`` is given.

    Equal examples have equal digests, and nothing but the example matters: not its index, the
    memory's layout or the byte order of the machine. Those of arrays that nobody can change, as a
    data set's are, are remembered for the next block.
    """
    if all(array is None or settled(array) for array in (x, y)):
        return _remembered(_Same(weakref.ref(x)), None if y is None else _Same(weakref.ref(y)))
    return _digests(x, y)


@dataclass(frozen=True, eq=False)
class _Same:
    """An array by which one it is, not by what it holds."""

    array: weakref.ref[NDArray[Any]]

    def __hash__(self) -> int:
        return id(self.array())

    def __eq__(self, other: object) -> bool:
        mine = self.array()
        return mine is not None and isinstance(other, _Same) and mine is other.array()


@lru_cache(maxsize=4)
def _remembered(x: _Same, y: _Same | None) -> NDArray[np.uint64]:
    examples, labels = x.array(), None if y is None else y.array()
    assert examples is not None
    found = _digests(examples, labels)
    found.flags.writeable = False
    return found


def _digests(x: NDArray[Any], y: NDArray[np.int64] | None) -> NDArray[np.uint64]:
    rows = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("<"))
    content = rows.reshape(len(rows), math.prod(x.shape[1:])).view(np.uint8)
    labels = [b""] * len(rows) if y is None else [int(label).to_bytes(8, "little") for label in y]
    joined = b"".join(
        hashlib.blake2b(row.data, digest_size=DIGEST_BYTES, person=label).digest()
        for row, label in zip(content, labels, strict=True)
    )
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2).astype(np.uint64)


def canonical_order(digest: NDArray[np.uint64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the indices of the examples sorted by digest and label: however they were given."""
    return np.lexsort((y, digest[:, 1], digest[:, 0]))


def hashed_parts(
    x: NDArray[Any], y: NDArray[np.int64], n_parts: int, covers: Hash
) -> list[NDArray[np.int64]]:
    """The examples of each part, in canonical order: the part is the digest modulo ``n_parts``.

    One example more or less changes one part, whichever examples there are besides (Levine and
    Feizi 2021, section 2). One whose label alone changes stays in its part if the hash ``covers``
    the features only. Parts may be empty.
    """
    digest = digests(x, None if covers == "features" else y)
    return _hashed(digest, y, n_parts)


def digests_of(task: Task, covers: Hash = "features") -> NDArray[np.uint64]:
    """The :func:`digests` (n, 2) of a task's training set, of what the hash ``covers``."""

    def of(x: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.uint64]:
        return digests(x, None if covers == "features" else y)

    return task.by_example(f"digest of {covers}", of)


def order_of(task: Task, covers: Hash = "features") -> NDArray[np.int64]:
    """The :func:`canonical_order` (n,) of a task's training set."""
    digest = digests_of(task, covers)
    return task.of_set(f"order by {covers}", lambda: canonical_order(digest, task.y_train))


def parts_of(task: Task, n_parts: int, covers: Hash) -> list[NDArray[np.int64]]:
    """The :func:`hashed_parts` of a task's training set."""
    digest = digests_of(task, covers)
    about = f"{n_parts} parts by {covers}"
    return task.of_set(about, lambda: _hashed(digest, task.y_train, n_parts))


def salted_parts_of(
    task: Task, n_parts: int, salts: Sequence[int], covers: Hash
) -> dict[int, list[NDArray[np.int64]]]:
    """The :func:`salted_parts` of a task's training set for each of the ``salts``."""

    def of(x: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.int64]:
        digest = digests(x, None if covers == "features" else y)
        return np.stack([salted_part_of(digest, n_parts, salt) for salt in salts], axis=1)

    order = order_of(task, covers)
    part = task.by_example(f"{n_parts} parts by {covers}, salted {salts}", of)
    return {salt: _grouped(part[:, i], order, n_parts) for i, salt in enumerate(salts)}


def _hashed(
    digest: NDArray[np.uint64], y: NDArray[np.int64], n_parts: int
) -> list[NDArray[np.int64]]:
    return _grouped(part_of(digest, n_parts), canonical_order(digest, y), n_parts)


def part_of(digest: NDArray[np.uint64], n_parts: int) -> NDArray[np.int64]:
    """(n,) the part of each example, given its ``digest`` (n, 2)."""
    return (digest[:, 0] % np.uint64(n_parts)).astype(np.int64)


def salted_parts(
    digest: NDArray[np.uint64], order: NDArray[np.int64], n_parts: int, salt: int
) -> list[NDArray[np.int64]]:
    """The examples of each part of the partition of that ``salt``, in canonical ``order`` (n,).

    The part is the BLAKE2b hash of an example's ``digest`` (n, 2) and the salt, modulo ``n_parts``.
    Partitions of different salts have nothing in common: two examples that share a part of one are
    as likely as any others to share a part of another. Were the salt only added to the hash, all
    partitions would be one, with its parts renumbered.
    """
    return _grouped(salted_part_of(digest, n_parts, salt), order, n_parts)


def salted_part_of(digest: NDArray[np.uint64], n_parts: int, salt: int) -> NDArray[np.int64]:
    """(n,) the part of each example in the partition of that ``salt``."""
    person = salt.to_bytes(8, "little")
    hashed = b"".join(
        hashlib.blake2b(row.data, digest_size=8, person=person).digest()
        for row in np.ascontiguousarray(digest.astype("<u8")).view(np.uint8)
    )
    part = np.frombuffer(hashed, dtype="<u8").astype(np.uint64) % np.uint64(n_parts)
    return part.astype(np.int64)


def distinct(digest: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One example for each distinct digest, and which of them each example equals.

    The first array (u,) is in the order of the digests, the second (n,) indexes it.
    """
    order = np.lexsort((digest[:, 1], digest[:, 0]))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (digest[order[1:]] != digest[order[:-1]]).any(axis=1)
    rank = np.empty(len(order), np.int64)
    rank[order] = new.cumsum() - 1
    return order[new], rank


def balanced_parts(
    digest: NDArray[np.uint64], y: NDArray[np.int64], n_parts: int
) -> list[NDArray[np.int64]]:
    """The examples of each part, in canonical order, with the parts as equal as they can be.

    ``digest`` (n, 2) is that of the features alone. The distinct ones, sorted, take turns; examples
    with the same features share a part, so that a changed label never moves another example. Only
    where features are trusted: an example more would move all that come after it.
    """
    _, rank = distinct(digest)
    return _grouped(rank % n_parts, canonical_order(digest, y), n_parts)


def _grouped(part: NDArray[Any], order: NDArray[np.int64], n_parts: int) -> list[NDArray[np.int64]]:
    """The indices of each part, in the order of ``order``."""
    small = part.astype(np.min_scalar_type(n_parts))  # these are sorted in linear time
    by_part = order[np.argsort(small[order], kind="stable")]
    ends = np.bincount(part.astype(np.int64), minlength=n_parts).cumsum().tolist()
    return [by_part[start:end] for start, end in zip([0, *ends], ends, strict=False)]
