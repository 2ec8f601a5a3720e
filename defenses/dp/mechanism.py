"""The private mechanism that both engines run: noisy gradient descent on bounded examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BIAS = 0.25
"""The constant feature that every example gets. Small, so that most of an example's bounded norm is
left to its features; chosen, as learning rate and steps, on digit pairs other than 1 and 7."""

_ROUNDING = 1e-5
"""Examples are kept this much, relatively, inside the bound: what norms err by in
float32, and what one example can change in how the sum of all others is rounded, is less."""

_LARGEST = 1e34
"""Values are cut off here, so that the factor that shrinks an example is no subnormal number."""

_MASK_ROWS = 2048
"""Examples whose uniform numbers are drawn at once."""


@dataclass(frozen=True)
class Mechanism:
    """DP-SGD (Abadi et al. 2016) with everything public that it divides or multiplies by.

    A step draws each example with probability ``sample_rate`` (Poisson sampling), sums the example
    gradients, each scaled to norm at most ``clip``, adds Gaussian noise of standard deviation
    ``noise_multiplier * clip`` to every coordinate, divides by ``n_public * sample_rate`` and moves
    ``learning_rate`` times that way. ``n_public`` is a declared number, the same whatever the
    training set holds: a divisor that followed the training set's size would void the proof.
    """

    noise_multiplier: float
    clip: float
    sample_rate: float
    steps: int
    learning_rate: float
    n_public: int

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on the sum of gradients, per coordinate."""
        return self.noise_multiplier * self.clip

    @property
    def expected_batch(self) -> float:
        """The public number that the noisy sum is divided by."""
        return self.n_public * self.sample_rate


@dataclass(frozen=True)
class Step:
    """What chance decides in one step of N models.

    ``mask`` (n, N) bool: which examples each model sees; None where all see all. ``noise``
    (D, N, o) float32: standard normal, for D inputs and o outputs; the engine scales it.
    """

    mask: Tensor | None
    noise: Tensor


def draw_steps(
    mechanism: Mechanism,
    rng: np.random.Generator,
    n: int,
    inputs: int,
    n_models: int,
    outputs: int,
) -> Iterator[Step]:
    """The steps of ``n_models`` models on n examples: own samples and own noise for each model."""
    for _ in range(mechanism.steps):
        mask = None
        if mechanism.sample_rate < 1:
            rows = [
                rng.random((min(_MASK_ROWS, n - start), n_models)) < mechanism.sample_rate
                for start in range(0, n, _MASK_ROWS)
            ]
            mask = torch.from_numpy(np.concatenate(rows))
        noise = rng.standard_normal((inputs, n_models, outputs), dtype=np.float32)
        yield Step(mask, torch.from_numpy(noise))


def outputs_for(n_labels: int) -> int:
    """Scores of a model: one for two labels (logistic loss), else one a label (softmax)."""
    return 1 if n_labels == 2 else n_labels


def never_clipped(n_labels: int) -> bool:
    """Whether no gradient is ever above the clip, for any example of :func:`bounded_examples`.

    The loss's derivative by the scores is no longer than 1 for two labels, and than sqrt(2) for
    more.
    """
    return outputs_for(n_labels) == 1


def centred(x: Tensor) -> Tensor:
    """Features ``x`` (n, d) less their own example's mean, at norm 1 (0 where all are equal).

    What all examples have in common tells no label from another, but uses up most of the norm that
    an example is allowed. A fixed map of each example by itself, so it costs no privacy.
    """
    x = x - x.mean(dim=1, keepdim=True, dtype=torch.float64).to(x.dtype)
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
    return x.mul_(norms.clamp_min(torch.finfo(torch.float32).tiny).reciprocal_().to(x.dtype))


def bounded_examples(x: Tensor, radius: float, *, stretch: bool = False) -> Tensor:
    """[x, BIAS] of features ``x`` (n, d), shrunk to norm at most ``radius``: (n, d + 1) float32.

    A fixed map of each example by itself, so it costs no privacy; and as it only shrinks, a linear
    model without another bias predicts the same for an example and for its bounded version. With
    ``stretch`` shorter examples are stretched to ``radius``, which changes no prediction either.

    It makes the binary logistic loss special. With phi the bounded example, label y in {0, 1} and
    score s = w . phi, the gradient is (sigmoid(s) - y) phi.

    1. |sigmoid(s) - y| <= 1, so its norm is at most |phi| <= radius: with clip = radius no gradient
       is ever clipped, for any example that an attacker could bring.
    2. The gradients for y = 0 and y = 1 at the same w differ by exactly phi. A flipped label
       therefore moves the sum of gradients by at most radius, as an added or removed example does.
       Given who is sampled, a step is a Gaussian mechanism whose guarantee depends on nothing but
       how far the sum can move, and so does their adaptive composition: on the Gaussian route, at
       every sample rate, a flipped label costs one unit of add/remove adjacency, and r flips r.

    The accounted curve of Poisson sampling is another matter: there the flipped example's two
    gradients are mixed with its absence, a pair of distributions that the add/remove pair is not
    known to dominate under composition, and a flip is a removal and an addition, two units. The
    second point also needs one score: with the softmax of c > 2 labels the two gradients differ by
    sqrt(2) |phi|.
    """
    extended = torch.cat([x, x.new_full((len(x), 1), BIAS)], dim=1)
    # Features are finite already; the proof needs that, so it is seen to here as well.
    extended.nan_to_num_(nan=0.0).clamp_(-_LARGEST, _LARGEST)
    norms = torch.linalg.vector_norm(extended, dim=1, keepdim=True, dtype=torch.float64)
    scale = radius * (1 - _ROUNDING) / norms
    if not stretch:
        scale = scale.clamp_max(1.0)
    return extended.mul_(scale.to(extended.dtype))
