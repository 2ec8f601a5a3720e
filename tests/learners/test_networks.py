"""The convolutional networks: their layers, their chance, and what decides on memory."""

import math

import numpy as np
import pytest
import torch
from torch import Generator, nn

from harness.errors import UsageError
from harness.learners.cnn import BATCH, Cnn
from harness.learners.networks import CIFAR10, MNIST, kept_by_bits, kept_by_numbers

RNG = np.random.default_rng(0)


def test_cifar10_is_the_keras_example():
    """The same weights in a torch module of that architecture give the same logits."""
    parameters = CIFAR10.initial([Generator().manual_seed(i) for i in range(2)], (3, 12, 14), 5)
    for bias in parameters[1::2]:
        bias.uniform_(-0.1, 0.1, generator=Generator().manual_seed(3))
    x = torch.rand(2, 7, 3, 12, 14, generator=Generator().manual_seed(1))
    both = CIFAR10.logits(x, parameters)
    for i in range(2):
        network = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3),
            nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 1 * 2, 512), nn.ReLU(),
            nn.Linear(512, 5),
        )  # fmt: skip
        with torch.no_grad():
            for parameter, stacked in zip(network.parameters(), parameters, strict=True):
                parameter.copy_(stacked[i].T if stacked[i].ndim == 2 else stacked[i])
        assert torch.allclose(network(x[i]), both[i], atol=1e-5)


@pytest.mark.parametrize("architecture", [MNIST, CIFAR10])
def test_several_networks_have_the_logits_and_gradients_of_each_alone(architecture):
    generators = [Generator().manual_seed(i) for i in range(2)]
    parameters = [p.requires_grad_() for p in architecture.initial(generators, (2, 10, 12), 4)]
    x = torch.rand(2, 5, 2, 10, 12, generator=Generator().manual_seed(1))
    steps = zip(*(architecture.draws(g, 5, (2, 10, 12), 1, 8) for g in generators), strict=True)
    (_, *kept), *_ = ([torch.stack(own) for own in zip(*step, strict=True)] for step in steps)
    both = architecture.logits(x, parameters, kept)
    gradients = torch.autograd.grad(both.square().sum(), parameters)
    for i in range(2):
        one = slice(i, i + 1)
        own = [p[one] for p in parameters]
        alone = architecture.logits(x[one], own, [mask[one] for mask in kept])
        assert torch.allclose(alone, both[one], atol=1e-5)
        expected = torch.autograd.grad(alone.square().sum(), own)
        for found, wanted in zip(gradients, expected, strict=True):
            assert torch.allclose(found[one], wanted, atol=1e-4 * wanted.abs().max())


@pytest.mark.parametrize("architecture", [MNIST, CIFAR10])
def test_dropped_units_count_for_nothing_and_the_others_for_more(architecture):
    example = (3, 12, 12)
    parameters = architecture.initial([Generator().manual_seed(0)], example, 3)
    x = torch.rand(1, 4, *example, generator=Generator().manual_seed(1))
    (batch, *kept), *_ = architecture.draws(Generator().manual_seed(2), 4, example, 1, 8)
    assert sorted(batch.tolist()) == [0, 1, 2, 3]
    kept = [one[None] for one in kept]
    nothing = [torch.zeros_like(one) for one in kept]
    assert torch.equal(architecture.logits(x, parameters, nothing), torch.zeros(1, 4, 3))
    everything = [torch.ones_like(one) for one in kept]
    # Without biases the network is homogeneous: each dropout's 1 / (1 - rate) comes out at the end.
    grown = architecture.logits(x, parameters) / 0.75 ** len(architecture.stages) / 0.5
    assert torch.allclose(architecture.logits(x, parameters, everything), grown, atol=1e-5)
    some = architecture.logits(x, parameters, kept)
    kept[-1][:, 0] = False
    less = architecture.logits(x, parameters, kept)
    assert torch.equal(less[0, 0], torch.zeros(3))
    assert torch.equal(less[0, 1:], some[0, 1:])


@pytest.mark.parametrize("draw", [kept_by_bits, kept_by_numbers])
@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_units_are_kept_with_their_probability_and_independently(draw, rate):
    n = 40_001
    kept = draw(Generator().manual_seed(4), n, rate)
    assert kept.dtype == torch.bool
    assert kept.shape == (n,)
    five_sigma = 5 * math.sqrt(rate * (1 - rate) / n)
    assert abs(kept.float().mean() - (1 - rate)) < five_sigma
    for lag in (1, 8):  # a neighbour's bit, the same bit of the next octet
        both = (kept[lag:] & kept[:-lag]).float().mean()
        assert abs(both - (1 - rate) ** 2) < 2 * five_sigma
    assert torch.equal(kept, draw(Generator().manual_seed(4), n, rate))


def test_every_epoch_passes_over_all_examples_in_another_order():
    steps = list(CIFAR10.draws(Generator().manual_seed(0), 10, (3, 12, 12), 2, 4))
    assert [len(step[0]) for step in steps] == [4, 4, 2, 4, 4, 2]
    first, second = (torch.cat([step[0] for step in half]) for half in (steps[:3], steps[3:]))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert not torch.equal(first, second)
    assert list(CIFAR10.draws(Generator(), 0, (3, 12, 12), 2, 4)) == []


@pytest.mark.parametrize(("architecture", "least"), [("mnist", 6), ("cifar10", 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_images(architecture, least, channels):
    learner = Cnn(epochs=1, architecture=architecture)
    y = torch.tensor([[0, 1, 1]])
    x = torch.rand(1, 3, channels, least, least + 3)
    assert learner.fit(x, y, 2, RNG).predict(x[0]).shape == (1, 3)
    learner.check((least, least, channels))
    for too_small in ((least, least - 1), (least - 1, least, channels), (500,)):
        with pytest.raises(UsageError, match=f"cnn needs images of at least {least} x {least} pix"):
            learner.check(too_small)
    with pytest.raises(UsageError, match="cnn needs images"):
        learner.fit(x[..., 4:], y, 2, RNG)


def test_an_unknown_architecture_is_named():
    with pytest.raises(UsageError, match=r"unknown architecture of learner cnn: 'cifar'.*cifar10"):
        Cnn(architecture="cifar")


def test_blocks_hold_what_fits_at_once():
    assert Cnn().models_per_block(50, 784) == 11  # evidence rests on it
    assert Cnn().models_per_block(100, 784) == 6
    assert Cnn(architecture="cifar10").models_per_block(1000, 3072) == 4


def test_a_model_does_not_depend_on_how_many_are_fitted_with_it():
    """On a CPU not even in its rounding."""
    x, y = torch.rand(3, 5, 3, 12, 12), torch.tensor([[0, 1, 0, 1, 1]] * 3)
    for architecture in ("mnist", "cifar10"):
        learner = Cnn(epochs=2, architecture=architecture)
        together = learner.fit(x, y, 2, np.random.default_rng(1)).parameters
        first = learner.fit(x[:1], y[:1], 2, np.random.default_rng(1)).parameters
        assert all(torch.equal(a[0], b[0]) for a, b in zip(together, first, strict=True))
        assert not torch.equal(together[0][0], together[0][1])
    assert BATCH == 128
