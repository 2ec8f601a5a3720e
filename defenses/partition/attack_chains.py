"""The changes of a part that make its base model vote for a rival: few of them, found greedily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.defenses.partition.attack_training import Change, Part, Trial, lead

_OPTIONS = 12
"""Changes of a part that are tried before the next one is made."""
_EXAMPLES = 256
"""Fewer are tried where more than so many examples would be trained on, but never less than two."""
_TRIALS = 60
"""How often each part is trained on, at most."""
_LARGE = 64
"""In parts of so many examples several are changed between two trainings."""

Chain = tuple[Change, ...]
"""Changes with all of which a base model votes for the rival."""


@dataclass
class _Open:
    """A part that is not turned yet: as it is now, what was changed, what else can be."""

    part: Part
    left: list[Change]
    made: list[Change] = field(default_factory=list)

    def options(self) -> list[Change]:
        """The different changes that are tried next, the first that are left."""
        most = np.clip(_EXAMPLES // (1 + len(self.part.rows)), 2, _OPTIONS)
        return list(dict.fromkeys(self.left))[:most]

    def change(self, options: list[Change], leads: NDArray[np.float32]) -> bool | None:
        """Makes the best of the options, given the ``leads`` that each gives the rival, or several.

        Whether that turns the part; None where several were made, and nobody knows.
        """
        turned = bool(leads.max() > 0)
        hurry = len(self.made) // 8 + (len(self.part.rows) // _LARGE if len(options) > 1 else 0)
        count = min(1 if turned else 1 + hurry, len(self.left))
        best = [options[i] for i in np.argsort(-leads, kind="stable")[:count]]
        for _ in range(count):
            change = best.pop(0) if best else self.left[0]
            self.part = self.part.after(change)
            self.left.remove(change)
            self.made.append(change)
        return turned if count == 1 else None


def chains(
    trial: Trial,
    parts: Sequence[Part],
    changes: Sequence[Sequence[Change]],
    rival: int,
    gains: NDArray[np.int64],
    needed: int,
) -> dict[int, Chain]:
    """By the index of a part, the changes that turn its base model, for as many as are found.

    ``changes``: for each part those that may be made, the most promising first. Every one of them
    is tried by itself, the best is made, and so on; in large parts and in long chains several at
    once. That ends when the models that are turned have ``gains`` (m,) of ``needed`` in all, when
    nothing is left to be changed, or when it takes too long.
    """
    waiting = {
        i: _Open(part, list(some))
        for i, (part, some) in enumerate(zip(parts, changes, strict=True))
        if gains[i] > 0 and some
    }
    found: dict[int, Chain] = {}
    budget = _TRIALS * trial.size(one.part for one in waiting.values())
    while waiting and budget > 0 and gains[list(found)].sum() < needed:
        budget -= _change_each(trial, waiting, rival, found)
        waiting = {i: one for i, one in waiting.items() if i not in found and one.left}
    return found


def _change_each(
    trial: Trial, waiting: dict[int, _Open], rival: int, found: dict[int, Chain]
) -> int:
    """Changes each part that waits; those that turn are ``found``. Returns the work that it was."""
    options = {i: one.options() for i, one in waiting.items()}
    tried = [waiting[i].part.after(change) for i, some in options.items() for change in some]
    leads = iter(lead(trial.scores(tried), rival))
    turned = {
        i: waiting[i].change(some, np.array([next(leads) for _ in some]))
        for i, some in options.items()
    }
    unknown = [i for i, known in turned.items() if known is None]
    again = [waiting[i].part for i in unknown]
    turned |= dict(zip(unknown, lead(trial.scores(again), rival) > 0, strict=True))
    found |= {i: tuple(waiting[i].made) for i, yes in turned.items() if yes}
    return trial.size(tried) + trial.size(again)
