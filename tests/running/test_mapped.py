"""A data set that stays in its files: the same results, and bagging reads what it draws."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import harness
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.base import Dataset
from harness.datasets.mapped import MappedArray
from harness.datasets.npy import Npy
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.errors import DataError
from harness.features.raw import Raw
from harness.plugins.registry import Registry
from harness.running import machine
from harness.running import task as tasks
from harness.running.plan import make_plan
from harness.running.task import BlockTask, Inputs, Make, Progress
from harness.testing.recording import RecordingTask
from harness.threats import Threat


class Silent(Progress):
    pass


class Seen(Inputs):
    """Remembers of how many raw examples something was made at a time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[int] = []

    def compute(self, name: str, make: Make, x: NDArray[Any]) -> torch.Tensor:
        self.seen.append(len(x))
        return super().compute(name, make, x)


@pytest.fixture
def mapped(tiny_npy: Path) -> Dataset:
    return Npy().load(str(tiny_npy), None)


def block(
    registry: Registry, data: Dataset, cell: str, kind: type[BlockTask] = BlockTask
) -> tuple[BlockTask, Seen, Defense[Any]]:
    """The first block of a cell on that data set, and what it may be asked."""
    plan = make_plan(registry, [cell], data, threats=[Threat.ANY], alpha=0.1, seed=0)
    inputs, defense = Seen(plan, torch.device("cpu")), plan.cells[0].defense
    assert defense is not None
    return kind(inputs, registry, plan.cells[0], range(4), 0, Silent()), inputs, defense


CELLS = [
    "bagging[k=5,n_models=600,features=raw]",  # two blocks
    "bagging[k=5,n_models=40,features=hog(cells=2)]",
    "bagging[k=3,n_models=4,learner=cnn(epochs=1)]",
    "bagging[learner=1nn]",
    "dpa[n_models=5]",
    "ss-dpa[n_models=5]",
]


