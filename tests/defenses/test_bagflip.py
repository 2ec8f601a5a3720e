"""What BagFlip's models see: noise of exactly the probability that the certificate counts with."""

from typing import Any

import numpy as np
import pytest
import torch

from harness.defense import Evidence
from harness.defenses import bagflip
from harness.defenses.bagflip import BagFlip, BagFlipParameters
from harness.errors import UsageError
from harness.threats import Threat


class Fixed:
    """A generator that draws one number, in the precision that is asked for."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        steps = 2 ** (np.finfo(dtype).nmant + 1)
        return np.full(shape, np.floor(self.number * steps) / steps, dtype)


@pytest.mark.parametrize("keep", [0.6, 0.8, 0.9])
@pytest.mark.parametrize(("off", "kept"), [(-1e-9, True), (1e-9, False)])
def test_a_feature_is_kept_with_the_probability_of_the_certificate(
    keep: float, off: float, kept: bool
) -> None:
    """The float32 next to 0.8 lies above it: below that, too many values would be kept."""
    bits = torch.tensor([[[0.0, 1.0]]])
    noised = bagflip._noised(bits, keep, Fixed(keep + off))  # type: ignore[arg-type]
    assert torch.equal(noised, bits if kept else 1 - bits)


def test_every_feature_of_every_draw_has_noise_of_its_own() -> None:
    bits = torch.ones(20, 30, 40)
    noised = bagflip._noised(bits, 0.7, np.random.default_rng(1)).numpy()
    assert abs(noised.mean() - 0.7) < 0.02
    for axis in range(3):  # no value is noised along with its neighbour
        pairs = np.take(noised, range(noised.shape[axis] - 1), axis) * np.take(
            noised, range(1, noised.shape[axis]), axis
        )
        assert abs(pairs.mean() - 0.49) < 0.02


@pytest.mark.parametrize(
    ("k", "noised", "words"),
    [
        (12_000, "labels", r"k=12000 .* with 1 noised value an example; allowed: up to 11,584"),
        (500, "features-and-labels", r"k=500 .* with 785 noised values .* up to 412"),
    ],
)
def test_what_is_too_large_to_certify_is_refused(k: int, noised: Any, words: str) -> None:
    votes = np.array([[90, 10]])
    evidence = Evidence({"votes": votes}, n_train=60_000, n_labels=2, dimension=784)
    defense = BagFlip(BagFlipParameters(k=k, keep=0.8, noised=noised))
    with pytest.raises(UsageError, match=words):
        defense.certify(evidence, Threat.LABEL_FLIP, 0.001)
