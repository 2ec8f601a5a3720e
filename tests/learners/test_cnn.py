import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import UsageError
from harness.learners.cnn import Cnn

RNG = np.random.default_rng(0)


def bars(models, k, side=10, channels=1):
    """Noisy images with a horizontal (0) or a vertical (1) bar."""
    y = torch.from_numpy(RNG.integers(2, size=(models, k)))
    x = torch.from_numpy(RNG.random((models, k, channels, side, side))).float() / 2
    for i, j in np.ndindex(models, k):
        at = int(RNG.integers(2, side - 2))
        x[i, j, :, at, :] += 1 - y[i, j]
        x[i, j, :, :, at] += y[i, j]
    return x, y


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_keras_example(channels):
    """The same weights in a torch module of that architecture give the same labels."""
    x, y = bars(2, 12, channels=channels)
    models = Cnn(epochs=3).fit(x, y, 4, RNG)
    x_test = bars(1, 50, channels=channels)[0][0]
    predicted = models.predict(x_test)
    for i in range(2):
        network = nn.Sequential(
            nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 3 * 3, 128), nn.ReLU(), nn.Linear(128, 4),
        )  # fmt: skip
        own = [stacked[i] for stacked in models.parameters]
        with torch.no_grad():
            for parameter, value in zip(network.parameters(), own, strict=True):
                parameter.copy_(value.T if value.ndim == 2 else value)
            logits = network(x_test)
        logits[:, ~torch.isin(torch.arange(4), y[i])] = -torch.inf
        assert torch.equal(predicted[i], logits.argmax(1))


def test_weights_start_glorot_uniform_and_move_by_the_rate():
    x, y = bars(2, 10)
    near = Cnn(epochs=1, rate=1e-12).fit(x, y, 2, np.random.default_rng(3)).parameters
    limits = [(9 + 9 * 32), (9 * 32 + 9 * 64), (576 + 128), (128 + 2)]
    for weights, fans in zip(near[::2], limits, strict=True):
        limit = (6 / fans) ** 0.5
        assert weights.abs().max() <= limit + 1e-6
        assert weights.abs().max() > 0.95 * limit
        assert not torch.equal(weights[0], weights[1])
    assert all(bias.abs().max() < 1e-6 for bias in near[1::2])
    far = Cnn(epochs=1, rate=0.01).fit(x, y, 2, np.random.default_rng(3)).parameters
    moved = (far[-1] - near[-1]).abs()
    assert torch.allclose(moved, torch.full_like(moved, 0.01), rtol=1e-2)  # Adam's first step


def test_another_generator_gives_another_network():
    x, y = bars(1, 10)
    one, two = (Cnn(epochs=1).fit(x, y, 2, np.random.default_rng(s)).parameters for s in (0, 1))
    assert not torch.equal(one[0], two[0])


def test_more_examples_than_a_batch():
    x, y = bars(1, 150)
    predicted = Cnn(epochs=4, rate=0.003).fit(x, y, 2, np.random.default_rng(0)).predict(x[0])
    assert (predicted == y).float().mean() > 0.9


def test_images_of_another_shape():
    x, y = bars(2, 6, side=6)
    assert Cnn(epochs=1).fit(x, y, 2, RNG).predict(x[0]).shape == (2, 6)
    wide = torch.rand(2, 6, 1, 7, 12)
    assert Cnn(epochs=1).fit(wide, y, 2, RNG).predict(wide[0]).shape == (2, 6)


@pytest.mark.parametrize("shape", [(2, 3, 1, 5, 9), (2, 3, 64)])
def test_images_that_are_too_small_or_no_images(shape):
    with pytest.raises(UsageError, match="cnn needs images of at least 6 x 6 pixels"):
        Cnn().fit(torch.zeros(shape), torch.zeros(2, 3, dtype=torch.int64), 2, RNG)