def test_the_same_bytes_as_from_an_npz_file(
    tiny_npy: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_READ", 1000)  # examples come in several parts
    names = (f"npz:{tiny_npz}", f"npy:{tiny_npy}")
    runs = [harness.run(CELLS, dataset=name, threats="any", store="off") for name in names]
    found = [(run.folder / "curves.csv").read_bytes() for run in runs]
    assert found[0] == found[1]
    assert all(cell.partition("[")[0].encode() in found[0] for cell in CELLS)


@pytest.mark.parametrize("cell", ["bagging[k=3,n_models=4]", "bagging[k=3,learner=cnn(epochs=1)]"])
def test_bagging_reads_what_it_draws_and_nothing_else(
    registry: Registry, mapped: Dataset, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    read: list[int] = []
    rows = MappedArray.rows

    def reading(array: MappedArray, which: NDArray[np.int64]) -> NDArray[Any]:
        read.extend(which.tolist())
        return rows(array, which)

    monkeypatch.setattr(MappedArray, "rows", reading)
    task, inputs, bagging = block(registry, mapped, cell)
    bagging.gather(task)
    drawn = np.unique(task.rng().integers(mapped.n_train, size=(4, 3)))
    assert read == drawn.tolist()  # each once
    assert inputs.seen == [mapped.n_test, len(drawn)]
    monkeypatch.setattr(tasks, "_READ", 4 * mapped.x_train[0].nbytes)
    bagging.gather(task)
    parts = inputs.seen[2:]
    assert sum(parts) == len(drawn)
    assert max(parts) == 4


def test_what_is_in_memory_already_is_not_read_again(registry: Registry, mapped: Dataset) -> None:
    task, inputs, _ = block(registry, mapped, "bagging")
    rows = np.array([[3, 7], [7, 0]])
    read, x_test = task.features("raw", rows)
    whole, same = task.features("raw")
    assert x_test is same
    assert read.shape == (2, 2, 64)
    assert torch.equal(read, whole[rows])
    seen = list(inputs.seen)
    assert torch.equal(task.features("raw", rows)[0], read)
    assert inputs.seen == seen
    assert torch.equal(task.images(rows)[0], task.images()[0][rows])


def test_rows_are_the_blocks_own_and_the_test_set_is_shared(
    registry: Registry, mapped: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def compute(features: Raw, x: NDArray[Any]) -> torch.Tensor:
        nonlocal now
        now += len(x)
        return torch.zeros(len(x), 64)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(Raw, "compute", compute)
    task, inputs, _ = block(registry, mapped, "bagging[features=raw]")
    with task.phase("train"):
        task.features("raw", np.array([5, 6, 7]))
    assert task.seconds == {"train": 3, "predict": 0}
    assert task.shared == {"features raw": mapped.n_test}
    assert inputs.making == mapped.n_test


def test_what_is_made_of_the_test_set_is_watched(registry: Registry, mapped: Dataset) -> None:
    task, inputs, _ = block(registry, mapped, "bagging", RecordingTask)
    train, test = task.features("raw", np.array([1]))
    train.zero_()
    assert inputs.changed() == []
    test.zero_()
    assert inputs.changed() == ["features raw"]
    assert isinstance(task, RecordingTask)
    assert task.spoilt() == {"features raw of the test set"}


def test_too_little_memory_for_a_whole_training_set_is_one_line(
    tiny_npy: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["bagging[k=5,n_models=20,features=raw]", "dpa[n_models=5,features=raw]"]
    monkeypatch.setattr(tasks, "free_memory", lambda: 50_000)
    run = harness.run(cells, dataset=f"npy:{tiny_npy}", threats="any", on_error="keep", store="off")
    assert run.failures == {
        cells[1]: "features raw of all 120 training examples take 6.14e-05 GB of memory while they "
        "are made, and 5e-05 GB are free; bagging needs those alone that it draws"
    }
    for free in (None, 70_000):
        monkeypatch.setattr(tasks, "free_memory", lambda free=free: free)
        assert not harness.run(cells, dataset=f"npy:{tiny_npy}", store="off").failures
    monkeypatch.setattr(tasks, "free_memory", lambda: 0)  # those of a file are in memory anyway
    assert not harness.run(cells, dataset=f"npz:{tiny_npz}", store="off").failures


def test_free_memory_is_some() -> None:
    free = machine.free_memory()
    assert free is None or free > 2**20


@pytest.mark.parametrize("key", ["x_train", "x_test"])
def test_a_file_that_is_cut_off_is_one_line(
    registry: Registry, mapped: Dataset, tiny_npy: Path, key: str
) -> None:
    """Through a map its end would be zeros; were more of it missing, it would end this process."""
    task, _, _ = block(registry, mapped, "dpa")
    path = tiny_npy / f"{key}.npy"
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(DataError, match=f"{key} was changed after it was opened"):
        task.features("raw")


class Meddler(Defense[Parameters]):
    """While it trains, the files change."""

    name = "meddler"
    title = paper = "changes files"
    path: Path

    def covers(self) -> frozenset[Threat]:
        return frozenset(Threat)

    def gather(self, task: Task) -> Arrays:
        os.utime(self.path, (1, 1))
        return {"n": np.array(task.shape.n_test)}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        zeros = np.zeros(int(evidence["n"]), int)
        return PointwiseCertificate("none", threat, DETERMINISTIC, zeros, zeros)


class Witness(Meddler):
    """Does not get so far."""

    name = "witness"

    def gather(self, task: Task) -> Arrays:
        raise AssertionError("it reads a file that was changed")


@pytest.mark.parametrize("key", ["x_train", "x_test"])
def test_a_file_that_changes_during_a_run_fails_what_is_trained_then_and_later(
    tiny_npy: Path, store: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(Meddler, "path", tiny_npy / f"{key}.npy", raising=False)
    cells = ["bagging[k=5,n_models=20]", Meddler, Witness]
    run = harness.run(cells, dataset=f"npy:{tiny_npy}", threats="any", on_error="keep")
    error = f"npy:{tiny_npy}: {key} was changed after it was opened ({tiny_npy / key}.npy); "
    assert run.failures == dict.fromkeys(["meddler", "witness"], f"{error}run it again")
    assert {path.parent.name.partition("-")[0] for path in store.rglob("*.npz")} == {"bagging"}
