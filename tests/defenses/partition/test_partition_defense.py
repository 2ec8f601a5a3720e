"""DPA, SS-DPA and Finite Aggregation as defenses: isolation, costs, agreement, refusals."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.certificates import DETERMINISTIC
from harness.datasets.base import Dataset
from harness.defense import Arrays, Evidence
from harness.defenses.partition import Dpa, FiniteAggregation, SsDpa, elections, training
from harness.defenses.partition.finite_aggregation import spread_offsets
from harness.errors import DataError, UsageError
from harness.plugins.lookup import Installed
from harness.plugins.registry import Registry
from harness.results.cells import Cell, Plan, shape_of
from harness.running.task import BlockTask, Inputs
from harness.threats import Threat


class Silent:
    def start(self, cell: str, total: int, done: int) -> None: ...

    def advance(self, models: int) -> None: ...

    def finish(self, cell: str, seconds: float, error: str | None) -> None: ...


def task(defense: Any, data: Dataset, registry: Registry, models: range, index: int) -> BlockTask:
    cell = Cell(defense.name, defense.name, "", defense, "")
    inputs = Inputs(Plan(data, 0, (), 0.001, (cell,)), torch.device("cpu"))
    return BlockTask(inputs, registry, cell, models, index, Silent())


def gather(defense: Any, data: Dataset, registry: Registry) -> Arrays:
    shape = shape_of(data)
    blocks = defense.blocks(shape, Installed(registry, shape.example))
    parts = [
        defense.gather(task(defense, data, registry, models, index))
        for index, models in enumerate(blocks)
    ]
    return defense.merge(
        [{key: np.asarray(value) for key, value in part.items()} for part in parts]
    )


def certify(defense: Any, data: Dataset, arrays: Arrays, threat: Threat) -> Any:
    evidence = Evidence(arrays, data.n_train, data.n_labels, 64)
    return defense.certify(evidence, threat, 0.001)


def made(defense: Any, **params: Any) -> Any:
    return defense(defense.Params.model_validate(params))


def with_training(data: Dataset, x: NDArray[Any], y: NDArray[Any]) -> Dataset:
    return Dataset(data.name, x, y, data.x_test, data.y_test, data.label_names)


@pytest.fixture
def three() -> Dataset:
    """Three kinds of 6 x 6 images, hard enough that models disagree; some images come twice."""
    rng = np.random.default_rng(11)

    def draw(n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        y = rng.integers(0, 3, n)
        x = rng.integers(0, 160, (n, 6, 6))
        for label in range(3):
            x[y == label, :, 2 * label : 2 * label + 2] += 60
        return x.astype(np.uint8), y

    (x, y), (x_test, y_test) = draw(90), draw(25)
    x[80:] = x[:10]
    return Dataset("three", x, y, x_test, y_test, ("a", "b", "c"))


ALL = [
    (Dpa, {"n_models": 20}),
    (Dpa, {"n_models": 20, "hash": "content"}),
    (SsDpa, {"n_models": 20}),
    (SsDpa, {"n_models": 20, "representation": "none"}),
    (FiniteAggregation, {"n_models": 20, "spread": 3}),
    (FiniteAggregation, {"n_models": 20, "hash": "content"}),
]
LEARNERS = ["ridge", "logistic", "cnn(epochs=1)", "sklearn.tree.ExtraTreeClassifier"]


@pytest.mark.parametrize(("defense", "params"), ALL, ids=str)
def test_the_order_of_the_training_set_changes_nothing(
    defense: Any, params: dict[str, Any], three: Dataset, registry: Registry
) -> None:
    one = made(defense, learner="sklearn.tree.ExtraTreeClassifier", features="raw", **params)
    order = np.random.default_rng(0).permutation(three.n_train)
    shuffled = with_training(three, three.x_train[order], three.y_train[order])
    before, after = gather(one, three, registry), gather(one, shuffled, registry)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_inserted_example_reaches_the_models_of_its_part_alone(
    learner: str, three: Dataset, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, across blocks, also where the part grows or was empty before."""
    monkeypatch.setattr("harness.defenses.partition.finite_aggregation.BLOCK", 7)
    touched = 0
    for spread, attacks in ((1, 3), (3, 1)):
        params = {"n_models": 60, "spread": spread, "learner": learner, "features": "raw"}
        one = made(FiniteAggregation, **params)
        before = gather(one, three, registry)
        for seed in range(attacks):
            new = np.random.default_rng(seed).integers(0, 256, (1, 6, 6), dtype=np.uint8)
            x = np.concatenate([new, three.x_train])
            more = with_training(three, x, np.concatenate([[2], three.y_train]))
            after = gather(one, more, registry)
            differs = (before["ranks"] != after["ranks"]).any(axis=(1, 2))
            assert differs.sum() <= spread
            moved = (np.flatnonzero(differs)[:, None] - before["offsets"]) % 60
            if differs.any():
                assert set.intersection(*(set(row) for row in moved.tolist()))
            touched += differs.sum()
    assert touched > 0


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_model_draws_from_a_generator_of_its_own(
    learner: str, three: Dataset, registry: Registry
) -> None:
    """Neither the size of another part nor whether it is empty moves its random numbers."""
    block = task(made(Dpa), three, registry, range(3), 0)
    fitted, inputs = block.learner(learner), block.features("raw")
    if fitted.images:
        inputs = block.images()
    own = np.arange(40, 70)
    others = [[], [3], list(range(30))]
    last = [
        list(training.rankings(block, fitted, inputs, [np.array(o, np.int64), own[:9], own]))[2]
        for o in others
    ]
    assert np.array_equal(last[0], last[1])
    assert np.array_equal(last[0], last[2])
    index = task(made(Dpa), three, registry, range(3, 6), 1)
    if learner.startswith("sklearn"):  # a tree that is drawn: another block draws another one
        again = list(training.rankings(index, fitted, inputs, [own, own]))
        assert not np.array_equal(again[0], again[1])
        assert not np.array_equal(again[0], last[0])


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_model_is_unchanged_when_everything_outside_its_part_is(
    learner: str, three: Dataset, registry: Registry
) -> None:
    one = made(FiniteAggregation, n_models=12, spread=1, learner=learner, features="raw")
    before = gather(one, three, registry)
    parts = training_parts(one, three)
    for model in (0, 7):
        own = parts[model]
        x = np.random.default_rng(3).integers(0, 256, (150, 6, 6), dtype=np.uint8)
        y = np.random.default_rng(4).integers(0, 3, 150)
        strangers = with_training(three, x, y)
        outside = np.setdiff1d(np.arange(150), training_parts(one, strangers)[model])
        other = with_training(
            three,
            np.concatenate([x[outside], three.x_train[own]]),
            np.concatenate([y[outside], three.y_train[own]]),
        )
        after = gather(one, other, registry)
        assert np.array_equal(before["ranks"][model], after["ranks"][model])
        assert not np.array_equal(before["ranks"], after["ranks"])


