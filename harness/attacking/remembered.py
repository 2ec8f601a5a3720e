"""Base models that were fitted before: most of a partition's are the same on every poisoned set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.learners.base import Models
from harness.running.task import BlockTask

if TYPE_CHECKING:
    from torch import Tensor

    from harness.learners.base import Learner

_MOST = 20_000
"""Models that are remembered."""


@dataclass
class Memory:
    """Models that were fitted alone, by all that they follow from: the learner's name, its own
    examples and labels, and its generator. Whoever confirms an attack does without.
    """

    _known: dict[bytes, Models] = field(default_factory=dict)

    def give(self, spec: str, learner: Learner) -> Learner:
        """The same learner; what it fits alone, it fits once."""
        fit = learner.fit

        def remembering(
            x: Tensor,
            y: Tensor,
            n_labels: int,
            rng: np.random.Generator,
            present: Tensor | None = None,
        ) -> Models:
            if len(x) != 1 or present is not None or x.device.type != "cpu":
                return fit(x, y, n_labels, rng, present)
            key = _key(spec, x, y, n_labels, rng)
            if key not in self._known:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = _Remembered(fit(x, y, n_labels, rng))
            return self._known[key]

        setattr(learner, "fit", remembering)  # noqa: B010 - a method, as mypy would say
        return learner


class RememberingTask(BlockTask):
    """A block whose learners remember what they fitted on other poisoned sets."""

    memory: Memory

    def learner(self, spec: str) -> Learner:
        return self.memory.give(spec, super().learner(spec))


@dataclass
class _Remembered(Models):
    """Fitted models, with what they said of the test examples that they were asked about last."""

    models: Models
    _asked: dict[str, tuple[bytes, Tensor]] = field(default_factory=dict)

    def predict(self, x: Tensor) -> Tensor:
        return self._once("predict", x, lambda: self.models.predict(x))

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        return self._once(f"scores {n_labels}", x, lambda: self.models.scores(x, n_labels))

    def _once(self, question: str, x: Tensor, ask: Callable[[], Tensor]) -> Tensor:
        about = blake2b(_bytes(x), digest_size=16).digest()
        known = self._asked.get(question)
        if known is None or known[0] != about:
            known = self._asked[question] = about, ask()
        return known[1]


def _key(spec: str, x: Tensor, y: Tensor, n_labels: int, rng: np.random.Generator) -> bytes:
    state = f"{spec} {tuple(x.shape)} {n_labels} {rng.bit_generator.state}"
    content = blake2b(state.encode(), digest_size=16)
    content.update(_bytes(x))
    content.update(_bytes(y))
    return content.digest()


def _bytes(tensor: Tensor) -> Any:
    return tensor.contiguous().numpy().reshape(-1).view(np.uint8).data
