"""Poisonings that an attacker could make of a small training set, and where it would aim them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.attacks.near_copies import near_copy
from harness.datasets.poisoning import Poisoning
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.datasets.base import Dataset
    from harness.datasets.domain import Domain

ALLOWED = {
    Threat.ANY: frozenset({Threat.MODIFY, Threat.INSERT, Threat.DELETE, Threat.LABEL_FLIP}),
    Threat.MODIFY: frozenset({Threat.MODIFY, Threat.LABEL_FLIP}),
    Threat.INSERT: frozenset({Threat.INSERT}),
    Threat.DELETE: frozenset({Threat.DELETE}),
    Threat.LABEL_FLIP: frozenset({Threat.LABEL_FLIP}),
}
"""Which edits an attacker may make under each threat; each counts one."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One poisoned example: what was done, to which training example, and what came of it.

    ``kind`` is one of MODIFY, INSERT, DELETE and LABEL_FLIP; ``index`` is -1 for an inserted one.
    ``x`` is None where the features stay, ``label`` is -1 for a deleted one; ``about`` says in
    words what the new example is.
    """

    kind: Threat
    index: int = -1
    x: NDArray[Any] | None = None
    label: int = -1
    about: str = ""

    def __str__(self) -> str:
        if self.kind is Threat.DELETE:
            return f"training example {self.index} deleted"
        if self.kind is Threat.LABEL_FLIP:
            return f"the label of training example {self.index} changed to {self.label}"
        new = f"{self.about} with label {self.label}"
        if self.kind is Threat.INSERT:
            return f"{new} inserted"
        return f"training example {self.index} replaced by {new}"


Edits = tuple[Edit, ...]


def poisoning(edits: Edits) -> Poisoning:
    """All of these edits at once, as a training set is poisoned with them."""
    return Poisoning.together([_ONE[edit.kind](edit) for edit in edits])


_ONE: dict[Threat, Callable[[Edit], Poisoning]] = {
    Threat.DELETE: lambda edit: Poisoning.delete([edit.index]),
    Threat.LABEL_FLIP: lambda edit: Poisoning.flip([edit.index], edit.label),
    Threat.INSERT: lambda edit: Poisoning.insert(_row(edit), edit.label),
    Threat.MODIFY: lambda edit: Poisoning.replace([edit.index], _row(edit), edit.label),
}


def _row(edit: Edit) -> NDArray[Any]:
    assert edit.x is not None
    row: NDArray[Any] = edit.x[None]
    return row


def allowed(threat: Threat, edits: Edits) -> bool:
    """Whether an attacker may make all of these edits under that threat."""
    return all(edit.kind in ALLOWED[threat] for edit in edits)


def told(edits: Edits) -> str:
    """The edits in words."""
    return " and ".join(map(str, edits))


def deletions(data: Dataset) -> list[Edit]:
    """Each training example deleted."""
    return [Edit(Threat.DELETE, j) for j in range(data.n_train)]


def flips(data: Dataset) -> list[Edit]:
    """Each training example's label changed to each other label of the domain."""
    return [
        Edit(Threat.LABEL_FLIP, j, label=label)
        for j in range(data.n_train)
        for label in range(data.n_labels)
        if label != data.y_train[j]
    ]


def insertions(data: Dataset, targets: Sequence[int]) -> list[Edit]:
    """Corners of the domain, duplicates and near copies of test examples, with every label."""
    examples = [
        *corners(data.domain),
        *((data.x_train[j].copy(), f"a copy of training example {j}") for j in (0, 1)),
    ]
    for target in targets:
        examples += near_copies(data, target)
    return [
        Edit(Threat.INSERT, x=x, label=label, about=about)
        for x, about in examples
        for label in range(data.n_labels)
    ]


def corners(domain: Domain) -> Iterator[tuple[NDArray[Any], str]]:
    """Examples of extreme values: the least, the greatest, both in turn, one alone, and none."""
    d = int(np.prod(domain.example))
    low, high = domain.lowest, domain.highest
    turns, alone = np.full(d, low), np.full(d, np.clip(0.0, low, high))
    turns[::2] = high
    rows = np.repeat(np.resize([high, low], domain.example[0]), d // domain.example[0])
    alone[d // 2] = high
    for values, about in (
        (np.full(d, low), "an example of the lowest values"),
        (np.full(d, high), "an example of the highest values"),
        (turns, "an example of the highest and the lowest values in turn"),
        (rows, "an example with rows of the highest and of the lowest values"),
        (alone, "an example with one highest value"),
    ):
        yield values.reshape(domain.example).astype(domain.dtype), about


def near_copies(data: Dataset, target: int, size: int = 3) -> list[tuple[NDArray[Any], str]]:
    """A test example, and copies that differ from it in the last bit of one value.

    So that a part that was found by a hash is one of several.
    """
    about, changed = f"a copy of test example {target}", " with the last bit of a value changed"
    return [
        (near_copy(data, target, place), about + changed * (place > 0)) for place in range(size)
    ]


def replacing(index: int, new: Edit) -> Edit:
    """The inserted example of ``new`` in the place of training example ``index``."""
    return Edit(Threat.MODIFY, index, new.x, new.label, new.about)
