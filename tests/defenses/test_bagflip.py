"""What BagFlip's models see: noise of exactly the probability that the certificate counts with."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.defense import Evidence
from harness.defenses import bagflip
from harness.defenses.bagflip import BagFlip, BagFlipParameters
from harness.errors import UsageError
from harness.proofs.bagflip import BagFlip as Proof
from harness.proofs.confidence import simuem
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


def seen(monkeypatch: pytest.MonkeyPatch, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What 300 models are trained on, of examples that are their own number: those, and labels."""
    found: list[np.ndarray] = []

    def fit(learner: Any, x: torch.Tensor, labels: torch.Tensor, c: int, rng: Any) -> Any:
        found.extend((x[..., 0].numpy(), labels.numpy()))
        return SimpleNamespace(predict=lambda x_test: torch.zeros(len(x), 1, dtype=torch.long))

    monkeypatch.setattr(bagflip, "fit_all", fit)
    numbers = torch.arange(len(y))[:, None]
    task: Any = SimpleNamespace(
        shape=SimpleNamespace(n_labels=3, n_train=len(y)),
        models=range(300),
        learner=lambda spec: SimpleNamespace(images=False),
        rng=lambda: np.random.default_rng(5),
        labels=lambda: torch.from_numpy(y),
        features=lambda spec, rows: (numbers[rows], numbers[:1]),
        phase=lambda name: nullcontext(),
        advance=lambda models: None,
    )
    votes = BagFlip(BagFlipParameters(k=100, keep=0.7)).gather(task)["votes"]
    assert votes.tolist() == [[300, 0, 0]]
    return found[0], found[1]


def test_a_label_is_kept_or_becomes_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(50) % 3
    drawn, noisy = seen(monkeypatch, y)
    for label in range(3):
        became = np.bincount(noisy[y[drawn] == label], minlength=3) / (y[drawn] == label).sum()
        wanted = np.where(np.arange(3) == label, 0.7, 0.15)
        np.testing.assert_allclose(became, wanted, atol=0.02)
    same = (noisy == y[drawn])[drawn == 7]  # an example that is drawn again is noised again
    assert abs(same.mean() - 0.7) < 0.08


def test_draws_and_noise_do_not_follow_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(50) % 3
    drawn, noisy = seen(monkeypatch, y)
    again, shifted = seen(monkeypatch, (y + 1) % 3)
    assert np.array_equal(drawn, again)
    assert np.array_equal((noisy + 1) % 3, shifted)
    _, of_one_label = seen(monkeypatch, np.zeros_like(y))
    assert of_one_label.dtype == noisy.dtype
    assert set(of_one_label.ravel()) == {0, 1, 2}


def radii(votes: list[list[int]], threat: Threat, dimension: int, **params: Any) -> Any:
    evidence = Evidence(
        {"votes": np.array(votes)}, n_train=1000, n_labels=len(votes[0]), dimension=dimension
    )
    return BagFlip(BagFlipParameters(**params)).certify(evidence, threat, 0.001)


@pytest.mark.parametrize(
    ("threat", "noised", "votes", "others", "values"),
    [
        (Threat.LABEL_FLIP, "labels", [[900, 60, 40], [70, 30, 900]], 2, 1),
        (Threat.LABEL_FLIP, "features-and-labels", [[900, 100], [340, 660]], 1, 1),
        (Threat.MODIFY, "features-and-labels", [[900, 100], [340, 660]], 1, 3),
    ],
)
def test_the_label_counts_as_a_value(
    threat: Threat, noised: str, votes: list[list[int]], others: int, values: int
) -> None:
    found = radii(votes, threat, 2, k=10, keep=0.6, noised=noised)
    bounds = simuem(np.array(votes), 0.001)
    proof = Proof(1000, 10, 0.6, others, values)
    wanted = proof.radii(bounds.p_lower, bounds.p_upper)
    assert found.radii.tolist() == wanted.tolist()
    for wrong in (values - 1, values + 1):
        if wrong:
            other = Proof(1000, 10, 0.6, others, wrong).radii(bounds.p_lower, bounds.p_upper)
            assert (other != wanted).any(), "or this would show nothing"


def test_labels_in_another_coding_have_the_same_radii() -> None:
    """A published mistake: labels in another coding than the code expects."""
    votes = np.array([[700, 200, 100], [10, 40, 950], [300, 450, 250], [0, 1000, 0]])
    here = radii(votes.tolist(), Threat.LABEL_FLIP, 1, k=5, keep=0.8)
    for order in ([1, 2, 0], [2, 1, 0], [0, 2, 1]):
        there = radii(votes[:, order].tolist(), Threat.LABEL_FLIP, 1, k=5, keep=0.8)
        assert there.radii.tolist() == here.radii.tolist()
        assert np.array(order)[there.predictions].tolist() == here.predictions.tolist()
