"""One model after another with Opacus's PrivacyEngine: any torch module, Poisson sampling.

The reference for the batched engine, in double precision as that is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from harness.defenses.dp.batched import predictions
from harness.defenses.dp.mechanism import Mechanism, outputs_for

ModuleFactory = Callable[[torch.Generator], nn.Module]
"""Makes an untrained module; all its randomness comes from the generator, on the CPU."""

_GRADIENTS_AT_ONCE = 2**25
"""Values in the example gradients that are in memory at once: 128 MiB of float32."""
_EXAMPLES_AT_ONCE = 4096


def linear(inputs: int, n_labels: int) -> ModuleFactory:
    """The batched engine's learner as a module: no bias of its own, and zero to begin with."""

    def make(_: torch.Generator) -> nn.Module:
        # On "meta" torch initialises nothing, so its global generator stays as it is.
        module = nn.Linear(inputs, outputs_for(n_labels), bias=False, device="meta")
        module.to_empty(device="cpu")
        nn.init.zeros_(module.weight)
        return module

    return make


def train(
    x: Tensor,
    y: Tensor,
    module: ModuleFactory,
    mechanism: Mechanism,
    rng: np.random.Generator,
    *,
    engine: PrivacyEngine | None = None,
    batches: Iterable[list[int]] | None = None,
) -> nn.Module:
    """One trained module, from examples ``x`` (n, ...) and labels ``y`` (n,) int64.

    A module that returns one score an example is trained with the logistic loss, otherwise with
    cross-entropy; both follow their mean. ``engine`` is a fresh PrivacyEngine unless given; it
    knows afterwards what was spent. ``batches`` are the examples of each step, drawn by Opacus's
    Poisson sampler unless given.

    ``make_private`` with ``poisson_sampling=True`` would round the sample rate to one over a whole
    number, and the divisor, the expected batch size, to a whole number that follows the training
    set. So Opacus's sampler is built here with the exact rate and number of steps, and the divisor
    is the public one.
    """
    for_batches, for_module, for_noise = (
        torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        for device in ("cpu", "cpu", x.device)
    )
    if batches is None:
        batches = UniformWithReplacementSampler(
            num_samples=len(x),
            sample_rate=mechanism.sample_rate,
            generator=for_batches,
            steps=mechanism.steps,
        )
    x, bare = x.double(), module(for_module).to(x.device, torch.float64)
    with _expected_warnings():
        engine = engine or PrivacyEngine()
        private, optimizer, loader = engine.make_private(
            module=bare,
            optimizer=torch.optim.SGD(bare.parameters(), lr=mechanism.learning_rate),
            data_loader=DataLoader(
                _Rows(x, y), batch_sampler=batches, collate_fn=_as_it_is, generator=for_batches
            ),
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=mechanism.clip,
            poisson_sampling=False,
            noise_generator=for_noise,
        )
        private.forbid_grad_accumulation()
        optimizer.expected_batch_size = mechanism.expected_batch
        optimizer.attach_step_hook(
            engine.accountant.get_optimizer_hook_fn(sample_rate=mechanism.sample_rate)
        )
        size = _examples_at_once(bare)
        for batch_x, batch_y in loader:
            parts = list(zip(torch.split(batch_x, size), torch.split(batch_y, size), strict=True))
            for i, (part_x, part_y) in enumerate(parts):
                optimizer.signal_skip_step(do_skip=i < len(parts) - 1)
                optimizer.zero_grad()
                torch.autograd.backward(_loss(private(part_x), part_y))
                optimizer.step()
        optimizer.zero_grad()
        private.cleanup()
    return bare.eval()


def predict(module: nn.Module, x: Tensor) -> Tensor:
    """Labels (e,) int64 that a trained module predicts; ties go to the smaller label."""
    with torch.no_grad():
        parts = torch.split(x, _EXAMPLES_AT_ONCE)
        return torch.cat([predictions(module(part.double())) for part in parts])


class _Rows(Dataset[tuple[Tensor, Tensor]]):
    """Examples by lists of indices: a whole batch is one look-up, and may be empty."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.as_tensor(indices, dtype=torch.int64, device=self.x.device)
        return self.x[chosen], self.y[chosen]


def _as_it_is(batch: Any) -> Any:
    return batch


def _examples_at_once(module: nn.Module) -> int:
    """Examples whose gradients are in memory together; Opacus adds the parts up."""
    size = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return min(_EXAMPLES_AT_ONCE, max(1, _GRADIENTS_AT_ONCE // max(size, 1)))


def _loss(scores: Tensor, y: Tensor) -> Tensor:
    if scores.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(scores[:, 0], y.to(scores.dtype))
    return functional.cross_entropy(scores, y)


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Silences two remarks of Opacus and torch that do not concern this use."""
    with warnings.catch_warnings():
        # A benchmark must be repeatable, which a secure generator is not.
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        # Inputs are data and need no gradient; Opacus's hooks do not use it.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield
