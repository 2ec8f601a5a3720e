"""3 x 3 convolutions of several networks at once, channels innermost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def convolve(images: Tensor, weights: Tensor, biases: Tensor, *, same: bool) -> Tensor:
    """(m, b, h', w', f) of ``images`` (m, b, h, w, c), ``weights`` (m, f, c, 3, 3), ``biases``
    (m, f); h' = h with zeros around the images where ``same``, h - 2 otherwise.

    The library's convolution for one network; as matrix products for several, because GPUs have no
    fast convolution for groups of few channels.
    """
    if len(images) == 1:
        image = images[0].permute(0, 3, 1, 2)
        found = functional.conv2d(image, weights[0], biases[0], padding=1 if same else 0)
        return found.permute(0, 2, 3, 1).unsqueeze(0)
    if same:
        images = functional.pad(images, (0, 0, 1, 1, 1, 1))
    rows: Tensor = _Convolution.apply(images, weights, biases)
    m, b, height, width, _ = images.shape
    return rows.view(m, b, height - 2, width - 2, -1)


class _Convolution(torch.autograd.Function):
    """Each 3 x 3 patch is a row of a matrix, so that a network's convolution is one product."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        m, b, height, width, _ = images.shape
        patches = images.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 1, 2, 3, 5, 6, 4)
        rows = patches.reshape(m, b * (height - 2) * (width - 2), -1)
        columns = weights.permute(0, 3, 4, 2, 1).reshape(m, rows.shape[2], -1)
        ctx.save_for_backward(rows, columns)
        ctx.shape = images.shape
        return torch.baddbmm(biases.unsqueeze(1), rows, columns)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        rows, columns = ctx.saved_tensors
        m, b, height, width, channels = ctx.shape
        (gradient,) = outputs
        of_columns = (rows.mT @ gradient).view(m, 3, 3, channels, -1)
        of_images = None
        if ctx.needs_input_grad[0]:
            patches = (gradient @ columns.mT).view(m, b, height - 2, width - 2, 3, 3, channels)
            of_images = gradient.new_zeros(ctx.shape)
            for i in range(3):
                for j in range(3):
                    part = of_images[:, :, i : height - 2 + i, j : width - 2 + j]
                    part += patches[:, :, :, :, i, j]
        return of_images, of_columns.permute(0, 4, 3, 1, 2), gradient.sum(dim=1)