def training_parts(one: Any, data: Dataset) -> list[NDArray[np.int64]]:
    from harness.defenses.partition.parts import hashed_parts

    p = one.params
    offset = int(spread_offsets(p.n_models, 1)[0])
    parts = hashed_parts(data.x_train, data.y_train, p.n_models, p.hash)
    return [parts[(model - offset) % p.n_models] for model in range(p.n_models)]


@pytest.mark.parametrize("representation", ["diffusion", "none"])
def test_a_changed_label_turns_one_model_of_ss_dpa(
    representation: str, three: Dataset, registry: Registry
) -> None:
    one = made(SsDpa, n_models=25, representation=representation, features="raw")
    before = gather(one, three, registry)["votes"]
    moved = 0
    for i in [*range(0, 80, 6), *range(80, 90)]:
        y = three.y_train.copy()
        y[i] = (y[i] + 1) % 3
        after = gather(one, with_training(three, three.x_train, y), registry)["votes"]
        assert (np.abs(after - before).sum(axis=1) <= 2).all()
        moved += int(np.abs(after - before).sum())
    assert moved > 0


def test_certificates_hold_when_the_poisoned_set_is_trained(
    three: Dataset, registry: Registry
) -> None:
    """Attacks on the data itself, retrained from the start, at each example's own radius."""
    rng = np.random.default_rng(6)
    for defense, params in ALL:
        for election in ("plurality", "run-off"):
            one = made(defense, **params, features="raw", election=election)
            arrays = gather(one, three, registry)
            for threat in sorted(one.covers() & {Threat.LABEL_FLIP, Threat.INSERT, Threat.MODIFY}):
                clean = certify(one, three, arrays, threat)
                r = int(np.median(clean.radii))
                x, y = three.x_train.copy(), three.y_train.copy()
                victims = rng.choice(len(x), size=r, replace=False)
                if threat is Threat.INSERT:
                    x = np.concatenate([x, rng.integers(0, 256, (r, 6, 6), dtype=np.uint8)])
                    y = np.concatenate([y, rng.integers(0, 3, r)])
                else:
                    y[victims] = (y[victims] + 1) % 3
                if threat is Threat.MODIFY:
                    x[victims] = 255 - x[victims]
                poisoned = with_training(three, x, y)
                after = certify(one, three, gather(one, poisoned, registry), threat)
                certain = clean.radii >= r
                assert certain.any()
                assert np.array_equal(clean.predictions[certain], after.predictions[certain])


