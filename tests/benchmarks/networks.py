"""``cnn`` on a CPU beside what it was before: one batched operation for all models of a block.

``python tests/benchmarks/networks.py [--json]`` trains the same 20 models (k = 50, MNIST 1/7) both
ways, in turn, on two threads, lets them predict, and says how the times compare and whether the
labels are the same.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from harness.learners.cnn import BATCH, Cnn
from harness.learners.networks import MNIST
from harness.plugins.registry import load_dataset, load_registry

MODELS, K, EPOCHS, ROUNDS = 20, 50, 30, 3


def before(x: Tensor, y: Tensor, x_test: Tensor, epochs: int, seed: int) -> Tensor:
    """Labels (m, e) of models trained in blocks, as it once was: m groups of channels."""
    seeds = np.random.default_rng(seed).integers(2**63, size=len(x))
    size = Cnn().models_per_block(x.shape[1], x[0, 0].numel())
    generators = [Generator().manual_seed(int(one)) for one in seeds]
    parts = zip(x.split(size), y.split(size), range(0, len(x), size), strict=True)
    return torch.cat(
        [_block(*own, generators[at : at + size], x_test, epochs) for *own, at in parts]
    )


def _block(
    x: Tensor, y: Tensor, generators: list[Generator], x_test: Tensor, epochs: int
) -> Tensor:
    parameters = MNIST.initial(generators, x.shape[2:], 2)
    unseen = ~functional.one_hot(y, 2).any(dim=1)
    rows = torch.arange(len(x)).unsqueeze(1)
    for parameter in parameters:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(parameters, lr=0.001)
    for _ in range(epochs):
        order = torch.stack([torch.randperm(x.shape[1], generator=g) for g in generators])
        for batch in order.split(BATCH, dim=1):
            logits = _logits(x[rows, batch], parameters, generators)
            logits = logits.masked_fill(unseen.unsqueeze(1), -math.inf)
            loss = functional.cross_entropy(
                logits.flatten(0, 1), y[rows, batch].flatten(), reduction="sum"
            )
            optimiser.zero_grad()
            (loss / batch.shape[1]).backward()
            optimiser.step()
    with torch.no_grad():
        pixels = x_test[0, 0].numel()
        at_once = max(1, 2**28 // (len(x) * pixels * 4 * 2 * 96))
        answers = [
            _logits(part.expand(len(x), *part.shape), parameters)
            .masked_fill(unseen.unsqueeze(1), -math.inf)
            .argmax(dim=2)
            for part in x_test.split(at_once)
        ]
    return torch.cat(answers, dim=1)


def _logits(x: Tensor, parameters: list[Tensor], generators: Any = None) -> Tensor:
    conv1, bias1, conv2, bias2, dense1, bias3, dense2, bias4 = parameters
    m, b = x.shape[:2]
    image = x.transpose(0, 1).flatten(1, 2)
    for weight, bias in ((conv1, bias1), (conv2, bias2)):
        image = functional.conv2d(image, weight.flatten(0, 1), bias.flatten(), groups=m).relu_()
    pooled = functional.max_pool2d(image, 2).view(b, m, -1).transpose(0, 1)
    if generators is not None:
        pooled = _dropout(pooled, 0.25, generators)
    hidden = torch.baddbmm(bias3.unsqueeze(1), pooled, dense1).relu()
    if generators is not None:
        hidden = _dropout(hidden, 0.5, generators)
    return torch.baddbmm(bias4.unsqueeze(1), hidden, dense2)


def _dropout(x: Tensor, rate: float, generators: list[Generator]) -> Tensor:
    drawn = torch.stack([torch.rand(x.shape[1:], generator=g) for g in generators])
    return x * (drawn >= rate).to(x.dtype) / (1 - rate)


def now(x: Tensor, y: Tensor, x_test: Tensor, epochs: int, seed: int) -> Tensor:
    """The same as the learner does it, whatever the blocks."""
    return Cnn(epochs=epochs).fit(x, y, 2, np.random.default_rng(seed)).predict(x_test)


def measure(way: Callable[..., Tensor], *arguments: Any) -> tuple[float, float, Tensor]:
    """Wall seconds, seconds in the system, and what it gives."""
    start, system = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
    labels = way(*arguments)
    wall = time.perf_counter() - start
    return wall, resource.getrusage(resource.RUSAGE_SELF).ru_stime - system, labels


def compare(models: int, epochs: int, rounds: int) -> dict[str, float]:
    """Medians of both ways, run in turn, and the labels in which they differ."""
    torch.set_num_threads(2)
    data = load_dataset(load_registry(), "mnist17", None)
    x, x_test = (
        torch.from_numpy(images[:, None] / np.float32(255))
        for images in (data.x_train, data.x_test)
    )
    drawn = np.random.default_rng(0).integers(data.n_train, size=(models, K))
    given = x[drawn], torch.from_numpy(data.y_train[drawn]).long(), x_test, epochs, 1
    for way in (before, now):  # the optimiser imports much when it is first used
        way(*(one[:1] for one in given[:2]), x_test[:1], 1, 1)
    found = [(measure(before, *given), measure(now, *given)) for _ in range(rounds)]
    sides = list(zip(*found, strict=True))
    walls = [statistics.median(one[0] for one in side) for side in sides]
    return {
        "before_s": walls[0],
        "now_s": walls[1],
        "faster": statistics.median(a[0] / b[0] for a, b in found),
        "before_system_s": statistics.median(one[1] for one in sides[0]),
        "now_system_s": statistics.median(one[1] for one in sides[1]),
        "labels": float(found[0][0][2].numel()),
        "differ": float((found[0][0][2] != found[0][1][2]).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    for name, default in (("models", MODELS), ("epochs", EPOCHS), ("rounds", ROUNDS)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    found = compare(options.models, options.epochs, options.rounds)
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
