"""What a block's seconds are charged to."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.datasets.base import Dataset
from harness.features.raw import Raw
from harness.plugins.registry import Registry
from harness.running.plan import make_plan
from harness.running.task import BlockTask, Inputs, Progress
from harness.threats import Threat

MAKING, TRAINING, PREDICTING = 5.0, 2.0, 0.5
"""Seconds of the clock below: to make features once, to train, to predict."""


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still, but for who waits and for features that are made."""
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    def compute(features: Raw, x: object) -> Tensor:
        wait(MAKING / 2)  # of the training set, and of the test set
        return torch.zeros(1)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(Raw, "compute", compute)
    return wait


class Silent(Progress):
    pass


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("index", [0, 1])
def test_shared_features_are_no_cells_own_cost(
    wait: Callable[[float], None], registry: Registry, tiny: Dataset,
    inside: bool, shared: bool, index: int,
) -> None:  # fmt: skip
    plan = make_plan(
        registry, ["bagging[features=raw]"], tiny, threats=[Threat.ANY], alpha=0.1, seed=0
    )
    inputs = Inputs(plan, torch.device("cpu"))
    if shared:
        BlockTask(inputs, registry, plan.cells[0], range(3), 1, Silent()).features("raw")
    task = BlockTask(inputs, registry, plan.cells[0], range(3), index, Silent())
    if not inside:
        task.features("raw")
    with task.phase("train"):
        task.features("raw")
        wait(TRAINING)
    with task.phase("predict"):
        task.features("raw")
        wait(PREDICTING)
    assert task.seconds == {"train": TRAINING, "predict": PREDICTING}
    assert task.shared == {"features raw": MAKING}
    assert inputs.making == MAKING
