import numpy as np
import pytest
import torch

from harness.defenses.partition import diffusion


def blobs(n: int = 90, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    centres = np.repeat([[0, 0, 0], [4, 0, 0]], n // 2, axis=0)
    return torch.from_numpy(centres + rng.normal(size=(n, 3))).float()


def test_distances_are_those_of_the_random_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all eigenvectors, <x, y> + 1 is the chance of 2 t steps from x to y over that of y."""
    monkeypatch.setattr(diffusion, "DIMENSIONS", 1000)
    monkeypatch.setattr(diffusion, "STEPS", 10)
    monkeypatch.setattr(diffusion, "NEIGHBOURS", 7)
    x = blobs(60)
    distance = torch.cdist(x.double(), x.double()).numpy()
    np.fill_diagonal(distance, np.inf)
    weights = np.zeros((60, 60))
    for i, row in enumerate(distance):
        weights[i, np.argsort(row)[:7]] = 0.5
    weights += weights.T
    degree = weights.sum(axis=1)
    walk = np.linalg.matrix_power(weights / degree[:, None], 20)
    coordinates = diffusion.diffusion_map(x, x[:1])[0].double().numpy()
    # Negative eigenvalues, which the coordinates leave out, vanish in the 20th power.
    assert np.allclose(coordinates @ coordinates.T + 1, walk * degree.sum() / degree, atol=0.01)


def test_leading_eigenvectors_alone_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    x = blobs(200)
    dense = diffusion.diffusion_map(x, x[:20])
    monkeypatch.setattr(diffusion, "DENSE", 10)
    for one, other in zip(dense, diffusion.diffusion_map(x, x[:20]), strict=True):
        assert torch.allclose(one @ one.T, other @ other.T, atol=1e-4)


def test_clusters_fall_into_points_and_test_examples_with_them() -> None:
    x = blobs(200)
    coordinates, placed = diffusion.diffusion_map(x, torch.tensor([[0.0, 0, 0], [4, 0, 0]]))
    first = coordinates[:, 0]
    assert (first[:100].sign().mode().values != first[100:].sign().mode().values).item()
    assert (first[:100].sign() == first[0].sign()).float().mean() > 0.9
    assert (
        placed[:, 0].sign() == torch.stack([first[:100].median(), first[100:].median()]).sign()
    ).all()


def test_a_test_example_moves_nothing() -> None:
    x = blobs(80)
    alone, one = diffusion.diffusion_map(x, x[:3] + 0.1)
    with_others, same = diffusion.diffusion_map(x, torch.cat([x[:3] + 0.1, 100 * x[5:9]]))
    assert torch.equal(alone, with_others)
    assert torch.equal(one, same[:3])


@pytest.mark.parametrize("n", [1, 2, 3, 6, 12])
def test_few_examples(n: int) -> None:
    coordinates, placed = diffusion.diffusion_map(blobs(12)[:n], blobs(12, seed=4))
    assert len(coordinates) == n
    assert len(placed) == 12
    assert coordinates.shape[1] == placed.shape[1]
    assert coordinates.isfinite().all() and placed.isfinite().all()


def test_more_copies_than_neighbours() -> None:
    """An example that is not in its own list of neighbours, or that has only copies there."""
    x = torch.cat([torch.zeros(20, 2), torch.ones(20, 2)])
    coordinates, _ = diffusion.diffusion_map(x, x)
    assert coordinates.isfinite().all()
    assert coordinates.shape[0] == 40
