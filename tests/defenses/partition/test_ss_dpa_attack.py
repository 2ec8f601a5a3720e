"""The cheapest parts are turned first: as few labels as the white-box certificate allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.datasets.base import Dataset
from harness.threats import Threat

Attacked = Callable[[str, Dataset], Any]
FLIP = Threat.LABEL_FLIP


@pytest.mark.parametrize("n_models", [3, 8])
def test_reaches_the_white_box_radius(
    attacked: Attacked, noisy: Callable[..., Dataset], n_models: int
) -> None:
    spec = f"ss-dpa[n_models={n_models},features=raw,representation=none,certificate=white-box]"
    gaps = attacked(spec, noisy(2)).gaps(FLIP, 1)
    assert set(gaps) == {1}


@pytest.mark.parametrize("learner", ["ridge", "naive-bayes"])
def test_of_three_labels_and_of_any_learner(
    attacked: Attacked, noisy: Callable[..., Dataset], learner: str
) -> None:
    gaps = attacked(f"ss-dpa[n_models=12,features=raw,learner={learner}]", noisy(3)).gaps(FLIP, 30)
    assert gaps and None not in gaps
