"""What a ridge regression says that each label does, against the scores that it really gives."""

import itertools

import numpy as np
import pytest
import torch

from harness.learners.ridge import Ridge
from harness.proofs.linear_votes import flips_to_each


def real_scores(ridge: Ridge, x: torch.Tensor, y: np.ndarray, c: int, x_test: torch.Tensor):
    models = ridge.fit(x[None], torch.from_numpy(y)[None], c, np.random.default_rng(0))
    return models, models.scores(x_test, c)[0].double().numpy()


@pytest.mark.parametrize(("k", "d"), [(5, 9), (6, 2), (1, 3), (40, 12)])
@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("c", [2, 3])
def test_scores_are_the_weighted_labels(k: int, d: int, scale: float, c: int) -> None:
    rng, ridge = np.random.default_rng([k, d, c]), Ridge(penalty=0.5)
    x, x_test = (torch.from_numpy(scale * rng.normal(size=(m, d)) + 1).float() for m in (k, 20))
    weights, error = ridge.label_weights(x, x_test)
    assert weights.dtype == torch.float64
    assert error.max() < (0.05 if scale == 1 else 5)
    for _ in range(10):
        y = rng.integers(c, size=k)
        _, found = real_scores(ridge, x, y, c, x_test)
        meant = weights.numpy() @ np.eye(c)[y]
        if c == 2:
            off = np.abs((found[:, 1] - found[:, 0]) / 2 - (meant[:, 1] - meant[:, 0]))
        else:
            off = np.abs(found - meant)[:, np.isin(range(c), y)].max(axis=1)
        assert (off < error.numpy()).all()


@pytest.mark.parametrize("scale", [1e-3, 1e20, 3e38])
def test_features_of_any_size_are_never_called_dearer_than_they_are(scale: float) -> None:
    """Every labelling of five examples, fitted."""
    rng, ridge = np.random.default_rng(1), Ridge()
    x, x_test = (torch.from_numpy(scale * rng.uniform(-1, 1, (m, 2))).float() for m in (5, 6))
    y = np.array([0, 1, 1, 0, 1])
    weights, error = (part.numpy() for part in ridge.label_weights(x, x_test))
    _, flips = flips_to_each(weights, y, 2, error)
    own = real_scores(ridge, x, y, 2, x_test)[0].predict(x_test)[0].numpy()
    for other in itertools.product(range(2), repeat=5):
        there = real_scores(ridge, x, np.array(other), 2, x_test)[0].predict(x_test)[0].numpy()
        assert (flips.min(axis=1)[there != own] <= (y != other).sum()).all()


def test_nothing_is_known_where_the_penalty_drowns_in_rounding() -> None:
    x = torch.from_numpy(1e6 * np.random.default_rng(2).normal(size=(4, 3))).float()
    weights, error = Ridge(penalty=1e-3).label_weights(x, x)
    assert error.isinf().all()
    assert (weights == 0).all()
