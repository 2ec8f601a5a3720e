"""Bagging with the networks of Jia et al. on a GPU, and whether it votes as the CPU does.

``python tests/benchmarks/gpu.py [steps] [train] [votes] [--cifar10 npz:PATH] [--data-root DIR]
[--markdown FILE]``: how long a step takes three ways; N = 1,000 base models in the paper's three
settings, each for at most ``--budget`` seconds, then scaled up; labels that the same models give on
both devices. Rows are printed as they come. Without a GPU it runs on the CPU: choose a small
``--models``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from harness.defense import even_blocks
from harness.defenses.bagging import certified_poisoning_size
from harness.features.tensors import images
from harness.learners.base import Learner
from harness.learners.cnn import BATCH, Cnn
from harness.learners.fitting import fit_all
from harness.learners.networks import CIFAR10, MNIST, Architecture
from harness.learners.spec import resolve
from harness.plugins.registry import load_dataset, load_registry
from harness.proofs.confidence import simuem
from harness.running.task import seeds
from harness.threats import Threat

ALPHA = 0.001

sys.path.append(str(Path(__file__).parents[1] / "learners"))  # where a user's modules lie


@dataclass(frozen=True)
class Setting:
    """One of the paper's: which data, which network, how many examples a model."""

    dataset: str
    learner: str
    k: int
    radii: tuple[int, ...]


@dataclass(frozen=True)
class Data:
    """Images and labels on a device."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: np.ndarray[tuple[int], np.dtype[np.int64]]
    n_labels: int


def load(name: str, root: Path | None, device: torch.device) -> Data:
    data = load_dataset(load_registry(), name, root)
    x, x_test = (images(one).to(device) for one in (data.x_train, data.x_test))
    y = torch.tensor(data.y_train, device=device)
    return Data(x, y, x_test, np.asarray(data.y_test), data.n_labels)


def learner_of(text: str) -> Learner:
    return resolve(text, load_registry().learners.values())


def wait(device: torch.device) -> float:
    """The time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def steps(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Milliseconds that one step of one model takes: forwards and backwards, no optimiser."""
    yield "what", "groups of channels", "matrix products", "one model after another"
    for name, architecture, example, b, block in (
        ("MNIST 1/7, k = 50, 11 models", MNIST, (1, 28, 28), 50, 11),
        ("MNIST, k = 100, 6 models", MNIST, (1, 28, 28), 100, 6),
        ("CIFAR-10, batches of 128, 4 models", CIFAR10, (3, 32, 32), BATCH, 4),
    ):
        generators = [Generator().manual_seed(i) for i in range(block)]
        parameters = [
            p.to(options.device).requires_grad_()
            for p in architecture.initial(generators, example, 10)
        ]
        x = torch.rand(block, b, *example).to(options.device)
        ways = (_grouped, Architecture.logits, _one_by_one)
        times = [
            _step(options, partial(way, architecture, x, parameters), parameters) for way in ways
        ]
        yield name, *(f"{one / block:.3f}" for one in times)


def _step(options: argparse.Namespace, forward: Callable[[], Tensor], p: list[Tensor]) -> float:
    """Milliseconds, the median of all rounds but the first."""
    flags = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
    with flags:
        times = []
        for _ in range(options.rounds + 1):
            start = wait(options.device)
            torch.autograd.grad(forward().logsumexp(2).sum(), p)
            times.append((wait(options.device) - start) * 1000)
    return float(np.median(times[1:]))


def _one_by_one(architecture: Architecture, x: Tensor, parameters: list[Tensor]) -> Tensor:
    own = zip(*(p.split(1) for p in parameters), strict=True)
    return torch.cat([architecture.logits(*one) for one in zip(x.split(1), own, strict=True)])


def _grouped(architecture: Architecture, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Logits of several networks whose channels are groups of one convolution's."""
    m, b = x.shape[:2]
    rest = iter(parameters)
    image = x.transpose(0, 1).flatten(1, 2)
    for stage in architecture.stages:
        for one in stage:
            weight, bias = next(rest).flatten(0, 1), next(rest).flatten()
            padding = 1 if one.same else 0
            image = functional.conv2d(image, weight, bias, padding=padding, groups=m).relu_()
        image = functional.max_pool2d(image, 2)
    units = image.view(b, m, -1).transpose(0, 1)
    units = torch.bmm(units, next(rest)).add(next(rest).unsqueeze(1)).relu()
    return torch.bmm(units, next(rest)).add(next(rest).unsqueeze(1))


def train(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """The paper's settings: votes of N base models, certified under ``any`` with alpha 0.001."""
    yield (
        "bagging with cnn", "models", "training", "predicting", "1,000 models take", "GPU memory",
        "clean", "certified accuracy",
    )  # fmt: skip
    settings = [
        Setting("mnist17", "cnn", 50, (10, 50)),
        Setting("mnist", "cnn", 100, (10, 50)),
    ]
    if options.cifar10:
        settings.append(Setting(options.cifar10, "cnn(architecture='cifar10')", 1000, (1, 5)))
    for setting in settings:
        try:
            data = load(setting.dataset, options.data_root, options.device)
        except Exception as error:  # the other settings are worth having
            yield f"{setting.dataset}: {error}", *[""] * 7
        else:
            yield _trained(options, setting, data)


def _trained(options: argparse.Namespace, setting: Setting, data: Data) -> Sequence[str]:
    device, k = options.device, setting.k
    learner = learner_of(setting.learner)
    assert isinstance(learner, Cnn)
    if options.epochs:
        learner.epochs = options.epochs
    blocks = even_blocks(options.models, learner.models_per_block(k, data.x[0].numel()))
    _warm_up(learner, data, len(blocks[0]), k)
    votes = np.zeros((len(data.x_test), data.n_labels), dtype=np.int64)
    training = predicting = 0.0
    models = 0
    for index, block in enumerate(blocks):
        rng = np.random.default_rng(seeds(0, f"bagging-{k}", index))
        drawn = rng.integers(len(data.x), size=(len(block), k))
        start = wait(device)
        fitted = fit_all(learner, data.x[drawn], data.y[drawn], data.n_labels, rng)
        between = wait(device)
        labels = fitted.predict(data.x_test)
        for label in range(data.n_labels):
            votes[:, label] += (labels == label).sum(0).cpu().numpy()
        end = wait(device)
        training, predicting = training + between - start, predicting + end - between
        models += len(block)
        if training + predicting > options.budget:
            break
    bounds = simuem(votes, ALPHA)
    radii = certified_poisoning_size(bounds.p_lower, bounds.p_upper, len(data.x), k, Threat.ANY)
    right = votes.argmax(1) == data.y_test
    certified = [f"{(right & (radii >= r)).mean():.4f} at r = {r}" for r in setting.radii]
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return (
        f"{setting.dataset.rpartition('/')[2]}, k = {k}, {learner.epochs} epochs",
        f"{models}",
        f"{training:.1f} s",
        f"{predicting:.1f} s",
        f"{(training + predicting) / models * 1000:.0f} s",
        f"{memory:.1f} GB",
        f"{right.mean():.4f}",
        ", ".join(certified),
    )


def _warm_up(learner: Cnn, data: Data, m: int, k: int) -> None:
    """What libraries do once is no part of what a model takes."""
    epochs, learner.epochs = learner.epochs, 1
    drawn = np.arange(m * k).reshape(m, k) % len(data.x)
    models = learner.fit(data.x[drawn], data.y[drawn], data.n_labels, np.random.default_rng(0))
    models.predict(data.x_test[:100])
    learner.epochs = epochs


LEARNERS = (
    ("ridge", 50),
    ("ridge", 1000),
    ("logistic", 50),
    ("kernel", 50),
    ("kernel(kernel='poly')", 50),
    ("cnn", 50),
    ("torch(module='modules_of_a_user:linear')", 50),
    ("torch(module='modules_of_a_user:convolving')", 50),
    ("cnn(architecture='cifar10', epochs=5)", 200),
)
"""Learners and examples a model."""


def votes(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """The same models on both devices, by random draws that no device has a say in."""
    yield "learner", "models", "CPU", "this device", "labels that differ"
    cpu = torch.device("cpu")
    for text, k in LEARNERS:
        name = (options.cifar10 or "mnist17") if "cifar10" in text else "mnist17"
        m = min(options.models, 16)
        learner, found = learner_of(text), []
        if options.epochs and hasattr(learner, "epochs"):
            learner.epochs = options.epochs
        for device in (cpu, options.device):
            data = load(name, options.data_root, device)
            x, x_test = data.x, data.x_test[:2000]
            if not learner.images:
                x, x_test = x.flatten(1), x_test.flatten(1)
            rng = np.random.default_rng(0)
            drawn = rng.integers(len(x), size=(m, k))
            start = wait(device)
            fitted = fit_all(learner, x[drawn], data.y[drawn], data.n_labels, rng)
            labels = fitted.predict(x_test)
            found.append((wait(device) - start, labels.cpu()))
        (on_cpu, before), (on_gpu, after) = found
        differ = f"{int((before != after).sum())} of {before.numel():,}"
        yield f"{text}, k = {k}", f"{m}", f"{on_cpu:.1f} s", f"{on_gpu:.1f} s", differ


PARTS = {one.__name__: one for one in (steps, train, votes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which; default all")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--models", type=int, default=1000, help="base models, N")
    parser.add_argument("--epochs", type=int, help="of the networks; default theirs")
    parser.add_argument("--budget", type=float, default=60, help="seconds for each setting")
    parser.add_argument("--rounds", type=int, default=20, help="steps that are timed")
    parser.add_argument("--cifar10", help="CIFAR-10, as npz:PATH")
    parser.add_argument("--data-root", type=Path, help="where MNIST lies")
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device.type == "cuda" else "the CPU"
    text = f"# Networks on a GPU\n\nWritten by `tests/benchmarks/gpu.py` on {name}, "
    text += f"{os.cpu_count()} cores, torch {torch.__version__}.\n"
    print(text)
    for part in options.parts or PARTS:
        begin = time.perf_counter()
        lines = [f"\n{PARTS[part].__doc__}\n".replace("``", "`")]
        print(lines[0], flush=True)
        for row in PARTS[part](options):
            lines.append(f"| {' | '.join(row)} |")
            if len(lines) == 2:
                lines.append(f"|{'---|' * len(row)}")
            print(*lines[-1 if len(lines) > 3 else 1 :], sep="\n", flush=True)
            if options.markdown:
                options.markdown.write_text(text + "\n".join(lines) + "\n")
        text += "\n".join(lines) + "\n"
        print(f"\n{part}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
