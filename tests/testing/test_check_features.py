"""Features that break a rule are found, and told what they break; sound ones are not."""

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.features.hog import Hog
from harness.features.raw import Raw
from harness.features.tensors import unit
from harness.plugins.registry import Registry
from harness.testing import ConformanceError, check_features
from harness.testing.features import PROPERTIES
from harness.testing.hostile import EXAMPLES, hostile_examples


@pytest.mark.parametrize("text", ["raw", "binarised", "hog", "hog(cells=7)", "hog(cells=9,bins=5)"])
def test_built_in_features_are_sound(registry: Registry, text: str) -> None:
    report = check_features(text, registry=registry)
    assert len(report.held) == len(PROPERTIES)
    assert report.skipped == {}
    assert str(report).endswith(": 7 properties hold")


class Flat(Raw):
    name = "flat"
    summary = "the values, flattened"


class Pure(Flat):
    """Of each example by itself, with parameters, in float64 and a matrix product of one row."""

    def __init__(self, size: int = 3, scale: float = 0.5):
        self.size, self.scale = size, scale

    def count(self, example):
        return self.size

    def rows(self, x):
        values = (unit(x).flatten(1).double() * self.scale).tanh()
        weights = torch.linspace(-1, 1, values.shape[1] * self.size, dtype=torch.float64)
        weights = weights.view(values.shape[1], self.size)
        rows = [row[None] @ weights for row in values]
        return torch.cat(rows).float()


@pytest.mark.parametrize("features", [Flat, Flat(), Pure, Pure(size=5)])
def test_sound_ones_pass(features):
    check_features(features)
    check_features(features, example=(6, 6))


class Scaled(Flat):
    def rows(self, x):
        values = super().rows(x)
        return values - values.mean(0, keepdim=True)


class Ranked(Flat):
    def rows(self, x):
        return super().rows(x).argsort(0).argsort(0).float()


class Placed(Flat):
    def rows(self, x):
        return super().rows(x) * 0 + torch.arange(len(x)).view(-1, 1)


class Counting(Flat):
    def rows(self, x):
        return super().rows(x).clamp(0, 1) + len(x)


class Remembering(Flat):
    seen = None

    def rows(self, x):
        if self.seen is None:
            self.seen = super().rows(x)[0].clamp(0, 1)
        return super().rows(x) * 0 + self.seen


class Duplicates(Flat):
    def rows(self, x):
        values = super().rows(x).clamp(0, 1)
        copies = [float((values == row).all(1).sum()) for row in values]
        return values + torch.tensor(copies).view(-1, 1)


class Third(Flat):
    """Right but for the third of a chunk."""

    def rows(self, x):
        values = super().rows(x).clamp(0, 1)
        values[2:3] += 1
        return values


class Rounding(Flat):
    """Another sum for other numbers of rows, as matrix products have it: in the last bit."""

    def rows(self, x):
        values = super().rows(x).clamp(0, 1)
        return values if len(x) < 4 else (values * 3) / 3 * (1 + 2.0**-23)


class Infinite(Flat):
    def rows(self, x):
        values = super().rows(x)
        return values / values.abs().sum(1, keepdim=True)


class Huge(Flat):
    def rows(self, x):
        return super().rows(x) ** 2


class Raising(Flat):
    def rows(self, x):
        for example in x:
            if example.min() == example.max():
                raise ValueError("constant\nexample")
        return super().rows(x)


class Follows(Flat):
    """Whatever type the example has."""

    def rows(self, x):
        return torch.from_numpy(np.ascontiguousarray(x)).flatten(1)


class Branches(Flat):
    def rows(self, x):
        return super().rows(x) / (2 if x.dtype == np.float64 else 1)


class Memory(Flat):
    """Reads bytes where they lie, in whatever order."""

    def rows(self, x):
        flat = x.ravel(order="K").reshape(len(x), -1)
        return torch.from_numpy(flat.astype(np.float32)).clamp(0, 1)


class Squeezed(Flat):
    def rows(self, x):
        return super().rows(x).squeeze()


class Miscounted(Flat):
    def count(self, example):
        return super().count(example) + 1


class Array(Flat):
    def rows(self, x):
        return super().rows(x).numpy()


class Drawn(Flat):
    def rows(self, x):
        return super().rows(x).clamp(0, 1) + torch.rand(1)


class Fixed(Flat):
    """Random, and the same every time: from a seed of its own."""

    def rows(self, x):
        shift = torch.rand(1, generator=torch.Generator().manual_seed(0))
        return super().rows(x).clamp(0, 1) + shift


class InPlace(Flat):
    def rows(self, x):
        if x.flags.writeable:
            x //= 2
        return super().rows(x)


