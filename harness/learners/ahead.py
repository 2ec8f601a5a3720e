"""What chance decides in training, drawn on the CPU before the device asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def drawn_ahead(
    models: Sequence[Iterator[Sequence[Tensor]]], device: torch.device
) -> Iterator[list[Tensor]]:
    """The steps of m models that are trained in step: tensors (m, ...) on the device.

    ``models``: for each the tensors of its steps, drawn on the CPU whatever the device, which
    therefore has no say in what is drawn. A GPU never waits for them: the next step is drawn while
    it computes, each model's in a thread of its own, and copied without stopping it.
    """
    if device.type != "cuda":
        for drawn in zip(*models, strict=True):
            yield [torch.stack(tensors) for tensors in zip(*drawn, strict=True)]
        return
    with ThreadPoolExecutor() as drawing, ThreadPoolExecutor(1) as stacking:

        def draw() -> list[Tensor] | None:
            step = list(drawing.map(lambda model: next(model, None), models))
            own = [tensors for tensors in step if tensors is not None]
            if not own:
                return None
            return [torch.stack(tensors).pin_memory() for tensors in zip(*own, strict=True)]

        following = stacking.submit(draw)
        while (step := following.result()) is not None:
            following = stacking.submit(draw)
            yield [tensor.to(device, non_blocking=True) for tensor in step]
