"""Any PyTorch module as a base learner, several models at once where the module allows it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional

from harness.errors import UsageError
from harness.learners.base import Learner, Models, own_examples, reason
from harness.learners.devices import reproducible
from harness.learners.imported import factory_at
from harness.specs.values import integer, number

TOGETHER = {"cpu": 8, "cuda": 32}
"""Models that are trained in step. Always so many: fewer are padded, so that how many there are
decides on no rounding."""
MOST_IN_A_BLOCK = 32
"""Nobody knows how large they are."""
ROWS = 500
"""Examples that a model is asked about at a time."""


@dataclass(frozen=True)
class TorchModels(Models):
    """m trained modules, in evaluation mode; ``unseen`` (m, c) bool: the labels that a model never
    saw, and never predicts unless it saw none.
    """

    modules: Sequence[nn.Module]
    unseen: Tensor

    def predict(self, x: Tensor) -> Tensor:
        return self.scores(x, self.unseen.shape[1]).argmax(dim=2)

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        with torch.no_grad(), reproducible():
            logits = [torch.cat([one(part) for part in x.split(ROWS)]) for one in self.modules]
        return torch.stack(logits).float().masked_fill(self.unseen.unsqueeze(1), -math.inf)


class TorchModule(Learner):
    """Modules that a function of the user's makes, trained by Adam on the cross-entropy.

    ``module`` is ``package.module:function`` or ``package.module.function``, a class or a function
    that is called as ``function(example, n_labels, **parameters)`` once for each model: with the
    shape of what the module sees, (channels, height, width) of raw images or, with
    ``images=False``, (d,) features, and with the size of the public label set. It returns a
    ``torch.nn.Module`` that maps (b, *example) float32 to logits (b, n_labels). ``epochs`` passes
    over a model's k examples, in equal batches of at most ``batch``, at learning rate ``rate``.

    Modules without buffers, random layers and control flow that follows the data are trained
    several at once, by ``torch.func``; all others, those with running statistics or dropout, and on
    a CPU those with convolutions, which are faster so, one after another. First weights follow the
    run's seed, and so do random layers, which draw from the generator of their device: only without
    them do all devices train the same models, up to rounding. Frozen parameters stay as they are.

    Raises UsageError for what cannot be imported or called, for what is no module or gives other
    than logits, and for values that are not allowed.
    """

    name = "torch"
    summary = (
        "a PyTorch module of your own, module='package.module:function' "
        "(epochs, batch, rate, images, parameters)"
    )

    def __init__(
        self,
        module: str = "",
        epochs: int = 30,
        batch: int = 128,
        rate: float = 0.001,
        images: bool = True,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.factory = factory_at(module)
        self.module = module
        self.epochs = integer(self.name, "epochs", epochs)
        self.batch = integer(self.name, "batch", batch)
        self.rate = number(self.name, "rate", rate)
        if not isinstance(images, bool):
            raise UsageError(f"torch: images={images!r} is not allowed; wanted True or False")
        self.images = images
        named = isinstance(parameters, dict) and all(map(_is_name, parameters))
        if parameters is not None and not named:
            raise UsageError(
                f"torch: parameters={parameters!r} is not allowed; wanted {{'name': value, ...}}"
            )
        self.parameters = dict(parameters or {})
        self.behind = (_code_of(self.factory),)
        self._together: dict[tuple[tuple[int, ...], int, str], int] = {}

    def models_per_block(self, k: int, d: int) -> int:
        return min(super().models_per_block(k, d), MOST_IN_A_BLOCK)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> TorchModels:
        example = tuple(x.shape[2:])
        if len(example) != (3 if self.images else 1):
            wanted = "images" if self.images else "flat features, not images (images=False)"
            raise UsageError(f"{self._named()} needs {wanted}; an example has shape {example}")
        seeds = rng.integers(2**63, size=(len(x), 2))
        unseen = ~functional.one_hot(y, n_labels).bool()
        unseen = (unseen if present is None else unseen | ~present.unsqueeze(2)).all(dim=1)
        devices = [x.device] if x.is_cuda else []
        with torch.random.fork_rng(devices), torch.enable_grad(), reproducible():
            modules = [self._make(example, n_labels, int(seed)).to(x.device) for seed, _ in seeds]
            together = self._size(modules[0], example, n_labels, x.device)
            if present is None and together > 1:
                for start in range(0, len(x), together):
                    part = slice(start, start + together)
                    self._train_together(
                        modules[part], x[part], y[part], unseen[part], seeds[part], together
                    )
            else:
                kept = torch.ones_like(y, dtype=torch.bool) if present is None else present
                for i, (own, labels) in enumerate(own_examples(x, y, kept)):
                    self._train(modules[i], own[0], labels[0], unseen[i], seeds[i])
        return TorchModels([one.eval() for one in modules], unseen)

    def _named(self) -> str:
        return f"learner torch(module={self.module!r})"

    def _make(self, example: tuple[int, ...], n_labels: int, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        try:
            made = self.factory(example, n_labels, **self.parameters)
        except Exception as error:  # of the user's code, which no example has a say in
            raise UsageError(
                f"{self._named()} cannot be called with {example}, {n_labels}"
                f"{' and parameters' if self.parameters else ''}: {reason(error)}"
            ) from error
        if not isinstance(made, nn.Module):
            raise UsageError(
                f"{self._named()} gives {type(made).__name__}; wanted a torch.nn.Module"
            )
        if not any(p.requires_grad for p in made.parameters()):
            raise UsageError(f"{self._named()} has no parameters to train")
        return made

    def _size(
        self, module: nn.Module, example: tuple[int, ...], n_labels: int, device: torch.device
    ) -> int:
        """How many models are trained in step; decided on examples of zeros. Raises UsageError
        where the module does not give logits.
        """
        key = (example, n_labels, device.type)
        if key not in self._together:
            self._check(module, example, n_labels, device)
            convolves = any(isinstance(one, nn.modules.conv._ConvNd) for one in module.modules())
            alone = any(True for _ in module.buffers()) or (convolves and device.type == "cpu")
            most = TOGETHER["cuda" if device.type == "cuda" else "cpu"]
            apart = alone or not _allows(module, torch.zeros(2, 2, *example, device=device))
            self._together[key] = 1 if apart else most
        return self._together[key]

    def _check(
        self, module: nn.Module, example: tuple[int, ...], n_labels: int, device: torch.device
    ) -> None:
        module.eval()
        try:
            with torch.no_grad():
                logits = module(torch.zeros(1, *example, device=device))
        except Exception as error:  # as above
            raise UsageError(
                f"{self._named()} cannot be given an example of shape {example}: {reason(error)}"
            ) from error
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if shape != (1, n_labels) or not logits.is_floating_point():
            raise UsageError(
                f"{self._named()} gives {shape} for one example; wanted logits (1, {n_labels})"
            )

    def _batches(self, k: int, seed: int) -> Iterator[Tensor]:
        """The examples of each step: every epoch in an order of its own, in equal parts."""
        generator = Generator().manual_seed(seed)
        for _ in range(self.epochs if k else 0):
            yield from torch.randperm(k, generator=generator).tensor_split(-(-k // self.batch))

    def _train(
        self, module: nn.Module, x: Tensor, y: Tensor, unseen: Tensor, seeds: NDArray[np.int64]
    ) -> None:
        """Trains one module in place on its examples (k, ...)."""
        module.train()
        torch.manual_seed(int(seeds[1]))
        trained = [p for p in module.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=self.rate)
        for batch in self._batches(len(x), int(seeds[1])):
            own = batch.to(x.device)
            logits = module(x[own]).masked_fill(unseen, -math.inf)
            optimiser.zero_grad()
            functional.cross_entropy(logits, y[own]).backward()
            optimiser.step()

    def _train_together(
        self,
        modules: Sequence[nn.Module],
        x: Tensor,
        y: Tensor,
        unseen: Tensor,
        seeds: NDArray[np.int64],
        size: int,
    ) -> None:
        """Trains modules in place, ``size`` in step, the first one again where there are fewer."""
        index = [i if i < len(modules) else 0 for i in range(size)]
        x, y, unseen = x[index], y[index], unseen[index].unsqueeze(1)
        rows = torch.arange(size, device=x.device).unsqueeze(1)
        base = modules[0].train()
        stacked, buffers = torch.func.stack_module_state([modules[i] for i in index])
        frozen = {name for name, p in base.named_parameters() if not p.requires_grad}
        trained = [p for name, p in stacked.items() if name not in frozen]
        optimiser = torch.optim.Adam(trained, lr=self.rate)
        forward = _forward(base)
        steps = zip(*(self._batches(y.shape[1], int(seeds[i, 1])) for i in index), strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch.func could do faster
            for step in steps:
                batch = torch.stack(step).to(x.device)
                logits = forward(stacked, buffers, x[rows, batch]).masked_fill(unseen, -math.inf)
                own = functional.cross_entropy(
                    logits.flatten(0, 1), y[rows, batch].flatten(), reduction="sum"
                )
                optimiser.zero_grad()
                (own / batch.shape[1]).backward()
                optimiser.step()
        with torch.no_grad():
            for i, module in enumerate(modules):
                for name, parameter in module.named_parameters():
                    parameter.copy_(stacked[name][i])


def _forward(module: nn.Module) -> Callable[..., Tensor]:
    """The logits (m, b, c) of models with stacked parameters and buffers, for x (m, b, ...)."""

    def one(parameters: Any, buffers: Any, x: Tensor) -> Any:
        return torch.func.functional_call(module, (parameters, buffers), (x,))

    found: Callable[..., Tensor] = torch.func.vmap(one, randomness="error")
    return found


def _allows(module: nn.Module, x: Tensor) -> bool:
    """Whether ``torch.func`` can train modules like this one at once; ``x`` (m, b, ...)."""
    module.train()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stacked, buffers = torch.func.stack_module_state([module] * len(x))
            _forward(module)(stacked, buffers, x).sum().backward()
    except Exception:  # random layers, control flow that follows the data, what it does not know
        return False
    return True


def _code_of(factory: Callable[..., Any]) -> type[Any] | ModuleType:
    return factory if isinstance(factory, type) else sys.modules[factory.__module__]


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier()
