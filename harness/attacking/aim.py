"""One test example of a cell, as attacks are given it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.attacking.verdict import NOT_ITS_FAULT, pointwise, turned
from harness.attacking.victim import CLEAN
from harness.defense import Answer
from harness.running.containment import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.attacking.victim import Victim
    from harness.datasets.base import Dataset
    from harness.datasets.poisoning import Poisoning
    from harness.defense import Arrays, Defense, Task
    from harness.threats import Threat

_CHUNK = 2**22
"""Values whose differences are held at once."""


class OutOfTime(Exception):  # noqa: N818 - it is no error
    """The budget is used up."""


@dataclass
class Aim:
    """A test example under one threat: what :class:`harness.defense.Target` promises.

    ``predicted``, ``proved`` and ``rivals``: what the run found. ``shared``: what attacks remember
    for the whole cell. ``deadline``: when trainings end, as ``time.monotonic`` counts.
    """

    victim: Victim
    threat: Threat
    example: int
    predicted: int
    proved: int
    rivals: tuple[int, ...]
    shared: dict[str, Any]
    deadline: float = float("inf")
    notes: dict[str, Any] = field(default_factory=dict)
    expected: int | None = None
    _arrays: Arrays | None = None

    @property
    def data(self) -> Dataset:
        """The clean data set."""
        return self.victim.data

    @property
    def x(self) -> NDArray[Any]:
        """(...) the raw test example."""
        found: NDArray[Any] = self.data.x_test[self.example]
        return found

    @property
    def defense(self) -> Defense[Any]:
        """The defense, made anew."""
        return self.victim.defense

    @property
    def arrays(self) -> Arrays:
        """The evidence of the clean set, of this example alone."""
        if self._arrays is None:
            self._arrays = self.victim.evidence(CLEAN, self._alone).arrays
        return self._arrays

    @property
    def _alone(self) -> NDArray[np.int64]:
        return np.array([self.example])

    def task(self, index: int = 0) -> Task:
        """Block ``index`` on the clean training set, with this example alone."""
        return self.victim.task(self._alone, index)

    def features_of(self, spec: str, x: NDArray[Any]) -> Tensor:
        """The features (m, d) of raw examples ``x``."""
        return self.victim.features_of(spec, x)

    def nearness(self) -> NDArray[np.int64]:
        """(n,) training examples, the nearest first; of equally near ones, the first."""
        known = self.shared.setdefault("nearness", {})
        if self.example not in known:
            if len(known) > 256:  # some hundred kilobytes each
                known.clear()
            spec = str(getattr(self.defense.params, "features", "raw"))
            x, x_test = self.task().features(spec)
            step = max(1, _CHUNK // max(1, x.shape[1]))
            away = torch.cat([(part - x_test).square().sum(1) for part in x.split(step)])
            known[self.example] = away.cpu().numpy().argsort(kind="stable")
        found: NDArray[np.int64] = known[self.example]
        return found

    def ask(self, poisoning: Poisoning) -> Answer:
        """Trains on the poisoned set. Raises OutOfTime where the budget is used up.

        A defense that fails on it has no prediction: no certificate excludes that.
        """
        if time.monotonic() > self.deadline:
            raise OutOfTime
        try:
            evidence = self.victim.evidence(poisoning, self._alone)
            after = pointwise(self.victim.certify(evidence, self.threat))
        except NOT_ITS_FAULT:
            raise
        except (Exception, SystemExit) as error:  # of a plugin
            return Answer(-1, -1, turned=True, failure=describe(error))
        votes = evidence.get("votes")
        margin = 0.0
        if votes is not None and votes.shape == (1, self.data.n_labels):
            others = np.delete(votes[0], self.predicted)
            margin = float(votes[0, self.predicted] - others.max())
        changed = turned(np.array([self.predicted]), after, deterministic=self.deterministic)
        return Answer(
            int(after.predictions[0]), int(after.radii[0]), turned=bool(changed[0]), margin=margin
        )

    @property
    def deterministic(self) -> bool:
        """Whether nothing is sampled: then each prediction is what it is."""
        kind = self.victim.defense.guarantee(self.victim.cell.alpha).kind
        return kind == "deterministic"
