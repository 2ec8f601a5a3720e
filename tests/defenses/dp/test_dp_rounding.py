"""How far one example moves a sum of gradients in floating point: not more than the clip."""

import numpy as np
import torch

from harness.defenses.dp import batched
from harness.defenses.dp.mechanism import Mechanism, Step, bounded_examples


def moved(n: int, label: int) -> float:
    """By how many clips one inserted example moves a step's sum, at its worst over models.

    All examples pull the same way, so that the sum is as long, and its rounding as coarse, as it
    can be; the new one is put first, so that it moves where all others stand in a block.
    """
    rng = np.random.default_rng(n)
    features = torch.from_numpy(rng.uniform(0.2, 1, (n + 1, 128)).astype(np.float32))
    x, y = bounded_examples(features, 1.0), torch.full((n + 1,), 1 - label)
    y[0] = label
    mechanism = Mechanism(0.0, 1.0, 1.0, 1, 1.0, n_public=1)
    step = Step(None, torch.zeros(x.shape[1], 8, 1))
    with_it = batched.train(x, y, mechanism, [step], never_clipped=True)
    without = batched.train(x[1:], y[1:], mechanism, [step], never_clipped=True)
    return float(torch.linalg.vector_norm(with_it - without, dim=0).max())


def test_one_example_moves_a_sum_by_its_own_gradient_and_no_more() -> None:
    # At the start every gradient is half an example.
    for label in (0, 1):
        assert abs(moved(20_000, label) - 0.5 * (1 - 1e-5)) < 1e-6


def test_a_clip_that_is_not_one_leaves_as_much_free() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 1000, (50, 6)))
    for clip in (0.01, 1.0, 300.0):
        residual = torch.softmax(torch.from_numpy(rng.normal(0, 3, (50, 4, 3))), -1)
        residual[..., 0] -= 1
        norms = torch.linalg.vector_norm(x, dim=1)[:, None]
        factor = batched._clip_factor(residual, norms, clip)
        length = torch.linalg.vector_norm(residual, dim=-1) * norms * factor[..., 0]
        assert length.max() <= clip
        clipped = factor[..., 0] < 1
        assert clipped.any()
        large = torch.linalg.vector_norm(residual, dim=-1) * norms < 1.5 * clip
        assert (length[clipped & large] < clip * (1 - 6e-7)).all()
