"""All N models of a linear learner at once: example gradients clipped analytically.

In double precision, because the proof rests on how far one example can move a sum. It also moves
how the sum of all others is rounded: in single precision, by 0.001 clips on MNIST 1/7 and by 0.13
on 60,000 examples that were made for it; in double precision, with up to a million examples, by
less than what bounded examples and clipped gradients leave free below the clip.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.defenses.dp.mechanism import Mechanism, Step

GATHER_BELOW = 1 / 200
"""Sample rates below this gather each model's own examples; above, a masked product is faster."""

_SCORES_AT_ONCE = 2**21
"""Scores in memory at once: 16 MiB."""
_GATHERED_AT_ONCE = 2**23
"""Gathered features in memory at once: 64 MiB."""
_CLIP_SLACK = 1e-6
"""In clips; Opacus adds as much to a norm before it divides the bound by it, at a clip of 1."""


def train(
    x: Tensor, y: Tensor, mechanism: Mechanism, steps: Iterable[Step], *, never_clipped: bool
) -> Tensor:
    """Weights (D, N, o) float64 of N models after ``steps``, all starting from zero.

    ``x`` (n, D) and ``y`` (n,) int64 in 0 ... c - 1 are the examples; a bias is a constant
    feature. The noise of ``steps`` has o = 1 for two labels: the score of label 1, logistic loss;
    otherwise o = c: scores, cross-entropy of their softmax. ``never_clipped`` says that no example
    could have a gradient above the clip. Whether that is so for those at hand is not looked at: one
    of them could then decide how all others are treated.
    """
    clip = None if never_clipped else mechanism.clip
    x = x.double()
    weights: Tensor | None = None
    for step in steps:
        noise = step.noise.to(x)
        if weights is None:
            weights = torch.zeros_like(noise)
        mask = None if step.mask is None else step.mask.to(x.device)
        if mask is not None and mechanism.sample_rate < GATHER_BELOW:
            total = _gathered_sum(x, y, weights, mask, clip)
        else:
            total = _masked_sum(x, y, weights, mask, clip)
        total.add_(noise, alpha=mechanism.noise_std)
        weights.sub_(total, alpha=mechanism.learning_rate / mechanism.expected_batch)
    if weights is None:
        raise ValueError("at least one step is needed")
    return weights


def count_votes(x: Tensor, weights: Tensor, n_labels: int) -> NDArray[np.int64]:
    """Votes (e, c): how many of the models (D, N, o) predict each label for ``x`` (e, D).

    Ties between labels go to the smaller one.
    """
    d, n_models, outputs = weights.shape
    flat = weights.reshape(d, n_models * outputs)
    rows = _rows(n_models * outputs)
    votes = np.zeros((len(x), n_labels), dtype=np.int64)
    for start in range(0, len(x), rows):
        scores = (x[start : start + rows].to(flat) @ flat).view(-1, n_models, outputs)
        predicted = predictions(scores)
        for label in range(n_labels):
            votes[start : start + rows, label] = (predicted == label).sum(1).cpu().numpy()
    return votes


def predictions(scores: Tensor) -> Tensor:
    """Labels (...) int64 for scores (..., o): o = 1 is the score of label 1 against label 0."""
    if scores.shape[-1] == 1:
        return (scores[..., 0] > 0).long()
    return scores.argmax(-1)


def _rows(columns: int) -> int:
    """How many examples' scores are computed at once; depends on the cell alone."""
    return max(16, _SCORES_AT_ONCE // columns)


def _masked_sum(
    x: Tensor, y: Tensor, weights: Tensor, mask: Tensor | None, clip: float | None
) -> Tensor:
    """Sums (D, N, o) of clipped gradients over each model's examples, as two matrix products."""
    d, n_models, outputs = weights.shape
    flat = weights.view(d, n_models * outputs)
    total = torch.zeros_like(flat)
    rows = _rows(n_models * outputs)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        scores = (part @ flat).view(-1, n_models, outputs)
        residual = _residual(scores, y[start : start + rows, None])
        if clip is not None:
            norms = torch.linalg.vector_norm(part, dim=1)
            residual.mul_(_clip_factor(residual, norms[:, None], clip))
        if mask is not None:
            residual.mul_(mask[start : start + rows, :, None].to(residual.dtype))
        total.addmm_(part.T, residual.view(-1, n_models * outputs))
    return total.view(d, n_models, outputs)


def _gathered_sum(
    x: Tensor, y: Tensor, weights: Tensor, mask: Tensor, clip: float | None
) -> Tensor:
    """As :func:`_masked_sum`, touching each model's own examples only."""
    d, n_models, _ = weights.shape
    total = torch.empty_like(weights)
    longest = max(1, int(mask.sum(0).max()))
    at_once = max(1, _GATHERED_AT_ONCE // (longest * d))
    for start in range(0, n_models, at_once):
        block = slice(start, start + at_once)
        index, present = _sampled(mask[:, block])
        gathered = x.index_select(0, index.view(-1)).view(*index.shape, d)
        scores = torch.bmm(gathered, weights[:, block].transpose(0, 1))
        residual = _residual(scores, y[index])
        if clip is not None:
            norms = torch.linalg.vector_norm(gathered, dim=2)
            residual.mul_(_clip_factor(residual, norms, clip))
        residual.mul_(present[..., None].to(residual.dtype))
        total[:, block] = torch.bmm(gathered.transpose(1, 2), residual).transpose(0, 1)
    return total


def _sampled(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (m, b) of the examples in ``mask`` (n, m), padded, and which of them count."""
    model, example = mask.T.nonzero(as_tuple=True)
    sizes = mask.sum(0)
    first = torch.cumsum(sizes, 0) - sizes
    slot = torch.arange(len(model), device=mask.device) - first[model]
    index = torch.zeros(mask.shape[1], int(sizes.max()), dtype=torch.int64, device=mask.device)
    index[model, slot] = example
    present = torch.arange(index.shape[1], device=mask.device) < sizes[:, None]
    return index, present


def _residual(scores: Tensor, y: Tensor) -> Tensor:
    """The loss's derivative by its scores (a, b, o), for labels ``y`` (a, 1) or (a, b)."""
    if scores.shape[-1] == 1:
        return scores.sigmoid_().sub_(y[..., None].to(scores.dtype))
    one_hot = functional.one_hot(y, scores.shape[-1])
    return torch.softmax(scores, dim=-1).sub_(one_hot)


def _clip_factor(residual: Tensor, norms: Tensor, clip: float) -> Tensor:
    """What scales gradients residual x example, of norm |residual| |example|, to at most clip."""
    length = torch.linalg.vector_norm(residual, dim=-1) * norms
    factor: Tensor = clip / (length + _CLIP_SLACK * clip)
    return factor.clamp_max_(1.0)[..., None]
