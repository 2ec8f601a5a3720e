"""Shared fixtures: a data set small enough to train on in milliseconds, and the registry."""

import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from harness.datasets.base import Dataset, checked
from harness.plugins import Registry, load_registry

# As the command line does: see harness/cli.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Tests have no time limits: machines are shared.
hypothesis.settings.register_profile("harness", deadline=None)
hypothesis.settings.load_profile("harness")


def tiny_arrays(n: int = 120, e: int = 30, seed: int = 7) -> dict[str, np.ndarray]:
    """Two kinds of 8 x 8 images, a bright left and a bright right half, with noise."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, size in (("train", n), ("test", e)):
        y = rng.integers(0, 2, size)
        x = rng.integers(0, 120, (size, 8, 8))
        x[y == 0, :, :4] += 100
        x[y == 1, :, 4:] += 100
        arrays[f"x_{part}"] = x.astype(np.uint8)
        arrays[f"y_{part}"] = y.astype(np.uint8)
    return arrays


@pytest.fixture
def tiny() -> Dataset:
    return checked("tiny", **tiny_arrays())


@pytest.fixture
def tiny_npz(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.npz"
    np.savez(path, **tiny_arrays())
    return path


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()