def test_dpa_counts_what_finite_aggregation_keeps(three: Dataset, registry: Registry) -> None:
    arrays = gather(made(Dpa, n_models=20, features="raw"), three, registry)
    models = gather(made(FiniteAggregation, n_models=20, spread=1, features="raw"), three, registry)
    first, ranks = models["predictions"], models["ranks"]
    assert first.shape == (20, 25)
    assert first.dtype == ranks.dtype == np.uint8
    assert np.array_equal(first, ranks.argmin(axis=2))
    assert np.array_equal(arrays["votes"].sum(axis=1), np.full(25, 20))
    assert np.array_equal(arrays["votes"], np.eye(3, dtype=int)[first].sum(axis=0))
    preferences = (ranks[..., :, None] < ranks[..., None, :]).sum(axis=0)
    assert np.array_equal(arrays["preferences"], preferences)
    assert np.mean(arrays["votes"].argmax(axis=1) == three.y_test) > 0.6


def test_an_empty_part_votes_for_the_smallest_label(three: Dataset, registry: Registry) -> None:
    few = with_training(three, three.x_train[:5], np.full(5, 2))
    votes = gather(made(Dpa, n_models=5, features="raw"), few, registry)["votes"]
    empty = 5 - len(
        {tuple(p) for p in training_parts(made(FiniteAggregation, n_models=5), few) if p.size}
    )
    assert empty > 0
    assert (votes == [empty, 0, 5 - empty]).all()


def test_with_two_labels_the_run_off_is_the_vote(tiny: Dataset, registry: Registry) -> None:
    for defense, extra in ((Dpa, {}), (SsDpa, {}), (FiniteAggregation, {"spread": 2})):
        vote = made(defense, n_models=30, features="raw", **extra)
        run_off = made(defense, n_models=30, features="raw", election="run-off", **extra)
        arrays = gather(vote, tiny, registry)
        assert not {"preferences", "ranks"} & arrays.keys()
        one, other = (certify(d, tiny, arrays, Threat.LABEL_FLIP) for d in (vote, run_off))
        assert np.array_equal(one.radii, other.radii)
        assert (one.method, other.method) == ("plurality", "run-off")
        assert np.mean(one.predictions == tiny.y_test) > 0.9
        assert one.radii.max() > 2


