import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.features.base import Features
from harness.features.binarised import Binarised
from harness.features.hog import Hog, _eighths
from harness.features.raw import Raw
from harness.features.spec import canonical, chosen, resolve
from harness.features.tensors import LARGEST, images, square_root

GREY = np.random.default_rng(0).integers(0, 256, size=(67, 28, 28), dtype=np.uint8)
SMALL = np.random.default_rng(2).integers(0, 256, size=(40, 9, 9), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, size=(9, 32, 24, 3), dtype=np.uint8)
REAL = np.random.default_rng(3).standard_normal((31, 12, 10)).astype(np.float32) * 1e3

BUILT_IN = {"raw": Raw, "binarised": Binarised, "hog": Hog}
NAMES = [*BUILT_IN, "hog(cells=7)", "hog(cells=1, bins=2)", "hog(cells=3, bins=9, pooling=1)"]

DIGESTS = {
    ("raw", "GREY"): "87e3b48e37319beda2651a463f34dbfbf0934c059724befea6cf76e448389713",
    ("raw", "REAL"): "899908bc0722b63f116c60d0cfc195574dbfe86ccbc2add657131f30f9405546",
    ("binarised", "COLOUR"): "7e4924230fe4a911f94da6b5a6efcd63b952ee6dfabdf42451a5a10a01988023",
    ("hog", "GREY"): "361397db4bab9474e62c645048c3c4adeebac2d4fff279d1118d4387736dbd55",
    ("hog", "SMALL"): "b99b0bdd8f241fd7f673a6a14da6ab6e38c3f7555f133af806abb102f890f86a",
    ("hog", "COLOUR"): "ee3af615a4f23f083865f5bb7b03fda544569824d7a97e6d710073fd8dc12773",
    ("hog", "REAL"): "7ec0bf87e2d3941a1dfc6bfa7fda790f6706090d847b19932dee0a1a90595e27",
}
"""SHA-256 of the float32 values. hog's are those of the same arithmetic written in NumPy alone."""


@pytest.fixture(params=NAMES)
def features(request):
    return resolve(request.param, BUILT_IN)


@pytest.mark.parametrize(("name", "array"), DIGESTS)
def test_defaults_are_the_same_bits_as_ever(name, array):
    computed = BUILT_IN[name]().compute(globals()[array])
    assert hashlib.sha256(computed.numpy().tobytes()).hexdigest() == DIGESTS[name, array]


@pytest.mark.parametrize("x", [GREY, COLOUR], ids=["grey", "colour"])
def test_shape_range_and_type(features, x):
    computed = features.compute(x)
    assert computed.shape == (len(x), features.count(x.shape[1:]))
    assert computed.dtype == torch.float32
    assert computed.min() >= 0
    assert computed.max() <= 1
    assert features.compute(x[:0]).shape == (0, features.count(x.shape[1:]))


@pytest.mark.parametrize("x", [GREY, SMALL, COLOUR], ids=["grey", "small", "colour"])
def test_a_row_depends_on_its_own_example_alone(features, x):
    whole = features.compute(x)
    assert torch.equal(whole, features.compute(x, chunk=5))
    for start in (0, 1, 5):
        for stop in (*range(start + 1, len(x), 3), len(x)):
            part = features.compute(x[start:stop])
            assert torch.equal(part, whole[start:stop]), (start, stop)
    other = x.copy()
    other[1:] = 255 - other[1:]
    assert torch.equal(features.compute(other)[0], whole[0])


class Odd(Features):
    """Returns what it is made with, and remembers how many examples it was asked about."""

    name = "odd"
    summary = "none"

    def __init__(self, answer=None):
        self.answer, self.asked = answer, []

    def count(self, example):
        return 2

    def rows(self, x):
        self.asked.append(len(x))
        return torch.full((len(x), 2), 0.5) if self.answer is None else self.answer


def test_what_is_not_finite_or_too_large_is_cut_off():
    answer = torch.tensor([[math.nan, math.inf], [-math.inf, 3e38]])
    computed = Odd(answer).compute(np.zeros((2, 3)))
    assert computed.tolist() == [[0.0, LARGEST], [-LARGEST, LARGEST]]
    assert answer[0, 1] == math.inf


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((2, 2)), r"features odd: rows\(\) gave a ndarray; wanted a torch.Tensor"),
        (torch.zeros(2, 2).double(), "gave torch.float64 on cpu; wanted torch.float32 on the CPU"),
        (torch.zeros(2, 3), r"gave shape \(2, 3\); wanted \(m, d\) = \(2, 2\)"),
        (torch.zeros(2), r"gave shape \(2,\)"),
    ],
)
def test_rows_of_another_form_are_refused(answer, message):
    with pytest.raises(TypeError, match=message):
        Odd(answer).compute(np.zeros((2, 3)))


