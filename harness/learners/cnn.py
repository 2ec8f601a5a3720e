"""The small convolutional network of the Keras MNIST example, many at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from harness.errors import UsageError
from harness.learners.base import Learner, Models, own_examples
from harness.specs.values import integer, number

SMALLEST = 6
"""Pixels that a side needs: two 3 x 3 convolutions and a 2 x 2 pooling leave one."""
BATCH = 128
"""Examples of one model in a step of the optimiser, as in the Keras example."""
FILTERS = (32, 64)
HIDDEN = 128
DROPOUT = (0.25, 0.5)
BYTES_AT_ONCE = 2**28
"""What the activations of a predicting batch may take, about."""


@dataclass(frozen=True)
class CnnModels(Models):
    """m networks. ``parameters``: stacked weights and biases, see :func:`_initial`; ``unseen``
    (m, c) bool: the labels that a model never saw, and never predicts unless it saw none.
    """

    parameters: tuple[Tensor, ...]
    unseen: Tensor

    def predict(self, x: Tensor) -> Tensor:
        return torch.cat([logits.argmax(dim=2) for logits in self._masked_logits(x)], dim=1)

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        return torch.cat(list(self._masked_logits(x)), dim=1)

    def _masked_logits(self, x: Tensor) -> Iterator[Tensor]:
        """Logits (m, b, c) of ``x``, a part at a time; minus infinity for labels never seen."""
        pixels = x.shape[2] * x.shape[3]
        at_once = max(1, BYTES_AT_ONCE // (len(self.unseen) * pixels * 4 * 2 * sum(FILTERS)))
        for part in x.split(at_once):
            with torch.no_grad(), _reproducible():
                logits = _logits(part.expand(len(self.unseen), *part.shape), self.parameters)
                yield logits.masked_fill(self.unseen.unsqueeze(1), -math.inf)


class Cnn(Learner):
    """Convolutions 32 and 64 of 3 x 3, max-pooling, dropout, dense 128, dropout, softmax.

    The architecture of the Keras example for MNIST that Jia et al. (2021) use, Glorot-uniform
    weights, batches of up to 128, trained by Adam for ``epochs`` passes over a model's k examples
    at learning rate ``rate``. Raises UsageError for epochs below 1, a rate that is not positive and
    images smaller than 6 x 6.
    """

    name = "cnn"
    summary = "convolutional network of the Keras MNIST example, on raw images (epochs, rate)"
    images = True

    def __init__(self, epochs: int = 30, rate: float = 0.001) -> None:
        self.epochs = integer(self.name, "epochs", epochs)
        self.rate = number(self.name, "rate", rate)

    def models_per_block(self, k: int, d: int) -> int:
        """As many as keep weights, Adam's moments and activations below about 768 MiB.

        ``d`` is the number of pixels, all channels counted.
        """
        weights = 4 * 4 * (d // 4 * FILTERS[1] * HIDDEN)
        activations = 4 * 3 * d * sum(FILTERS) * min(k, BATCH)
        return int(np.clip(3 * 2**28 // (weights + activations + 1), 1, 100))

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> CnnModels:
        if x.ndim != 5 or min(x.shape[3:]) < SMALLEST:
            raise UsageError(
                f"cnn needs images of at least {SMALLEST} x {SMALLEST} pixels; "
                f"an example here has shape {tuple(x.shape[2:])}"
            )
        seeds = rng.integers(2**63, size=len(x))
        if present is None:
            return self._fit(x, y, n_labels, seeds)
        models = [
            self._fit(*own, n_labels, seeds[i : i + 1])
            for i, own in enumerate(own_examples(x, y, present))
        ]
        stacked = zip(*(one.parameters for one in models), strict=True)
        return CnnModels(
            tuple(torch.cat(tensors) for tensors in stacked),
            torch.cat([one.unseen for one in models]),
        )

    def _fit(self, x: Tensor, y: Tensor, n_labels: int, seeds: NDArray[np.int64]) -> CnnModels:
        k = x.shape[1]
        generators = [Generator().manual_seed(int(seed)) for seed in seeds]
        parameters = [p.to(x.device) for p in _initial(generators, x.shape[2:], n_labels)]
        unseen = ~functional.one_hot(y, n_labels).any(dim=1)
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
        with torch.enable_grad(), _reproducible():
            for parameter in parameters:
                parameter.requires_grad_()
            optimiser = torch.optim.Adam(parameters, lr=self.rate)
            for _ in range(self.epochs if k else 0):
                order = torch.stack([torch.randperm(k, generator=g) for g in generators])
                for batch in order.to(x.device).split(BATCH, dim=1):
                    logits = _logits(x[rows, batch], parameters, generators)
                    logits = logits.masked_fill(unseen.unsqueeze(1), -math.inf)
                    # The mean over each model's batch; no term of the sum has two models in it.
                    own = functional.cross_entropy(
                        logits.flatten(0, 1), y[rows, batch].flatten(), reduction="sum"
                    )
                    optimiser.zero_grad()
                    (own / batch.shape[1]).backward()
                    optimiser.step()
        return CnnModels(tuple(p.detach() for p in parameters), unseen)


def _reproducible() -> AbstractContextManager[None]:
    """On a GPU, convolutions that give the same bits every time; nothing changes on a CPU."""
    manager: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return manager


def _initial(
    generators: Sequence[Generator], example: Sequence[int], n_labels: int
) -> tuple[Tensor, ...]:
    """Glorot-uniform weights and zero biases of m networks, each drawn from its own generator.

    Shapes: (m, 32, channels, 3, 3), (m, 32), (m, 64, 32, 3, 3), (m, 64), (m, features, 128),
    (m, 128), (m, 128, c), (m, c).
    """
    channels, height, width = example
    first, second = FILTERS
    features = second * ((height - 4) // 2) * ((width - 4) // 2)
    shapes = [
        ((first, channels, 3, 3), 9 * channels, 9 * first, first),
        ((second, first, 3, 3), 9 * first, 9 * second, second),
        ((features, HIDDEN), features, HIDDEN, HIDDEN),
        ((HIDDEN, n_labels), HIDDEN, n_labels, n_labels),
    ]
    parameters = []
    for shape, fan_in, fan_out, biases in shapes:
        limit = math.sqrt(6 / (fan_in + fan_out))
        drawn = [torch.rand(shape, generator=g) for g in generators]
        parameters.append((2 * torch.stack(drawn) - 1) * limit)
        parameters.append(torch.zeros(len(generators), biases))
    return tuple(parameters)


def _logits(
    x: Tensor, parameters: Sequence[Tensor], generators: Sequence[Generator] | None = None
) -> Tensor:
    """Logits (m, b, c) of images x (m, b, channels, height, width); dropout with ``generators``."""
    conv1, bias1, conv2, bias2, dense1, bias3, dense2, bias4 = parameters
    m, b = x.shape[:2]
    image = x.transpose(0, 1).flatten(1, 2)
    for weight, bias in ((conv1, bias1), (conv2, bias2)):
        image = functional.conv2d(image, weight.flatten(0, 1), bias.flatten(), groups=m).relu_()
    pooled = functional.max_pool2d(image, 2).view(b, m, -1).transpose(0, 1)
    if generators is not None:
        pooled = _dropout(pooled, DROPOUT[0], generators)
    hidden = torch.baddbmm(bias3.unsqueeze(1), pooled, dense1).relu()
    if generators is not None:
        hidden = _dropout(hidden, DROPOUT[1], generators)
    return torch.baddbmm(bias4.unsqueeze(1), hidden, dense2)


def _dropout(x: Tensor, rate: float, generators: Sequence[Generator]) -> Tensor:
    """Zeroes a fraction ``rate`` of x (m, b, f), each model's drawn from its own generator."""
    drawn = torch.stack([torch.rand(x.shape[1:], generator=g) for g in generators])
    return x * (drawn >= rate).to(x.device, x.dtype) / (1 - rate)
