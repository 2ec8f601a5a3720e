"""A task that remembers what every base model was given and what it predicted."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.running.task import BlockTask

if TYPE_CHECKING:
    from torch import Tensor

    from harness.learners.base import Learner, Models


@dataclass(frozen=True)
class Given:
    """One base model: the examples that it was fitted to, each as the bytes of its features and
    label, the test features that it was asked about, and its answers, as bytes. ``scores``: of all
    labels (e, c) for them, whether it was asked for these or not.
    """

    rows: tuple[bytes, ...]
    asked: bytes
    answers: bytes
    scores: tuple[NDArray[Any], ...] = field(compare=False)


@dataclass
class _Fit:
    """One call of ``Learner.fit``: the examples of its m models, what all of them were asked about
    and their answers (m, ...).
    """

    rows: list[tuple[bytes, ...]]
    asked: list[bytes] = field(default_factory=list)
    answers: list[NDArray[Any]] = field(default_factory=list)
    scores: list[NDArray[Any]] = field(default_factory=list)

    def given(self) -> list[Given]:
        """Its models, one by one."""
        each = [
            b"".join(answer[i].tobytes() for answer in self.answers) for i in range(len(self.rows))
        ]
        asked = b"".join(self.asked)
        scores = [tuple(table[i] for table in self.scores) for i in range(len(self.rows))]
        return [Given(r, asked, a, s) for r, a, s in zip(self.rows, each, scores, strict=True)]


class RecordingTask(BlockTask):
    """A block of the real runner whose learners are overheard."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.specs: set[str] = set()
        """The learners that were asked for."""
        self._fits: list[_Fit] = []
        self._lent: dict[str, tuple[Any, Any]] = {
            key: (getattr(self, key), getattr(self, key).copy())
            for key in ("x_train", "y_train", "x_test")
        }

    def features(self, spec: str, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        return self._lend(f"features {spec}", super().features(spec, rows), rows)

    def images(self, rows: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        return self._lend("images", super().images(rows), rows)

    def _lend(
        self, name: str, both: tuple[Tensor, Tensor], rows: NDArray[np.int64] | None
    ) -> tuple[Tensor, Tensor]:
        for part, values in zip(("training", "test"), both, strict=True):
            if part == "test" or rows is None:  # rows are the block's own
                self._lent.setdefault(f"{name} of the {part} set", (values, values.clone()))
        return both

    def learner(self, spec: str) -> Learner:
        self.specs.add(spec)
        return _overheard(super().learner(spec), self._fits)

    def given(self) -> list[Given]:
        """The base models of this block, in the order in which they were fitted."""
        return [one for fit in self._fits for one in fit.given()]

    def spoilt(self) -> set[str]:
        """The arrays that do not hold any more what they held when they were handed out."""
        return {name for name, (now, then) in self._lent.items() if not bool((now == then).all())}


def _overheard(learner: Learner, fits: list[_Fit]) -> Learner:
    """A twin of the learner, of its own type, for which ``fits`` are kept."""

    def fit(
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> Models:
        call = _Fit(_rows(x, y, present))
        fits.append(call)
        return _overheard_models(learner.fit(x, y, n_labels, rng, present), call, n_labels)

    twin = copy.copy(learner)
    object.__setattr__(twin, "fit", fit)
    return twin


def _overheard_models(models: Models, call: _Fit, c: int) -> Models:
    """A twin of the models, of their own type, whose answers are kept."""

    def predict(x: Tensor) -> Tensor:
        return kept(x, models.predict(x))

    def scores(x: Tensor, n_labels: int) -> Tensor:
        return kept(x, models.scores(x, n_labels))

    def kept(x: Tensor, answer: Tensor) -> Tensor:
        call.asked.append(x.cpu().numpy().tobytes())
        call.answers.append(answer.cpu().numpy().copy())
        call.scores.append(models.scores(x, c).cpu().numpy().copy())
        return answer

    twin = copy.copy(models)
    object.__setattr__(twin, "predict", predict)
    object.__setattr__(twin, "scores", scores)
    return twin


def _rows(x: Tensor, y: Tensor, present: Tensor | None) -> list[tuple[bytes, ...]]:
    features, labels = x.flatten(2).cpu().numpy(), y.cpu().numpy()
    counts = np.ones(labels.shape, bool) if present is None else present.cpu().numpy()
    return [
        tuple(features[i, j].tobytes() + labels[i, j].tobytes() for j in np.flatnonzero(counts[i]))
        for i in range(len(labels))
    ]