def test_few_examples_are_computed_at_a_time_where_they_are_large():
    for example, asked in (((28, 28), [400, 100]), ((1024, 1024), [1] * 3), ((3,), [500])):
        odd = Odd()
        odd.compute(np.zeros((sum(asked), *example), dtype=np.uint8))
        assert odd.asked == asked


def test_raw_divides_bytes_and_keeps_floats():
    assert Raw().compute(np.array([[0, 51, 255]], dtype=np.uint8)).tolist() == [
        [0.0, pytest.approx(0.2), 1.0]
    ]
    floats = np.array([[-3.0, 0.25, 1e6]])
    assert Raw().compute(floats).tolist() == floats.tolist()
    assert Raw().compute(np.array([1.0, 2.0])).tolist() == [[1.0], [2.0]]


def test_binarised_cuts_at_one_half():
    byte = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    assert Binarised().compute(byte).tolist() == [[0, 0, 1, 1]]
    real = np.array([[0.5, 0.51, -1.0, 7.0]], dtype=np.float32)
    assert Binarised().compute(real).tolist() == [[0, 1, 0, 1]]


def test_images_have_channels_first():
    assert torch.equal(images(GREY)[:, 0] * 255, torch.from_numpy(GREY).float())
    assert images(COLOUR).shape == (9, 3, 32, 24)
    assert torch.allclose(
        images(COLOUR)[2, 1, 5, 7] * 255, torch.tensor(COLOUR[2, 5, 7, 1]).float()
    )
    assert images(GREY / 255).dtype == torch.float32


def test_arrays_that_torch_cannot_share_are_copied(features):
    turned = GREY[:, ::-1]
    locked = turned.copy()
    locked.flags.writeable = False
    expected = features.compute(turned.copy())
    assert torch.equal(features.compute(turned), expected)
    assert torch.equal(features.compute(locked), expected)


# Histograms of oriented gradients


def test_square_roots_are_rounded_correctly():
    x = np.random.default_rng(0).random(10_000).astype(np.float32)
    exact = np.sqrt(x.astype(np.float64)).astype(np.float32)
    assert np.array_equal(square_root(torch.from_numpy(x)).numpy(), exact)


def test_hog_of_a_constant_image_is_zero_away_from_its_border():
    assert not Hog().compute(np.zeros((2, 28, 28), dtype=np.uint8)).any()
    bright = Hog().compute(np.full((2, 28, 28), 255, dtype=np.uint8))
    assert bright.isfinite().all()


@pytest.mark.parametrize("hog", [Hog(), Hog(cells=7), Hog(cells=3, bins=5)])
def test_hog_is_of_unit_length_and_ignores_contrast(hog):
    computed = hog.compute(GREY)
    assert torch.allclose(computed.norm(dim=1), torch.ones(len(computed)))
    assert torch.allclose(hog.compute(GREY / 255 / 7), computed, atol=1e-5)


@pytest.mark.parametrize(("bins", "part"), [(b, i) for b in (4, 6, 8, 12) for i in range(b)])
def test_hog_finds_the_direction_from_dark_to_bright(bins, part):
    angle = part * 2 * math.pi / bins
    down, right = np.mgrid[-20:21, -20:21]
    # An edge through the middle that fades out before the border, where the image ends.
    edge = 1 / (1 + np.exp(-(right * math.cos(angle) + down * math.sin(angle))))
    image = 0.5 + (edge - 0.5) * np.exp(-(right**2 + down**2) / 60)
    hog = Hog(bins=bins).compute(image[None] - 0.5)
    histogram = (hog**2).view(bins, -1).sum(1)
    assert histogram.argmax() == part


def test_hog_shares_an_angle_between_its_two_neighbours():
    angle = torch.linspace(-math.pi, math.pi, 10_001, dtype=torch.float64)
    gx, gy = torch.cos(angle).float(), torch.sin(angle).float()
    exact = np.arctan2(gy.double().numpy(), gx.double().numpy()) / (math.pi / 4)
    difference = (_eighths(gx, gy).numpy() - exact) % 8
    assert np.minimum(difference, 8 - difference).max() < 1e-6


