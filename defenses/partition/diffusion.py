"""Diffusion maps: features in which the examples of a cluster lie close together, from no label.

Coifman, Lafon: Diffusion maps, Applied and Computational Harmonic Analysis 21, 2006.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import eigsh
from torch import Tensor

NEIGHBOURS = 5
STEPS = 100
"""Steps of the random walk: what lies closer than it gets in so many becomes one."""
DIMENSIONS = 10
AT_ONCE = 2**24
"""Distances computed at a time: 64 MiB of float32."""
DENSE = 500
"""Up to so many examples all eigenvectors are computed, not the leading ones alone."""


def diffusion_map(x: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor]:
    """Diffusion coordinates (n, q) and (e, q), float32, of features (n, d) and (e, d).

    A random walk steps between training examples of which one is among the other's nearest
    neighbours. Its eigenvectors with the largest eigenvalues but the first, each eigenvalue to
    the power of ``STEPS``, are the coordinates; q is at most ``DIMENSIONS``. A test example has the
    mean of its nearest training examples and moves none of them. Deterministic; depends on the
    order of the training examples by rounding and signs alone: give them in a canonical one.
    """
    coordinates = coordinates_of(x)
    return as_features(coordinates, x), placed_among(x_test, x, coordinates)


def coordinates_of(x: Tensor) -> NDArray[np.float64]:
    """The diffusion coordinates (n, q) of training features (n, d)."""
    n = len(x)
    q = min(DIMENSIONS, n - 1)
    if q < 1:
        return np.zeros((n, 1))
    k = min(NEIGHBOURS, n - 1)
    near = nearest(x, x, k + 1)
    own = near == np.arange(n)[:, None]
    # Where k others are as near as the example itself, it may be missing from its own list.
    own[~own.any(axis=1), -1] = True
    return _eigenvectors(_walk(near[~own].reshape(n, k)), q)


def placed_among(x_test: Tensor, x: Tensor, coordinates: NDArray[np.float64]) -> Tensor:
    """Where test features (e, d) come among training features (n, d) with those ``coordinates``
    (n, q): (e, q), the mean of the nearest.
    """
    k = min(NEIGHBOURS, len(x) - 1)
    if k < 1:
        return x.new_zeros(len(x_test), coordinates.shape[1])
    return as_features(coordinates[nearest(x_test, x, k)].mean(axis=1), x)


def nearest(x: Tensor, among: Tensor, k: int) -> NDArray[np.int64]:
    """(len(x), k) the indices of the k rows of ``among`` nearest to each row of ``x``."""
    squares = (among**2).sum(dim=1)
    rows = max(1, AT_ONCE // len(among))
    found = [
        torch.addmm(squares, part, among.T, alpha=-2).topk(k, dim=1, largest=False).indices
        for part in x.split(rows)
    ]
    return torch.cat(found).cpu().numpy()


def _walk(neighbours: NDArray[np.int64]) -> csr_matrix:
    """(n, n) symmetric 0, 1/2 and 1: how often two examples are among each other's nearest."""
    n, k = neighbours.shape
    start = np.repeat(np.arange(n), k)
    directed = csr_matrix((np.ones(n * k), (start, neighbours.ravel())), shape=(n, n))
    return (directed + directed.T) / 2


def _eigenvectors(weights: csr_matrix, q: int) -> NDArray[np.float64]:
    """(n, q) right eigenvectors of the walk, of mean square 1 under its stationary distribution."""
    n = weights.shape[0]
    degree = np.asarray(weights.sum(axis=1)).ravel()
    scale = diags(degree**-0.5)
    symmetric = scale @ weights @ scale
    if n <= DENSE:
        values, vectors = np.linalg.eigh(symmetric.toarray())
        values, vectors = values[-q - 1 :], vectors[:, -q - 1 :]
    else:
        start = np.random.default_rng(0).standard_normal(n)
        values, vectors = eigsh(symmetric, k=q + 1, which="LA", v0=start)
    order = np.argsort(-values, kind="stable")[1:]
    right = vectors[:, order] * np.sqrt(degree.sum() / degree)[:, None]
    return np.asarray(right * np.clip(values[order], 0, 1) ** STEPS)


def as_features(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """Coordinates in the type and on the device of features."""
    return torch.from_numpy(values).to(like.device, like.dtype)
