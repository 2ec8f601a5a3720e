"""What cells share stays as it is: whoever changes it fails, and leaves nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.base import Dataset
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.threats import Threat

HONEST = "bagging[k=5,n_models=20,features=raw]"


class Spoiler(Defense[Parameters]):
    title = paper = "spoils what it is given"

    def covers(self) -> frozenset[Threat]:
        return frozenset(Threat)

    def spoil(self, task: Task) -> None:
        raise NotImplementedError

    def gather(self, task: Task) -> Arrays:
        self.spoil(task)
        return {"n": np.array(task.shape.n_test)}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        zeros = np.zeros(int(evidence["n"]), int)
        return PointwiseCertificate("none", threat, DETERMINISTIC, zeros, zeros)


class TurnsFeatures(Spoiler):
    name = "turns-features"

    def spoil(self, task: Task) -> None:
        task.features("raw")[0].mul_(-1)


class TurnsFeaturesUnseen(Spoiler):
    """PyTorch does not see what NumPy does to its memory."""

    name = "turns-features-unseen"

    def spoil(self, task: Task) -> None:
        task.features("raw")[1].numpy()[:] *= -1


class BlackensExamples(Spoiler):
    name = "blackens-examples"

    def spoil(self, task: Task) -> None:
        task.x_train[:] = 0


class TurnsLabels(Spoiler):
    """Its own copies: nobody minds."""

    name = "turns-labels"

    def spoil(self, task: Task) -> None:
        task.labels().copy_(1 - task.labels())
        task.y_train[:] = 1 - task.y_train


@pytest.mark.parametrize(
    ("spoiler", "error"),
    [
        (TurnsFeatures, "gather changed features raw in place, which other cells share"),
        (TurnsFeaturesUnseen, "gather changed features raw in place"),
        (BlackensExamples, "assignment destination is read-only"),
        (TurnsLabels, None),
    ],
)
def test_nothing_that_cells_share_is_changed_for_the_others(
    tiny: Dataset, store: Path, spoiler: type[Spoiler], error: str | None
) -> None:
    alone = harness.run(HONEST, dataset=tiny, threats="any", store="off")
    run = harness.run(
        [spoiler, HONEST, "dpa[n_models=10,features=raw]"],
        dataset=tiny,
        threats="any",
        on_error="keep",
    )
    assert [error in text for text in run.failures.values()] == ([True] if error else [])
    expected: Any = alone.certificates(HONEST, "any")
    assert run.certificates(HONEST, "any").equals(expected)
    assert (
        harness.run(HONEST, dataset=tiny, threats="any")
        .certificates(HONEST, "any")
        .equals(expected)
    )
    assert bool(list(store.glob(f"{spoiler.name}-*/*.npz"))) == (error is None)


def test_a_data_set_is_what_its_digest_says(tiny: Dataset) -> None:
    y = tiny.y_train.copy()
    data = Dataset("mine", tiny.x_train, y, tiny.x_test, tiny.y_test, tiny.label_names)
    y[:] = 1 - y
    assert np.array_equal(data.y_train, tiny.y_train)
    for array in (data.x_train, data.y_train, data.x_test, data.y_test):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    view = tiny.x_train.copy()[:]
    view.flags.writeable = False  # and what it is a view of is not
    kept = Dataset("mine", view, tiny.y_train, tiny.x_test, tiny.y_test, tiny.label_names)
    view.base[:] = 0
    assert kept.x_train.any()


def test_labels_are_a_tensor_of_ones_own(tiny: Dataset) -> None:
    class Asks(TurnsLabels):
        name = "asks"

        def spoil(self, task: Task) -> None:
            assert task.labels().dtype == torch.int64
            assert task.labels().data_ptr() != task.labels().data_ptr()

    assert harness.run(Asks, dataset=tiny).failures == {}
