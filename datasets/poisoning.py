"""What an attacker did to a training set, what it costs, and whether a threat allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset

IntArray = NDArray[np.int64]

_NONE: IntArray = np.zeros(0, np.int64)
_CHANGES = ("deleted", "flipped", "flipped_y", "replaced", "replaced_x", "replaced_y")
_PARTS: tuple[str, ...] = (*_CHANGES, "inserted_x", "inserted_y")


class NotAllowed(HarnessError):  # noqa: N818 - what it is, as users say it
    """A poisoning that its threat does not allow, or that is larger than it may be."""

    exit_code = 3


@dataclass(frozen=True, eq=False)
class Poisoning:
    """A poisoned training set, told as what was done to the clean one of n examples.

    ``deleted`` (d,) int64: training examples that are gone, by their index. ``flipped`` (f,) and
    ``flipped_y`` (f,): examples whose label alone is another one. ``replaced`` (m,),
    ``replaced_x`` (m, ...) and ``replaced_y`` (m,): examples that are others, in their place.
    ``inserted_x`` (i, ...) and ``inserted_y`` (i,): examples that were added, behind the others, or
    before them where they come ``first``: a training set has no order that anybody could rely on.
    No training example may be in two of them. Examples are raw, of the data set's domain.
    """

    deleted: IntArray = field(default_factory=_NONE.copy)
    flipped: IntArray = field(default_factory=_NONE.copy)
    flipped_y: IntArray = field(default_factory=_NONE.copy)
    replaced: IntArray = field(default_factory=_NONE.copy)
    replaced_x: NDArray[Any] | None = None
    replaced_y: IntArray = field(default_factory=_NONE.copy)
    inserted_x: NDArray[Any] | None = None
    inserted_y: IntArray = field(default_factory=_NONE.copy)
    first: bool = False

    @classmethod
    def delete(cls, indices: Any) -> Poisoning:
        """Those training examples deleted."""
        return cls(deleted=_whole(indices))

    @classmethod
    def flip(cls, indices: Any, labels: Any) -> Poisoning:
        """The labels of those training examples changed to ``labels``, one or one for each."""
        flipped = _whole(indices)
        return cls(flipped=flipped, flipped_y=_each(labels, len(flipped)))

    @classmethod
    def replace(cls, indices: Any, x: NDArray[Any], labels: Any) -> Poisoning:
        """Those training examples replaced by ``x`` (m, ...), or all by one ``x`` (1, ...)."""
        replaced = _whole(indices)
        return cls(
            replaced=replaced,
            replaced_x=_rows(x, len(replaced)),
            replaced_y=_each(labels, len(replaced)),
        )

    @classmethod
    def insert(cls, x: NDArray[Any], labels: Any, *, first: bool = False) -> Poisoning:
        """Examples ``x`` (i, ...) added, with ``labels``, one or one for each."""
        return cls(inserted_x=x, inserted_y=_each(labels, len(x)), first=first)

    @classmethod
    def together(cls, parts: Sequence[Poisoning]) -> Poisoning:
        """All of them at once. Those that insert come first if any does."""

        def joined(name: str) -> Any:
            found = [getattr(part, name) for part in parts]
            return np.concatenate([one for one in found if one is not None and len(one)] or [_NONE])

        whole = {name: joined(name) for name in _PARTS}
        for rows, labels in (("replaced_x", "replaced_y"), ("inserted_x", "inserted_y")):
            if not len(whole[labels]):
                whole[rows] = None
        return cls(**whole, first=any(part.first for part in parts))

    @property
    def touched(self) -> IntArray:
        """The clean training examples that are deleted, relabelled or replaced."""
        return np.concatenate([self.deleted, self.flipped, self.replaced])

    def size(self, threat: Threat) -> int:
        """r: what it costs under that threat. Under ``any`` a deletion and an insertion are one
        modification: r = max(n, n') less the examples that stay (Jia et al., Eq. 1).
        """
        changed = len(self.flipped) + len(self.replaced)
        moved = (len(self.deleted), len(self.inserted_y))
        return changed + (max(moved) if threat is Threat.ANY else sum(moved))

    def check(self, data: Dataset, threat: Threat, r: int) -> None:
        """Raises NotAllowed, in one line, where an attacker may not do this to ``data`` under the
        threat with r poisonings.
        """
        self._check_form()
        allowed = _ALLOWED[threat]
        for kind, part in (
            ("deletes", self.deleted),
            ("flips the labels of", self.flipped),
            ("replaces", self.replaced),
            ("inserts", self.inserted_y),
        ):
            if len(part) and kind not in allowed:
                raise NotAllowed(
                    f"it {kind} {_examples(len(part))}, and under {threat} an attacker may "
                    f"{threat.meaning} only"
                )
        touched = self.touched
        if len(touched) and (touched.min() < 0 or touched.max() >= data.n_train):
            wrong = touched[(touched < 0) | (touched >= data.n_train)][0]
            raise NotAllowed(f"it changes training example {wrong}, of {data.n_train:,}")
        if len(np.unique(touched)) < len(touched):
            raise NotAllowed("it changes a training example twice")
        labels = np.concatenate([self.flipped_y, self.replaced_y, self.inserted_y])
        if len(labels) and (labels.min() < 0 or labels.max() >= data.n_labels):
            wrong = labels[(labels < 0) | (labels >= data.n_labels)][0]
            raise NotAllowed(f"it gives the label {wrong}, of {data.n_labels}")
        for x, y in ((self.replaced_x, self.replaced_y), (self.inserted_x, self.inserted_y)):
            self._check_rows(data, x, y)
        size = self.size(threat)
        if size > r:
            raise NotAllowed(f"it changes {_examples(size)} where {r:,} are allowed")

    def _check_form(self) -> None:
        """Whatever is wrong in here would show as an error of the defense that is trained on it."""
        for name in _PARTS:
            part = getattr(self, name)
            if name.endswith("_x"):
                if part is not None and not isinstance(part, np.ndarray):
                    raise NotAllowed(f"its {name} is a {type(part).__name__}; wanted an array")
            elif not (isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in "iu"):
                raise NotAllowed(f"its {name} is no array (m,) of whole numbers")
        for name in ("flipped", "replaced"):
            given, labels = len(getattr(self, name)), len(getattr(self, f"{name}_y"))
            if given != labels:
                raise NotAllowed(f"its {name} are {given:,}, and {name}_y gives {labels:,} labels")

    @staticmethod
    def _check_rows(data: Dataset, x: NDArray[Any] | None, y: IntArray) -> None:
        if x is None:
            if len(y):
                raise NotAllowed(f"it gives labels to {_examples(len(y))} that it does not give")
            return
        wanted = (len(y), *data.domain.example)
        if x.shape != wanted or x.dtype != data.x_train.dtype:
            raise NotAllowed(
                f"it gives examples {x.shape} of {x.dtype}; wanted {wanted} of {data.x_train.dtype}"
            )
        one = x[:1] if x.strides[0] == 0 else x
        if one.size and not (data.domain.lowest <= one.min() and one.max() <= data.domain.highest):
            raise NotAllowed(
                f"it gives values outside {data.domain.lowest:g} to {data.domain.highest:g}"
            )

    def order(self, n: int) -> IntArray:
        """(n',) where each example of the poisoned set is from: a clean example's index; n + j for
        the j-th of :meth:`rows`.
        """
        kept = np.arange(n)
        kept[self.replaced] = n + np.arange(len(self.replaced))
        if len(self.deleted):
            kept = np.delete(kept, self.deleted)
        new = n + len(self.replaced) + np.arange(len(self.inserted_y))
        return np.concatenate([new, kept] if self.first else [kept, new])

    def rows(self) -> NDArray[Any] | None:
        """(m + i, ...) the raw examples that are new: those in place of others, then those added.

        None where there are none.
        """
        parts = [x for x in (self.replaced_x, self.inserted_x) if x is not None and len(x)]
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def apply(self, data: Dataset) -> tuple[NDArray[Any], IntArray]:
        """The poisoned training set, (n', ...) and (n',)."""
        order, y = self.order(data.n_train), data.y_train.copy()
        y[self.flipped] = self.flipped_y
        labels = np.concatenate([y, self.replaced_y, self.inserted_y])[order]
        new = self.rows()
        if new is None:
            same = len(order) == data.n_train
            return (data.x_train if same else data.x_train[order]), labels
        clean = order < data.n_train
        x = np.empty((len(order), *data.x_train.shape[1:]), data.x_train.dtype)
        x[clean] = data.x_train[order[clean]]
        x[~clean] = new[order[~clean] - data.n_train]
        return x, labels

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What an ``.npz`` file of it holds: :meth:`from_arrays` reads it again."""
        found = {name: getattr(self, name) for name in _PARTS}
        kept = {name: value for name, value in found.items() if value is not None and len(value)}
        return kept | {"first": np.array(self.first)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Poisoning:
        """The poisoning that :meth:`arrays` told."""
        first = bool(arrays.get("first", False))
        return cls(**{name: arrays[name] for name in _PARTS if name in arrays}, first=first)

    def __str__(self) -> str:
        told = [
            f"{len(part):,} {what}"
            for part, what in (
                (self.deleted, "deleted"),
                (self.flipped, "with another label"),
                (self.replaced, "replaced"),
                (self.inserted_y, "inserted"),
            )
            if len(part)
        ]
        return f"training examples: {', '.join(told)}" if told else "nothing changed"


_ALLOWED = {
    Threat.ANY: {"deletes", "flips the labels of", "replaces", "inserts"},
    Threat.MODIFY: {"flips the labels of", "replaces"},
    Threat.INSERT: {"inserts"},
    Threat.DELETE: {"deletes"},
    Threat.LABEL_FLIP: {"flips the labels of"},
}
"""What an attacker may do under each threat; every example counts one."""


def _whole(indices: Any) -> IntArray:
    return np.atleast_1d(np.asarray(indices)).astype(np.int64)


def _each(labels: Any, count: int) -> IntArray:
    return np.broadcast_to(np.asarray(labels, np.int64), (count,)).copy()


def _rows(x: NDArray[Any], count: int) -> NDArray[Any]:
    return np.broadcast_to(x, (count, *x.shape[1:])) if len(x) != count else x


def _examples(count: int) -> str:
    return "1 training example" if count == 1 else f"{count:,} training examples"
