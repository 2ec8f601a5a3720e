"""Exact ridge against every labelling of tiny training sets, each solved again from the start."""

import dataclasses
import itertools
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.certificates import PointwiseCertificate
from harness.defense import Evidence
from harness.defenses.linear.exact_ridge import ExactRidge, ExactRidgeParameters
from harness.proofs.influence import Influence, ridge_influence
from harness.threats import Threat

CLOSE = 1e-9
"""Scores closer than that are compared again in 50 digits."""


class TinyTask:
    """What ``gather`` is given."""

    device = torch.device("cpu")

    def __init__(self, x: NDArray, y: NDArray, x_test: NDArray, c: int) -> None:
        self.x_train, self.y_train, self.x_test = x, y, x_test
        self.shape = SimpleNamespace(
            n_train=len(x), n_public=len(x), n_test=len(x_test), n_labels=c
        )

    def features(self, spec: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.x_train), torch.from_numpy(self.x_test)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def advance(self, models: int) -> None:
        pass


def certified(
    x: NDArray, y: NDArray, x_test: NDArray, c: int, penalty: float
) -> PointwiseCertificate:
    defense = ExactRidge(ExactRidgeParameters(penalty=penalty, features="raw"))
    evidence = Evidence(defense.gather(TinyTask(x, y, x_test, c)), len(x), c, x.shape[1])
    return defense.certify(evidence, Threat.LABEL_FLIP, 0.001)


def scores(x: NDArray, targets: NDArray, x_test: NDArray, penalty: float) -> NDArray:
    """(labellings, e, c), by the normal equations of each labelling (labellings, n, c)."""
    phi, phi_test = (np.column_stack([f.astype(float), np.ones(len(f))]) for f in (x, x_test))
    system = phi.T @ phi + penalty * len(x) * np.eye(phi.shape[1])
    return phi_test @ np.linalg.solve(system[None], phi.T @ targets)


def ties(x: NDArray, y: NDArray, one: NDArray, c: int, penalty: float) -> list[int]:
    """The labels with the largest score for test example ``one``, in 50 digits."""
    with mpmath.workdps(50):
        phi = mpmath.matrix([[*map(mpmath.mpf, row.tolist()), 1] for row in x])
        system = phi.T * phi + mpmath.mpf(penalty) * len(x) * mpmath.eye(phi.cols)
        direction = mpmath.lu_solve(system, mpmath.matrix([*one.tolist(), 1]))
        weights = phi * direction
        found = [mpmath.fsum(w for w, own in zip(weights, y, strict=True) if own == j)
                 for j in range(c)]  # fmt: skip
        return [j for j in range(c) if found[j] >= max(found) - mpmath.mpf(10) ** -40]


def fewest(
    x: NDArray, y: NDArray, x_test: NDArray, c: int, penalty: float
) -> tuple[list[int], list[int], list[int]]:
    """What is predicted, the fewest changes that change it, and the fewest that make it tie."""
    labellings = np.array([*itertools.product(range(c), repeat=len(x))])
    distance = (labellings != y).sum(axis=1)
    found = scores(x, np.eye(c)[labellings], x_test, penalty)
    predicted, changed, tied = [], [], []
    for i, one in enumerate(x_test):
        best: list[list[int]] = []
        for labelling, row in zip(labellings, found[:, i], strict=True):
            near = np.flatnonzero(row >= row.max() - CLOSE).tolist()
            best.append(near if len(near) == 1 else ties(x, labelling, one, c, penalty))
        own = best[int(np.flatnonzero(distance == 0)[0])][0]
        never = len(x) + 1
        predicted.append(own)
        changed.append(min((d for d, b in zip(distance, best, strict=True) if b[0] != own),
                           default=never))  # fmt: skip
        tied.append(min((d for d, b in zip(distance, best, strict=True) if b != [own]),
                        default=never))  # fmt: skip
    return predicted, changed, tied


@pytest.mark.parametrize(("n", "c"), [(8, 2), (5, 2), (5, 3), (4, 4), (1, 2)])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
@pytest.mark.parametrize("whole", [False, True], ids=["reals", "ties"])
def test_every_labelling_solved_again(n: int, c: int, penalty: float, whole: bool) -> None:
    """Never over-certified; exact, but that a tie counts for the attacker whoever wins it."""
    rng = np.random.default_rng([n, c, whole])
    x, x_test = rng.normal(size=(n, 2)), rng.normal(size=(4, 2))
    if whole:  # few values: duplicates, equal weights, exact ties
        x, x_test = x.round(), x_test.round()
    x, x_test = x.astype(np.float32), x_test.astype(np.float32)
    y = rng.integers(c, size=n)
    certificate = certified(x, y, x_test, c, penalty)
    predicted, changed, tied = fewest(x, y, x_test, c, penalty)
    for i, radius in enumerate(certificate.radii):
        assert radius == min(tied[i] - 1, n)
        if radius >= 0:
            assert certificate.predictions[i] == predicted[i]
            assert radius < changed[i]


def test_a_prediction_that_rounding_decides_is_none() -> None:
    """Two examples as far from the test example as each other, and a label each."""
    x = np.array([[-1.0], [1.0]], np.float32)
    certificate = certified(x, np.array([0, 1]), np.zeros((1, 1), np.float32), 2, 0.1)
    assert certificate.radii.tolist() == [-1]


def test_the_order_of_examples_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(3, size=60)
    x_test, order = rng.normal(size=(30, 5)).astype(np.float32), rng.permutation(60)
    one, other = (certified(x[o], y[o], x_test, 3, 0.01) for o in (np.arange(60), order))
    assert (one.radii == other.radii).all()
    assert (one.predictions == other.predictions).all()


def test_the_order_of_examples_decides_no_tie() -> None:
    """Each example and its mirror image have different labels, and the middle is asked about: all
    scores tie, and rounding alone makes the prediction.
    """
    rng = np.random.default_rng(4)
    half = rng.normal(size=(40, 6)).astype(np.float32)
    x, y = np.concatenate([half, -half]), np.repeat([0, 1], 40)
    x[:, 3:] = np.abs(x[:, 3:])  # the same for both
    x_test = np.zeros((30, 6), np.float32)
    x_test[:, 3:] = rng.normal(size=(30, 3))
    first = certified(x, y, x_test, 2, 0.01)
    assert (first.radii == -1).all()
    for _ in range(5):
        order = rng.permutation(80)
        found = certified(x[order], y[order], x_test, 2, 0.01)
        assert (found.predictions == first.predictions).all()


def off_in_50_digits(influence: Influence, one: int) -> float:
    """The sum over the training examples of how far the weights of test example ``one`` are off."""
    with mpmath.workdps(50):
        phi = mpmath.matrix(influence.phi.tolist())
        system = phi.T * phi + mpmath.mpf(influence.penalty) * mpmath.eye(phi.cols)
        weights = phi * mpmath.lu_solve(system, mpmath.matrix(influence.phi_test[one].tolist()))
        found = influence(slice(one, one + 1))[0].tolist()
        return float(mpmath.fsum(abs(w - f) for w, f in zip(weights, found, strict=True)))


@pytest.mark.parametrize("shift", [0.0, 1e-6])
def test_the_error_bound_holds_and_is_small(shift: float) -> None:
    """Where the system is nearly singular but for the penalty, solved well or badly."""
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.normal(size=(6, 2))] * 2) * 10
    x[:, 3] += 1e-6 * rng.normal(size=6)
    found = ridge_influence(torch.from_numpy(x), torch.from_numpy(rng.normal(size=(3, 4))), 0.1)
    shifted = dataclasses.replace(found, directions=found.directions + shift)
    for one, error in enumerate(shifted.error().tolist()):
        assert 0 < off_in_50_digits(shifted, one) < error < (100 if shift else 1e-4)
