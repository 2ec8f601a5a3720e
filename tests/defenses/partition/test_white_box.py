"""Parts at what they cost, against every rewriting of votes and every labelling of tiny sets."""

import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from harness.defense import Evidence, Shape, Task
from harness.defenses.partition.dpa import Dpa, DpaParameters
from harness.defenses.partition.ss_dpa import SsDpa, SsDpaParameters
from harness.defenses.partition.white_box import COSTS, cheapest, costs
from harness.errors import DataError, UsageError
from harness.learners.logistic import Logistic
from harness.learners.ridge import Ridge
from harness.plugins.registry import Registry
from harness.plugins.selection import Selection
from harness.threats import Threat

WHITE_BOX = {"certificate": "white-box", "features": "raw"}


def dearest_not_needed(cost: np.ndarray, winner: int) -> int:
    """The least total cost of votes that elect another label, over all of them."""
    least = 10**9
    for votes in itertools.product(range(cost.shape[1]), repeat=len(cost)):
        if np.bincount(votes, minlength=cost.shape[1]).argmax() != winner:
            least = min(least, int(cost[np.arange(len(cost)), votes].sum()))
    return least


@pytest.mark.parametrize(("c", "models"), [(2, 7), (3, 5), (4, 4)])
def test_every_rewriting_of_votes(c: int, models: int) -> None:
    rng, exact = np.random.default_rng(c), 0
    for _ in range(40):
        cost = rng.integers(1, 9, size=(models, c)).astype(np.uint16)
        cost[np.arange(models), rng.integers(c, size=models)] = 0
        winner = int((cost == 0).sum(axis=0).argmax())
        least = dearest_not_needed(cost, winner)
        assert cheapest(cost, winner) <= least
        exact += cheapest(cost, winner) == least
    assert exact >= (40 if c == 2 else 36)


def test_a_vote_that_only_leaves_the_winner() -> None:
    """Two votes for label 1, and one for label 2, which is cheaper than a third for label 1."""
    cost = np.array([[0, 9, 90, 90]] * 4 + [[90, 90, 90, 0]], np.uint16)
    cost[0, 2] = 6
    assert cheapest(cost, 0) == dearest_not_needed(cost, 0) == 9 + 9 + 6


class TinyTask(Task):
    """What ``gather`` is given: features as they are, ridge regressions."""

    device = torch.device("cpu")

    def __init__(self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, c: int, m: int) -> None:
        self.x_train, self.y_train, self.x_test = x, y, x_test
        self.models = range(m)
        self.shape = Shape(len(x), len(x_test), c, x.shape[1:])

    def learner(self, spec: str) -> Ridge:
        return Ridge(penalty=0.3)

    def features(
        self, spec: str, rows: np.ndarray | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.x_train), torch.from_numpy(self.x_test)

    def images(self, rows: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def advance(self, models: int) -> None:
        pass


def trained(defense: Any, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, c: int) -> Evidence:
    arrays = defense.gather(TinyTask(x, y, x_test, c, defense.params.n_models))
    return Evidence(arrays, len(x), c, x.shape[1])


def ss_dpa(n_models: int, **kwargs: Any) -> SsDpa:
    return SsDpa(
        SsDpaParameters(n_models=n_models, representation="none", **{**WHITE_BOX, **kwargs})
    )


def dpa(n_models: int, **kwargs: Any) -> Dpa:
    return Dpa(DpaParameters(n_models=n_models, **{**WHITE_BOX, **kwargs}))


@pytest.mark.parametrize(
    "defense",
    [ss_dpa(2), ss_dpa(3), dpa(2), dpa(7)],
    ids=lambda defense: f"{defense.name}-{defense.params.n_models}",
)
@pytest.mark.parametrize(("n", "c"), [(7, 2), (4, 3)])
def test_every_labelling_trained(defense: Any, n: int, c: int) -> None:
    """Each labelling is once the clean one, and certified against all others."""
    rng = np.random.default_rng([n, c])
    x, x_test = (rng.normal(size=(m, 2)).astype(np.float32) for m in (n, 3))
    x[1] = x[0]  # the same features, whatever their labels
    labellings = np.array([*itertools.product(range(c), repeat=n)])
    certificates = [
        defense.certify(trained(defense, x, y, x_test, c), Threat.LABEL_FLIP, 0.001)
        for y in labellings
    ]
    predictions = np.stack([certificate.predictions for certificate in certificates])
    radii = np.stack([certificate.radii for certificate in certificates])
    distance = (labellings[:, None] != labellings).sum(axis=2)
    for found, radius in zip(predictions.T, radii.T, strict=True):
        least = np.where(found[:, None] != found, distance, n + 1).min(axis=1)
        assert (radius < least).all()
        if c == 2:  # what is left are ties between the scores of a part
            assert (radius + 1 == least)[least <= n].mean() > 0.9


def test_dearer_parts_and_never_less_than_counting() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)).astype(np.float32), rng.integers(2, size=60)
    x[:, 0] += 6 * y
    defense, counting = ss_dpa(5), ss_dpa(5, certificate="counting")
    evidence = trained(defense, x, y, x[:20], 2)
    white, plain = (d.certify(evidence, Threat.LABEL_FLIP, 0.1) for d in (defense, counting))
    assert (white.predictions == plain.predictions).all()
    assert (white.radii >= plain.radii).all()
    assert np.median(white.radii) >= 3 * np.median(plain.radii)
    assert white.method == "white-box"