@pytest.mark.parametrize(
    ("defense", "params", "costs"),
    [
        (Dpa, {}, {"insert": 1, "delete": 1, "modify": 2, "any": 2, "label-flip": 1}),
        (Dpa, {"hash": "content"}, dict.fromkeys(["modify", "any", "label-flip"], 2)),
        (FiniteAggregation, {}, {"insert": 1, "delete": 1, "modify": 2, "label-flip": 1}),
        (FiniteAggregation, {"hash": "content"}, {"insert": 1, "label-flip": 2, "any": 2}),
        (SsDpa, {}, {"label-flip": 1}),
    ],
)
def test_what_a_poisoned_example_costs(
    defense: Any, params: dict[str, Any], costs: dict[str, int], tiny: Dataset, registry: Registry
) -> None:
    one = made(defense, n_models=30, features="raw", **params)
    arrays = gather(one, tiny, registry)
    assert one.covers() == ({Threat.LABEL_FLIP} if defense is SsDpa else frozenset(Threat))
    found = {threat: certify(one, tiny, arrays, threat) for threat in one.covers()}
    parts = found[Threat.LABEL_FLIP if defense is SsDpa else Threat.INSERT].radii
    for threat, cost in costs.items():
        certificate = found[Threat(threat)]
        assert np.array_equal(certificate.radii, parts // cost)
        assert certificate.guarantee == DETERMINISTIC == one.guarantee(0.5)


def test_votes_of_others_are_taken_to_hash_the_label(tiny: Dataset) -> None:
    votes = np.array([[41, 0], [10, 31]])
    radii = certify(made(Dpa), tiny, {"votes": votes}, Threat.LABEL_FLIP).radii
    assert radii.tolist() == [10, 5]
    predictions = np.repeat([[0], [1]], [3, 8], axis=0)
    arrays = {"predictions": predictions, "offsets": np.array([0.0, 4.0])}
    one = made(FiniteAggregation)
    whole, half = (
        certify(one, tiny, arrays, t).radii[0] for t in (Threat.INSERT, Threat.LABEL_FLIP)
    )
    assert (whole, half) == (1, 0)


def test_a_run_off_needs_more_than_votes(three: Dataset) -> None:
    votes = np.array([[5, 4, 1]])
    with pytest.raises(UsageError, match=r"needs preferences \(e, c, c\)"):
        certify(made(Dpa, election="run-off"), three, {"votes": votes}, Threat.ANY)
    arrays = {"predictions": np.zeros((4, 1), int), "offsets": np.array([0])}
    with pytest.raises(UsageError, match=r"needs ranks \(m, e, c\)"):
        certify(made(FiniteAggregation, election="run-off"), three, arrays, Threat.ANY)


TURN = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0]])
"""So many models more prefer label 0 to label 1."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :2], r"must be \(e, c, c\), here \(1, 3, 3\), found \(1, 2, 3\)"),
        (lambda a: a + 1, "7 prefer 0 to 1, 5 prefer 1 to 0"),
        (lambda a: a.swapaxes(1, 2), "4 prefer 0 to 1, 6 prefer 1 to 0, and 5 vote for 0"),
        (lambda a: (a + 128 * TURN % 256).astype(np.uint8), "134 prefer 0 to 1, 132 prefer 1"),
        (lambda a: a + 0.5 * TURN, "6.5 prefer 0 to 1, 3.5 prefer 1 to 0"),
        (lambda a: a - 9 * TURN, "-3 prefer 0 to 1, 13 prefer 1 to 0"),
    ],
)
def test_preferences_that_cannot_be(change: Any, message: str, three: Dataset) -> None:
    votes, preferences = np.array([[5, 4, 1]]), np.array([[[0, 6, 7], [4, 0, 8], [3, 2, 0]]])
    run_off = made(Dpa, election="run-off")
    arrays = {"votes": votes, "preferences": preferences}
    as_floats = arrays | {"preferences": preferences.astype(float)}
    found = [certify(run_off, three, each, Threat.ANY) for each in (arrays, as_floats)]
    assert found[0].radii.tolist() == found[1].radii.tolist() == [0]
    with pytest.raises(DataError, match=message) as caught:
        certify(run_off, three, arrays | {"preferences": change(preferences)}, Threat.ANY)
    assert "preferences must be" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :, :2], r"must be \(m, e, c\), here \(4, 1, 3\), found \(4, 1, 2\)"),
        (lambda a: a + 1, "whole numbers from 0 to 2"),
        (lambda a: a - 1, "whole numbers from 0 to 2"),
        (lambda a: a * 0.5, "whole numbers from 0 to 2"),
        (lambda a: np.minimum(a, 1), r"model 0, test example 0 has \[0 1 1\], predicted 0"),
        (lambda a: a[::-1], r"model 0, test example 0 has \[2 1 0\], predicted 0"),
    ],
)
def test_ranks_that_cannot_be(change: Any, message: str, three: Dataset) -> None:
    ranks = np.array([[[0, 1, 2]], [[0, 2, 1]], [[1, 0, 2]], [[2, 1, 0]]])
    arrays = {"predictions": ranks.argmin(2), "ranks": ranks, "offsets": np.array([0])}
    run_off = made(FiniteAggregation, election="run-off")
    for kind in (np.int64, np.uint8, np.float64):
        as_kind = arrays | {"ranks": ranks.astype(kind)}
        assert certify(run_off, three, as_kind, Threat.ANY).predictions.tolist() == [0]
    with pytest.raises(DataError, match=message) as caught:
        certify(run_off, three, arrays | {"ranks": change(ranks)}, Threat.ANY)
    assert "ranks must" in str(caught.value)


@pytest.mark.parametrize("offsets", [[0, 0], [4], [-1], [0.5], [], [[0, 1]]], ids=str)
def test_offsets_that_cannot_be(offsets: Any, tiny: Dataset) -> None:
    arrays = {"predictions": np.zeros((4, 3), int), "offsets": np.array(offsets)}
    with pytest.raises(DataError, match="distinct whole numbers from 0 to 3"):
        certify(made(FiniteAggregation), tiny, arrays, Threat.ANY)


def test_sizes_that_do_not_fit(tiny: Dataset, registry: Registry) -> None:
    shape = shape_of(tiny)
    for defense in (Dpa, SsDpa, FiniteAggregation):
        made(defense, n_models=121).check(shape)  # one deletion ago there were as many examples
    with pytest.raises(UsageError, match="spread=9 is more than n_models=8; allowed: 1 to 8"):
        made(FiniteAggregation, n_models=8, spread=9).check(shape)
    with pytest.raises(UsageError, match=r"needs images.*allowed: representation=none"):
        gather(made(SsDpa, n_models=4, learner="cnn"), tiny, registry)


def test_offsets_are_fixed_once_and_for_all() -> None:
    for m, d in ((2400, 2), (50, 50), (1, 1)):
        offsets = spread_offsets(m, d)
        assert np.array_equal(offsets, spread_offsets(m, d))
        assert len(set(offsets.tolist())) == d
        assert 0 <= offsets.min() <= offsets.max() < m


def test_one_training_serves_both_elections() -> None:
    solver = {"time_limit", "program_size"}
    for defense in (Dpa, SsDpa):
        assert defense.Params.certify_only() == {"election", *solver}
    # Its evidence holds what each model predicts, which is what a collective certificate is of.
    assert FiniteAggregation.Params.certify_only() == {"election", "certificate", *solver}


def test_places_invert_a_ranking() -> None:
    ranking = np.array([[2, 0, 1], [0, 1, 2]], dtype=np.uint8)
    assert training.positions(ranking).tolist() == [[1, 2, 0], [0, 1, 2]]


def test_finalists_of_a_tie_are_the_smaller_labels() -> None:
    smaller, larger = elections.finalists(np.array([[1, 3, 3, 3], [0, 0, 0, 1]]))
    assert smaller.tolist() == [1, 0]
    assert larger.tolist() == [2, 3]
