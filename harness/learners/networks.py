"""Small convolutional networks, several at once: architectures, first weights, dropout, logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from harness.learners.convolution import convolve

DROPOUT_STAGE = 0.25
DROPOUT_HIDDEN = 0.5

Step = list[Tensor]
"""What chance decides in a step: the examples of the batch (b,), then, for each dropout, which
units are kept, (b, units) bool."""


@dataclass(frozen=True)
class Convolution:
    """3 x 3, stride 1, then the rectifier; ``same`` pads with zeros, so that the size stays."""

    filters: int
    same: bool = False


@dataclass(frozen=True)
class Architecture:
    """Stages of convolutions, each with 2 x 2 max-pooling and dropout; dense, dropout, softmax.

    ``stages``: the convolutions of each. ``hidden``: units of the dense layer, with the rectifier.
    ``colours``: channels that its images have, where only the number of their values is known.
    ``kept(generator, n, rate)`` draws dropout's choice for n units.
    """

    stages: tuple[tuple[Convolution, ...], ...]
    hidden: int
    colours: int
    kept: Callable[[Generator, int, float], Tensor]

    def sizes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(filters, height, width) after each stage; not positive where an image is too small."""
        found = []
        for stage in self.stages:
            lost = sum(0 if one.same else 2 for one in stage)
            height, width = (height - lost) // 2, (width - lost) // 2
            found.append((stage[-1].filters, height, width))
        return found

    def smallest(self) -> int:
        """Pixels that a side needs, so that one is left."""
        size = 1
        for stage in reversed(self.stages):
            size = 2 * size + sum(0 if one.same else 2 for one in stage)
        return size

    def weights(self, d: int) -> int:
        """About how many weights a network has, for images of ``d`` values: those that matter."""
        pooled = d // self.colours // 2 ** (2 * len(self.stages))
        return int(pooled * self.stages[-1][-1].filters * self.hidden)

    def activations(self, d: int) -> int:
        """About how many values the convolutions give for an image of ``d`` values."""
        pixels = d // self.colours
        return sum(
            pixels // 4**i * sum(one.filters for one in stage)
            for i, stage in enumerate(self.stages)
        )

    def initial(
        self, generators: Sequence[Generator], example: Sequence[int], n_labels: int
    ) -> list[Tensor]:
        """Glorot-uniform weights and zero biases of m networks, each drawn from its own generator.

        ``example``: (channels, height, width). Shapes: (m, filters, channels, 3, 3) and
        (m, filters) for each convolution, (m, features, hidden), (m, hidden), (m, hidden, c),
        (m, c).
        """
        channels, height, width = example
        shapes: list[tuple[tuple[int, ...], int, int]] = []
        for convolution in (one for stage in self.stages for one in stage):
            filters = convolution.filters
            shapes.append(((filters, channels, 3, 3), 9 * channels, 9 * filters))
            channels = filters
        for inputs, outputs in (
            (math.prod(self.sizes(height, width)[-1]), self.hidden),
            (self.hidden, n_labels),
        ):
            shapes.append(((inputs, outputs), inputs, outputs))
        parameters = []
        for shape, fan_in, fan_out in shapes:
            limit = math.sqrt(6 / (fan_in + fan_out))
            drawn = torch.stack([torch.rand(shape, generator=g) for g in generators])
            parameters.append((2 * drawn - 1) * limit)
            outputs = shape[0] if len(shape) == 4 else shape[1]
            parameters.append(torch.zeros(len(generators), outputs))
        return parameters

    def draws(
        self, generator: Generator, k: int, example: Sequence[int], epochs: int, batch: int
    ) -> Iterator[Step]:
        """What chance decides in each step of training one network on k examples.

        Each epoch passes over them in an order of its own, ``batch`` at a time.
        """
        units = [math.prod(size) for size in self.sizes(*example[1:])]
        rates = [DROPOUT_STAGE] * len(units) + [DROPOUT_HIDDEN]
        for _ in range(epochs if k else 0):
            for own in torch.randperm(k, generator=generator).split(batch):
                yield [own] + [
                    self.kept(generator, len(own) * n, rate).view(len(own), n)
                    for n, rate in zip([*units, self.hidden], rates, strict=True)
                ]

    def logits(
        self, x: Tensor, parameters: Sequence[Tensor], kept: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Logits (m, b, c) of images (m, b, channels, height, width).

        ``kept``: dropout's choice, (m, b, units) bool after each stage, then of the dense layer.
        """
        m, b = x.shape[:2]
        rest, masks = iter(parameters), iter(kept or ())
        # Channels innermost, in the strides of a single one, too; a copy, where a view would do.
        images = x.permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format)
        for *first, last in self.stages:
            for one in first:
                images = convolve(images, next(rest), next(rest), same=one.same).relu_()
            images = convolve(images, next(rest), next(rest), same=last.same)
            pooled = functional.max_pool2d(images.flatten(0, 1).permute(0, 3, 1, 2), 2)
            # The rectifier of the largest is the largest after the rectifier, for a quarter of it.
            images = pooled.relu_().permute(0, 2, 3, 1).unflatten(0, (m, b))
            if kept:
                height, width, filters = images.shape[2:]
                mask = next(masks).view(m, b, filters, height, width).permute(0, 1, 3, 4, 2)
                images = _dropped(images, mask, DROPOUT_STAGE)
        units = images.permute(0, 1, 4, 2, 3).reshape(m, b, -1)
        weight, bias = next(rest), next(rest).unsqueeze(1)
        units = torch.baddbmm(bias, units, weight).relu_()
        if kept:
            units = _dropped(units, next(masks), DROPOUT_HIDDEN)
        weight, bias = next(rest), next(rest).unsqueeze(1)
        return torch.baddbmm(bias, units, weight)


def _dropped(x: Tensor, kept: Tensor, rate: float) -> Tensor:
    return x * kept.to(x.dtype) / (1 - rate)


def kept_by_numbers(generator: Generator, n: int, rate: float) -> Tensor:
    """(n,) bool, each true with probability 1 - rate: a random number a unit."""
    return torch.rand(n, generator=generator) >= rate


def kept_by_bits(generator: Generator, n: int, rate: float) -> Tensor:
    """(n,) bool, each true with probability 1 - rate, which is 1/2 or 3/4: a bit or two a unit.

    Large networks would wait for their random numbers otherwise.
    """

    def octets() -> Tensor:
        return torch.randint(256, (-(-n // 8),), dtype=torch.uint8, generator=generator)

    kept = octets() if rate == 0.5 else octets() | octets()
    return torch.from_numpy(np.unpackbits(kept.numpy(), count=n)).view(torch.bool)


MNIST = Architecture(
    stages=((Convolution(32), Convolution(64)),), hidden=128, colours=1, kept=kept_by_numbers
)
"""Of the Keras example for MNIST."""
CIFAR10 = Architecture(
    stages=(
        (Convolution(32, same=True), Convolution(32)),
        (Convolution(64, same=True), Convolution(64)),
    ),
    hidden=512,
    colours=3,
    kept=kept_by_bits,
)
"""Of the Keras example for CIFAR-10."""
ARCHITECTURES = {"mnist": MNIST, "cifar10": CIFAR10}
