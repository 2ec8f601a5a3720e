"""The small convolutional networks of two Keras examples, many of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from harness.errors import UsageError, unknown
from harness.learners.ahead import drawn_ahead
from harness.learners.base import Learner, Models, own_examples
from harness.learners.devices import reproducible
from harness.learners.networks import ARCHITECTURES, MNIST, Architecture
from harness.specs.values import integer, number

BATCH = 128
"""Examples of one model in a step of the optimiser, as in the Keras example for MNIST."""
BYTES_AT_ONCE = {"cpu": 2**24, "cuda": 2**30}
"""What the activations of a predicting batch may take, about: what a CPU's cache holds, or what
keeps a GPU busy."""


@dataclass(frozen=True)
class CnnModels(Models):
    """m networks. ``parameters``: stacked weights and biases, see :meth:`Architecture.initial`;
    ``unseen`` (m, c) bool: the labels that a model never saw, and never predicts unless it saw
    none.
    """

    parameters: tuple[Tensor, ...]
    unseen: Tensor
    architecture: Architecture = MNIST

    @classmethod
    def concatenate(cls, batches: Sequence[CnnModels]) -> CnnModels:
        """All the models of several batches, as one batch."""
        stacked = zip(*(batch.parameters for batch in batches), strict=True)
        return cls(
            tuple(torch.cat(tensors) for tensors in stacked),
            torch.cat([batch.unseen for batch in batches]),
            batches[0].architecture,
        )

    def predict(self, x: Tensor) -> Tensor:
        return self._ask(x, lambda logits: logits.argmax(dim=2))

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        return self._ask(x, lambda logits: logits)

    def _ask(self, x: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
        """What ``answer`` makes of logits (m, b, c), minus infinity for labels never seen, joined.

        A CPU is asked one model after another, a part of ``x`` at a time, a GPU all of them.
        """
        together = len(self.unseen) if x.is_cuda else 1
        a_row = 4 * together * self.architecture.activations(x[:1].numel())
        parts = x.split(max(1, BYTES_AT_ONCE["cuda" if x.is_cuda else "cpu"] // (a_row + 1)))
        models = zip(*(p.split(together) for p in (*self.parameters, self.unseen)), strict=True)
        with torch.no_grad(), reproducible():
            answers = []
            for *parameters, unseen in models:
                logits = (
                    self.architecture.logits(part.expand(together, *part.shape), parameters)
                    for part in parts
                )
                masked = (part.masked_fill(unseen.unsqueeze(1), -math.inf) for part in logits)
                answers.append(torch.cat([answer(part) for part in masked], dim=1))
            return torch.cat(answers)


class Cnn(Learner):
    """Convolutions of 3 x 3, max-pooling, dropout, a dense layer, dropout, softmax.

    ``architecture`` is ``mnist``, convolutions 32 and 64 and dense 128, of the Keras example that
    Jia et al. (2021) use, or ``cifar10``: 32, 32, pooling, 64, 64, pooling and dense 512, of the
    Keras example for CIFAR-10. Of both the layers, dropout rates and Glorot-uniform weights are
    kept; both are trained by Adam for ``epochs`` passes over a model's k examples in batches of up
    to 128, at learning rate ``rate``. So the second one's RMSprop with decay and its random shifts
    and mirrors of images are left out: one optimiser for all that is compared, and no image that is
    none of a model's k.

    Raises UsageError for an unknown architecture, epochs below 1, a rate that is not positive and
    images that are too small: below 6 x 6 pixels, and 10 x 10 for ``cifar10``.
    """

    name = "cnn"
    summary = (
        "convolutional network of the Keras MNIST example, or of the CIFAR-10 one, on raw images "
        "(epochs, rate, architecture)"
    )
    images = True

    def __init__(self, epochs: int = 30, rate: float = 0.001, architecture: str = "mnist") -> None:
        self.epochs = integer(self.name, "epochs", epochs)
        self.rate = number(self.name, "rate", rate)
        if architecture not in ARCHITECTURES:
            raise unknown("architecture of learner cnn:", architecture, ARCHITECTURES)
        self.architecture = ARCHITECTURES[architecture]
        self._named = architecture

    def check(self, example: tuple[int, ...]) -> None:
        self._check(example[:2], example)

    def _check(self, sides: Sequence[int], example: tuple[int, ...]) -> None:
        least = self.architecture.smallest()
        if len(sides) != 2 or min(sides) < least:
            raise UsageError(
                f"cnn needs images of at least {least} x {least} pixels"
                f"{'' if self.architecture is MNIST else f' for architecture={self._named!r}'}; "
                f"an example here has shape {example}"
            )

    def models_per_block(self, k: int, d: int) -> int:
        """As many as keep weights, Adam's moments and activations below about 768 MiB.

        ``d`` is the number of pixels, all channels counted.
        """
        weights = 4 * 4 * self.architecture.weights(d)
        activations = 4 * 3 * self.architecture.activations(d) * min(k, BATCH)
        return int(np.clip(3 * 2**28 // (weights + activations + 1), 1, 100))

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> CnnModels:
        example = tuple(x.shape[2:])
        self._check(example[1:] if x.ndim == 5 else (), example)
        seeds = rng.integers(2**63, size=len(x))
        if present is not None:
            parts = list(own_examples(x, y, present))
        else:  # a CPU is fastest where what it works on fits into its cache
            together = len(x) if x.is_cuda else 1
            parts = list(zip(x.split(together), y.split(together), strict=True))
        starts = np.cumsum([0, *(len(own) for own, _ in parts)])
        return CnnModels.concatenate(
            [
                self._fit(*own, n_labels, seeds[start : start + len(own[0])])
                for start, own in zip(starts, parts, strict=False)
            ]
        )

    def _fit(self, x: Tensor, y: Tensor, n_labels: int, seeds: NDArray[np.int64]) -> CnnModels:
        """Trains m networks in step. No operation mixes two of them."""
        generators = [Generator().manual_seed(int(seed)) for seed in seeds]
        k, example = x.shape[1], x.shape[2:]
        parameters = [
            p.to(x.device) for p in self.architecture.initial(generators, example, n_labels)
        ]
        unseen = ~functional.one_hot(y, n_labels).any(dim=1)
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
        steps = [self.architecture.draws(g, k, example, self.epochs, BATCH) for g in generators]
        with torch.enable_grad(), reproducible():
            for parameter in parameters:
                parameter.requires_grad_()
            optimiser = torch.optim.Adam(parameters, lr=self.rate, fused=True)
            for batch, *kept in drawn_ahead(steps, x.device):
                logits = self.architecture.logits(x[rows, batch], parameters, kept)
                logits = logits.masked_fill(unseen.unsqueeze(1), -math.inf)
                # The mean over each model's batch; no term of the sum has two models in it.
                own = functional.cross_entropy(
                    logits.flatten(0, 1), y[rows, batch].flatten(), reduction="sum"
                )
                optimiser.zero_grad()
                (own / batch.shape[1]).backward()
                optimiser.step()
        return CnnModels(tuple(p.detach() for p in parameters), unseen, self.architecture)
