"""Chance, and the fixed map of examples into a ball."""

import numpy as np
import pytest
import torch

from harness.defenses.dp.mechanism import (
    BIAS,
    Mechanism,
    bounded_examples,
    centred,
    draw_steps,
)


def mechanism(**changes):
    values = {
        "noise_multiplier": 2.0,
        "clip": 1.0,
        "sample_rate": 1.0,
        "steps": 3,
        "learning_rate": 1.0,
        "n_public": 100,
    }
    return Mechanism(**(values | changes))


def test_full_batches_have_no_mask():
    steps = list(draw_steps(mechanism(), np.random.default_rng(0), 100, 4, 5, 2))
    assert [step.mask for step in steps] == [None] * 3
    assert [step.noise.shape for step in steps] == [(4, 5, 2)] * 3


@pytest.mark.parametrize("rate", [0.02, 0.4])
def test_poisson_masks_have_their_rate_and_are_independent(rate):
    n, models, steps = 5000, 30, 4
    drawn = draw_steps(
        mechanism(sample_rate=rate, steps=steps), np.random.default_rng(1), n, 2, models, 1
    )
    masks = torch.stack([step.mask for step in drawn]).double().numpy()
    assert masks.shape == (steps, n, models)
    deviation = np.sqrt(rate * (1 - rate))
    total = masks.mean()
    assert abs(total - rate) < 5 * deviation / np.sqrt(masks.size)
    batches = masks.sum(1)
    assert batches.std() > 0.5 * deviation * np.sqrt(n), "batches of one size are not Poisson"
    per_example = masks.mean((0, 2))
    assert abs(per_example - rate).max() < 6 * deviation / np.sqrt(steps * models)
    columns = np.concatenate(list(masks), axis=1)
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert abs(correlation).max() < 6 / np.sqrt(n), "two models or steps share a sample"


def test_noise_is_standard_normal_and_each_model_has_its_own():
    noise = (
        torch.cat(
            [s.noise for s in draw_steps(mechanism(), np.random.default_rng(2), 10, 2000, 8, 1)]
        )[..., 0]
        .double()
        .numpy()
    )
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / noise.size)
    correlation = np.corrcoef(noise.T) - np.eye(8)
    assert abs(correlation).max() < 6 / np.sqrt(len(noise))


def test_the_same_generator_gives_the_same_steps():
    drawn = [
        list(draw_steps(mechanism(sample_rate=0.5), np.random.default_rng(3), 50, 2, 3, 1))
        for _ in range(2)
    ]
    for a, b in zip(*drawn, strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(a.noise, b.noise)


@pytest.mark.parametrize("radius", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0, 1e30])
def test_examples_are_inside_the_ball_whatever_they_hold(radius, size):
    x = size * torch.randn(200, 50, generator=torch.Generator().manual_seed(0))
    phi = bounded_examples(x, radius)
    assert phi.dtype == torch.float32
    assert phi.double().norm(dim=1).max() <= radius
    extended = torch.cat([x, torch.full((200, 1), BIAS)], 1).double()
    cosine = torch.nn.functional.cosine_similarity(extended, phi.double())
    assert cosine.min() > 1 - 1e-6, "only the length may change"


def test_a_short_example_stays_as_it_is_and_the_input_is_not_touched():
    x = torch.tensor([[0.1, 0.2], [3.0, 4.0]])
    before = x.clone()
    phi = bounded_examples(x, 1.0)
    assert torch.equal(phi[0], torch.tensor([0.1, 0.2, BIAS]))
    assert torch.equal(x, before)


def test_an_example_is_bounded_by_itself():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([bounded_examples(x[i : i + 1], 1.0) for i in range(5)])
    assert torch.equal(bounded_examples(x, 1.0), alone)


@pytest.mark.parametrize("radius", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_centred_examples_fill_the_ball_and_stay_inside(radius, size):
    x = size * torch.rand(200, 50, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    phi = bounded_examples(centred(x), radius, stretch=True)
    assert torch.equal(x, before)
    norms = phi.double().norm(dim=1)
    assert norms.max() <= radius
    assert norms.min() >= radius * (1 - 1e-4)
    wanted = before.double() - before.double().mean(1, keepdim=True)
    wanted = torch.cat([wanted / wanted.norm(dim=1, keepdim=True), torch.full((200, 1), BIAS)], 1)
    cosine = torch.nn.functional.cosine_similarity(wanted, phi.double())
    assert cosine.min() > 1 - 1e-6


def test_a_centred_example_depends_on_itself_and_may_be_blank():
    x = torch.rand(300, 128, generator=torch.Generator().manual_seed(1))
    x[3] = 0
    x[4] = 0.25
    whole = bounded_examples(centred(x), 1.0, stretch=True)
    alone = [bounded_examples(centred(x[i : i + 1]), 1.0, stretch=True) for i in range(300)]
    assert torch.equal(whole, torch.cat(alone))
    for blank in (3, 4):
        assert torch.equal(whole[blank, :-1], torch.zeros(128))
        assert 0.9999 < whole[blank, -1] <= 1


def test_a_flipped_label_moves_an_unclipped_gradient_by_the_example():
    generator = torch.Generator().manual_seed(2)
    phi = bounded_examples(10 * torch.randn(20, 4, generator=generator), 1.5).double()
    for example in phi:
        w = (5 * torch.randn(5, generator=generator)).double().requires_grad_()
        gradients = []
        for label in (0.0, 1.0):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                example @ w, torch.tensor(label, dtype=torch.float64)
            )
            gradients.append(torch.autograd.grad(loss, w)[0])
            assert gradients[-1].norm() <= 1.5, "would be clipped"
        torch.testing.assert_close(gradients[0] - gradients[1], example)
        assert (gradients[0] - gradients[1]).norm() <= 1.5