class Lending(Flat):
    def rows(self, x):
        if x.dtype == np.float32 and x.flags.c_contiguous and x.flags.writeable:
            return torch.from_numpy(np.clip(x, -1, 1, out=x)).flatten(1)
        return super().rows(x).clamp(-1, 1)


class Nameless(Raw):
    name = "two words"
    summary = ""


class Auto(Flat):
    name = "auto"


class Demanding(Flat):
    def __init__(self, size):
        self.size = size


ALONE = "a row depends on its own example alone: "
FORM = "rows are of the form that count says: "
DOMAIN = "every example of the domain has features: "


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (Scaled, [ALONE, "has other features among", "than by itself", "no certificate would hold",
                  "a mean, a scale, a maximum or a rank over the examples"]),
        (Ranked, [ALONE]),
        (Placed, [ALONE]),
        (Counting, [ALONE]),
        (Duplicates, [ALONE, "has other features beside itself than by itself"]),
        (Third, [ALONE]),
        (Rounding, [ALONE, "rounds differently for other numbers of them (compute them one by"]),
        (Remembering, [ALONE, "something kept on self"]),
        (Infinite, [DOMAIN, "feature 0 of example", "values from 0 to 0, is nan"]),
        (Huge, [DOMAIN, "is 1.21e+24"]),
        (Raising, [DOMAIN, "raised ValueError: constant example", "ends the run"]),
        (Follows, [FORM, "rows() gave torch.uint8 on cpu; wanted torch.float32 on the CPU"]),
        (Branches, ["layout in memory do not matter: an array of float32 (8, 8) as float64 has"]),
        (Memory, ["in Fortran's order has other features"]),
        (Squeezed, [FORM, "for 1 examples of uint8 (8, 8)"]),
        (Miscounted, [FORM, "wanted (m, d) = ", "65)"]),
        (Array, [FORM, "rows() gave a ndarray; wanted a torch.Tensor"]),
        (Drawn, ["the same example has the same features again: examples of uint8"]),
        (InPlace, ["examples stay as they are: examples of uint8 (8, 8) were changed in place"]),
        (Lending, ["examples stay as they are: examples of float32 (8, 8) were changed in place"]),
        (Nameless, ["name is 'two words'; wanted letters", "summary is ''; wanted a line"]),
        (Auto, ["name is 'auto'; wanted letters, digits, - or _, and not 'auto'"]),
        (Demanding, ["Demanding cannot be made without arguments", "parameter needs a default"]),
        (Demanding(3), ["the parameter size has no default"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(features, words):
    with pytest.raises(ConformanceError) as caught:
        check_features(features)
    for word in words:
        assert word in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_seed_of_their_own_is_fine():
    check_features(Fixed)


def test_what_only_builds_on_another_failure_is_postponed():
    with pytest.raises(ConformanceError) as caught:
        check_features(Infinite)
    assert str(caught.value).startswith("flat breaks 1 of 5 properties of sound features.")
    assert "Tried when this is mended: a row depends on its own example alone" in str(caught.value)


def test_a_chunk_is_computed_as_all_are():
    class Wrong(Flat):
        def compute(self, x, chunk=None):
            return super().compute(x, chunk).clamp(0, 1) + (chunk or 0)

        def rows(self, x):
            return super().rows(x).clamp(0, 1)

    with pytest.raises(ConformanceError, match=r"other features by compute\(x, chunk=3\) than"):
        check_features(Wrong)


@pytest.mark.parametrize(
    ("features", "example", "message"),
    [
        ("hgo", None, "unknown features 'hgo'; did you mean hog?"),
        ("auto", None, "auto stands for hog or raw: name the features to try"),
        (Hog(cells=40), None, r"40 x 40.*say which shape an example has: example=\(\.\.\.\)"),
        (Hog, (12,), r"needs images"),
    ],
)  # fmt: skip
def test_what_cannot_be_tried(registry, features, example, message):
    with pytest.raises(UsageError, match=message):
        check_features(features, example=example, registry=registry)
    if isinstance(features, Hog):
        check_features(features, example=(40, 41))


@pytest.mark.parametrize("example", [*EXAMPLES, ()])
def test_hostile_examples_are_of_the_domain(example):
    byte, real = hostile_examples(example).values()
    assert (byte.dtype, real.dtype) == (np.uint8, np.float32)
    for x, (low, high) in ((byte, (0, 255)), (real, (-3.4028235e38, 3.4028235e38))):
        assert x.shape[1:] == example
        assert np.isfinite(x).all()
        assert x.min() == np.float32(low)
        assert x.max() == np.float32(high)
        flat = x.reshape(len(x), -1)
        assert (flat == flat[:, :1]).all(1).sum() >= 5
