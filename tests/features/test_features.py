import math

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.features import maps as features

GREY = np.random.default_rng(0).integers(0, 256, size=(67, 28, 28), dtype=np.uint8)
SMALL = np.random.default_rng(2).integers(0, 256, size=(40, 9, 9), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, size=(9, 32, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", features.FEATURES)
@pytest.mark.parametrize("x", [GREY, COLOUR], ids=["grey", "colour"])
def test_shape_range_and_type(name, x):
    computed = features.compute(name, x)
    assert computed.shape == (len(x), features.feature_count(name, x.shape[1:]))
    assert computed.dtype == torch.float32
    assert computed.min() >= 0
    assert computed.max() <= 1


@pytest.mark.parametrize("name", features.FEATURES)
@pytest.mark.parametrize("x", [GREY, SMALL, COLOUR], ids=["grey", "small", "colour"])
def test_a_row_depends_on_its_own_example_alone(name, x):
    whole = features.compute(name, x)
    assert torch.equal(whole, features.compute(name, x, chunk=5))
    for start in (0, 1, 5):
        for stop in (*range(start + 1, len(x), 3), len(x)):
            part = features.compute(name, x[start:stop])
            assert torch.equal(part, whole[start:stop]), (start, stop)
    other = x.copy()
    other[1:] = 255 - other[1:]
    assert torch.equal(features.compute(name, other)[0], whole[0])


def test_raw_divides_bytes_and_keeps_floats():
    assert features.compute("raw", np.array([[0, 51, 255]], dtype=np.uint8)).tolist() == [
        [0.0, pytest.approx(0.2), 1.0]
    ]
    floats = np.array([[-3.0, 0.25, 1e6]])
    assert features.compute("raw", floats).tolist() == floats.tolist()


def test_binarised_cuts_at_one_half():
    byte = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    assert features.compute("binarised", byte).tolist() == [[0, 0, 1, 1]]
    real = np.array([[0.5, 0.51, -1.0, 7.0]], dtype=np.float32)
    assert features.compute("binarised", real).tolist() == [[0, 1, 0, 1]]


def test_images_have_channels_first():
    assert torch.equal(features.images(GREY)[:, 0] * 255, torch.from_numpy(GREY).float())
    assert features.images(COLOUR).shape == (9, 3, 32, 24)
    assert torch.allclose(
        features.images(COLOUR)[2, 1, 5, 7] * 255, torch.tensor(COLOUR[2, 5, 7, 1]).float()
    )
    assert features.images(GREY / 255).dtype == torch.float32


def test_arrays_that_torch_cannot_share_are_copied():
    turned = GREY[:, ::-1]
    locked = turned.copy()
    locked.flags.writeable = False
    for name in features.FEATURES:
        expected = features.compute(name, turned.copy())
        assert torch.equal(features.compute(name, turned), expected)
        assert torch.equal(features.compute(name, locked), expected)


def test_hog_of_a_constant_image_is_zero_away_from_its_border():
    assert not features.compute("hog", np.zeros((2, 28, 28), dtype=np.uint8)).any()
    bright = features.compute("hog", np.full((2, 28, 28), 255, dtype=np.uint8))
    assert bright.isfinite().all()


def test_hog_is_of_unit_length_and_ignores_contrast():
    hog = features.compute("hog", GREY)
    assert torch.allclose(hog.norm(dim=1), torch.ones(len(hog)))
    assert torch.allclose(features.compute("hog", GREY / 255 / 7), hog, atol=1e-5)


@pytest.mark.parametrize("eighths", range(8))
def test_hog_finds_the_direction_from_dark_to_bright(eighths):
    angle = eighths * math.pi / 4
    down, right = np.mgrid[-20:21, -20:21]
    # An edge through the middle that fades out before the border, where the image ends.
    edge = 1 / (1 + np.exp(-(right * math.cos(angle) + down * math.sin(angle))))
    image = 0.5 + (edge - 0.5) * np.exp(-(right**2 + down**2) / 60)
    hog = features.compute("hog", image[None] - 0.5)
    histogram = (hog**2).view(features.HOG_BINS, -1).sum(1)
    assert histogram.argmax() == eighths


def test_hog_shares_an_angle_between_its_two_neighbours():
    angle = torch.linspace(-math.pi, math.pi, 10_001, dtype=torch.float64)
    gx, gy = torch.cos(angle).float(), torch.sin(angle).float()
    exact = np.arctan2(gy.double().numpy(), gx.double().numpy()) / (math.pi / 4)
    difference = (features._orientation(gx, gy).numpy() - exact) % 8
    assert np.minimum(difference, 8 - difference).max() < 1e-6


def test_hog_barely_changes_when_a_digit_moves_by_a_pixel():
    image = np.zeros((28, 28), dtype=np.uint8)
    image[6:22, 12:16] = 255
    here, there = (features.compute("hog", np.roll(image, s, 1)[None])[0] for s in (0, 1))
    turned = features.compute("hog", image.T[None].copy())[0]
    assert here @ there > 0.95
    assert here @ turned < 0.8


def test_a_colour_image_keeps_the_channel_with_the_largest_gradient():
    grey = GREY[:3]
    colour = np.stack([grey, grey // 4, np.zeros_like(grey)], axis=-1)
    assert torch.allclose(features.compute("hog", colour), features.compute("hog", grey), atol=1e-5)


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UsageError, match=r"unknown features 'hg'.*did you mean hog"):
        features.check_features("hg", (28, 28))


@pytest.mark.parametrize("shape", [(784,), (3, 28), (28, 28, 2), (2, 2, 2, 2)])
def test_hog_needs_images(shape):
    with pytest.raises(UsageError, match=r"hog needs images .* allowed: raw, binarised"):
        features.compute("hog", np.zeros((2, *shape), dtype=np.uint8))
    with pytest.raises(UsageError, match="images need shape"):
        features.images(np.zeros((2, *shape), dtype=np.uint8))
