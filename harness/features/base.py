"""What features are: a fixed map of one raw example, and why it may be nothing more."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from numpy.typing import NDArray

from harness.features.tensors import bounded

if TYPE_CHECKING:
    from torch import Tensor

AUTO = "auto"
"""Stands for the features that fit the data: see :func:`harness.features.spec.chosen`."""

_AT_ONCE = 400 * 784
"""Values of raw examples that are computed together: 400 of MNIST's, for memory's sake."""


class Features(ABC):
    """A map from a raw example to d numbers, the same whatever else is in the training set.

    The contract on which certificates rest: a row of :meth:`rows` is a function of its own example
    and of the parameters alone. Were it to follow another training example, as after subtracting
    the mean of the training set, one poisoned example would reach every base model, whatever
    subsample or part it is in, and no certificate would hold. So a row may not depend on how many
    examples there are, where in the array its own stands, or which were computed before: no
    statistic, no vocabulary, no cache that another example fills, no matrix product that rounds
    differently for another number of rows.

    It is total: any example of the domain, however extreme, has finite features. One that raised
    would end the run, and an attacker may write it. What is not finite or beyond 2^40 is cut off by
    :meth:`compute` before any model sees it. :func:`harness.testing.check_features` tries all this.

    Parameters are the keyword arguments of the constructor, all with defaults. It raises UsageError
    for values that are not allowed: ``hog(cells=7)`` builds ``Hog(cells=7)``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    dear: ClassVar[bool] = False
    """Whether rows take so long that they are kept on disk, each under its example's content."""
    device: torch.device = torch.device("cpu")
    """Where :meth:`rows` may compute; what it gives is on the CPU."""

    @property
    def behind(self) -> tuple[type[Any] | ModuleType, ...]:
        """What else decides on rows, beside the class: the module of a user's function, say."""
        return ()

    def content(self) -> str:
        """A digest of all else that rows follow from, such as the weights of a network."""
        return ""

    def trusts(self) -> str:
        """What reports say is trusted beyond the clean training set, or nothing."""
        return ""

    def check(self, example: tuple[int, ...]) -> None:  # noqa: B027 - most take any shape
        """Raises UsageError where examples of that shape have no such features."""

    @abstractmethod
    def count(self, example: tuple[int, ...]) -> int:
        """d, the number of features of an example of that shape, which :meth:`check` let pass."""

    @abstractmethod
    def rows(self, x: NDArray[Any]) -> Tensor:
        """The features (m, d) float32, on the CPU, of raw examples ``x`` (m, ...), m >= 1.

        ``x`` is uint8 or finite floats, and is not to be changed. m is some of the examples, as
        many as fit in memory: nothing may follow from it.
        """

    def compute(self, x: NDArray[Any], chunk: int | None = None) -> Tensor:
        """The features (n, d) float32, on the CPU, of all raw examples ``x`` (n, ...).

        Finite and at most 2^40 in size. ``chunk`` examples are computed at a time; without it as
        many as make 313,600 values. Raises UsageError as :meth:`check`; TypeError where
        :meth:`rows` gives something else than ``m`` rows of ``d`` float32 numbers.
        """
        self.check(x.shape[1:])
        step = chunk or max(1, _AT_ONCE // max(1, math.prod(x.shape[1:])))
        d = self.count(x.shape[1:])
        parts = [torch.zeros(0, d)]
        for start in range(0, len(x), step):
            some = x[start : start + step]
            part = self.rows(some)
            wrong = wrong_form(part, (len(some), d))
            if wrong:
                raise TypeError(f"features {self.name}: {wrong}")
            parts.append(part)
        return bounded(torch.cat(parts))  # a copy, so that x stays what it is


def wrong_form(rows: object, shape: tuple[int, int]) -> str | None:
    """What is wrong with the type or shape of features that should be of ``shape`` (m, d)."""
    if not isinstance(rows, torch.Tensor):
        return f"rows() gave a {type(rows).__name__}; wanted a torch.Tensor"
    if rows.dtype != torch.float32 or rows.device.type != "cpu":
        return f"rows() gave {rows.dtype} on {rows.device}; wanted torch.float32 on the CPU"
    if tuple(rows.shape) != shape:
        return f"rows() gave shape {tuple(rows.shape)}; wanted (m, d) = {shape}"
    return None