def test_other_threats_are_counted_and_blocks_are_joined() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)).astype(np.float32), rng.integers(2, size=20)
    defense = dpa(4)
    evidence = trained(defense, x, y, x[:5], 2)
    (plain,) = [dpa(4, certificate="counting").certify(evidence, Threat.ANY, 0.1)]
    white = defense.certify(evidence, Threat.ANY, 0.1)
    assert (white.radii == plain.radii).all()
    assert white.method == plain.method
    twice = defense.merge([evidence.arrays, evidence.arrays])
    assert twice[COSTS].shape == (8, 5, 2)
    assert (twice["votes"] == 2 * evidence["votes"]).all()


def test_a_vote_that_rounding_has_decided_turns_with_one_label() -> None:
    """The model votes otherwise than its weights say, however clearly these say it."""
    y = np.array([0, 0, 0, 1, 1, 1])
    x = 2 * y[:, None].astype(np.float32) - 1
    task, kept = TinyTask(x, y, x[3:4], 2, 1), []
    for vote in (1, 0):
        ranked = iter([np.array([[vote, 1 - vote]], np.uint8)])
        [*_] = costs(task, Ridge(), task.features("raw"), [np.arange(6)], ranked, kept)
    assert [one.tolist() for one in kept] == [[[2, 0]], [[0, 1]]]


def test_a_part_without_examples_cannot_be_turned() -> None:
    x = np.zeros((1, 2), np.float32)
    evidence = trained(ss_dpa(3), x, np.array([0]), x, 2)
    assert sorted(evidence[COSTS][:, 0, 1]) == [1, 65535, 65535]
    assert ss_dpa(3).certify(evidence, Threat.LABEL_FLIP, 0.1).radii == 1  # n: one label in all


def test_mistakes_get_one_line(registry: Registry) -> None:
    shape = Shape(10, 5, 2, (2,))

    class Lookup:
        def learner(self, spec: str) -> Logistic:
            return Logistic()

    with pytest.raises(UsageError, match="hash=features, not hash=content"):
        dpa(3, hash="content").check(shape)
    with pytest.raises(UsageError, match="white-box is for election=plurality"):
        Selection.parse("ss-dpa[certificate=white-box,election=run-off]").build(SsDpa).check(shape)
    for defense in (dpa(3, learner="logistic"), ss_dpa(3, learner="logistic")):
        with pytest.raises(UsageError, match="which logistic is not; allowed: ridge"):
            defense.blocks(shape, Lookup())
    evidence = Evidence({"votes": np.array([[3, 0]])}, 10, 2, 2)
    with pytest.raises(DataError, match="needs costs"):
        ss_dpa(3).certify(evidence, Threat.LABEL_FLIP, 0.1)