def test_hog_keeps_all_of_the_gradient_whatever_the_number_of_bins():
    """Without the unit length: what the bins of a cell share is the pooled magnitude."""
    pooled = []
    for bins in (2, 3, 8, 64):
        hog = Hog(bins=bins, cells=2)
        squares = hog.compute(GREY[:9]).double().square().view(9, bins, -1)
        pooled.append(squares.sum(1))
    for other in pooled[1:]:
        assert torch.allclose(pooled[0], other, atol=1e-6)


def test_hog_barely_changes_when_a_digit_moves_by_a_pixel():
    image = np.zeros((28, 28), dtype=np.uint8)
    image[6:22, 12:16] = 255
    here, there = (Hog().compute(np.roll(image, s, 1)[None])[0] for s in (0, 1))
    turned = Hog().compute(image.T[None].copy())[0]
    assert here @ there > 0.95
    assert here @ turned < 0.8


def test_a_colour_image_keeps_the_channel_with_the_largest_gradient():
    grey = GREY[:3]
    colour = np.stack([grey, grey // 4, np.zeros_like(grey)], axis=-1)
    assert torch.allclose(Hog().compute(colour), Hog().compute(grey), atol=1e-5)


@pytest.mark.parametrize("shape", [(784,), (3, 28), (28, 28, 2), (2, 2, 2, 2), ()])
def test_hog_needs_images(shape):
    with pytest.raises(UsageError, match=r"features=hog needs images .* raw takes any"):
        Hog().compute(np.zeros((2, *shape), dtype=np.uint8))
    with pytest.raises(UsageError, match="images need shape"):
        images(np.zeros((2, *shape), dtype=np.uint8))
    assert chosen(shape) == "raw"


def test_hog_needs_a_pixel_for_each_cell():
    assert Hog(cells=9).compute(SMALL).shape == (40, 81 * 8)
    with pytest.raises(UsageError, match=r"at least 10 x 10, .* has shape \(9, 9\)"):
        Hog(cells=10).compute(SMALL)
    assert chosen((9, 9)) == chosen((4, 4)) == "hog"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cells": 0}, "cells=0 is not allowed; wanted an integer >= 1, <= 64"),
        ({"cells": 65}, "cells=65 is not allowed"),
        ({"cells": True}, "cells=True is not allowed"),
        ({"bins": 1}, "bins=1 is not allowed; wanted an integer >= 2, <= 64"),
        ({"bins": 8.0}, "bins=8.0 is not allowed"),
        ({"smoothing": 0}, "smoothing=0 is not allowed; wanted a number > 0, <= 32"),
        ({"pooling": math.nan}, "pooling=nan is not allowed; wanted a number > 0, <= 1"),
        ({"pooling": 1.5}, "pooling=1.5 is not allowed"),
        ({"smoothing": "1"}, "smoothing='1' is not allowed"),
    ],
)
def test_parameters_of_hog_that_are_not_allowed(parameters, message):
    with pytest.raises(UsageError, match=f"hog: {message}"):
        Hog(**parameters)


# Names


def test_a_name_with_parameters_makes_the_features():
    assert resolve("hog(cells=7, bins=16)", BUILT_IN).count((28, 28)) == 49 * 16
    assert isinstance(resolve("raw", BUILT_IN), Raw)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("hog( bins = 8 , cells=7)", "hog(cells=7)"),
        ("hog(cells=4)", "hog"),
        ("hog(smoothing=2)", "hog(smoothing=2.0)"),
        (" raw ( ) ", "raw"),
    ],
)
def test_one_spelling_for_the_same_features(text, plain):
    assert canonical(text, BUILT_IN) == plain
    assert canonical(plain, BUILT_IN) == plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hg", r"unknown features 'hg'; did you mean hog\? Allowed: auto, binarised, hog, raw"),
        ("hog(bin=8)", r"unknown parameter of features hog: 'bin'; did you mean bins\?"),
        ("hog(cells=7", r"^features 'hog\(cells=7' is not a name"),
        ("two words", r"^features 'two words' is not a name"),
        ("hog(cells=[)", r"^features 'hog\(cells=\[\)': wanted name or name\(key=value, \.\.\.\)"),
    ],
)
def test_what_names_no_features(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        resolve(text, BUILT_IN)
    assert "\n" not in str(caught.value)


def test_the_plugin_registers_without_importing_torch():
    code = (
        "import sys, harness.features as plugin; assert 'torch' not in sys.modules; "
        "print([features.name for features in plugin.harness_register_features()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['raw', 'binarised', 'hog', 'pretrained']"
