"""Poisonings that once turned predictions of certified size, really trained on.

Each attack moves something of the data set itself: what features overflow on, which labels there
are, how many parts, whether a base model can be fitted at all.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from harness.certificates import PointwiseCertificate
from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.plugins.registry import Registry
from harness.results.cells import shape_of
from harness.running.plan import make_plan
from harness.testing.bench import Bench
from harness.threats import Threat

Make = Callable[[str, Dataset], Bench]


@pytest.fixture
def bench(registry: Registry) -> Make:
    def make(selection: str, data: Dataset) -> Bench:
        plan = make_plan(registry, [selection], data, threats=[], alpha=0.001, seed=0)
        (cell,) = plan.cells
        assert cell.defense is not None
        return Bench(cell.defense, data, registry)

    return make


def images(n: int, labels: tuple[int, ...] = (3, 5), seed: int = 0) -> dict[str, np.ndarray]:
    """Nearly all alike, so that most base models have little to go by."""
    rng = np.random.default_rng(seed)
    y = np.array(labels * n)[:n]
    x = rng.integers(90, 160, (n, 8)).astype(np.uint8)
    x[y == 5] += 10
    return {"x_train": x, "y_train": y, "x_test": x[:6].copy(), "y_test": y[:6]}


def with_one_more(data: Dataset, x: np.ndarray, label: int) -> Dataset:
    return replace(
        data,
        x_train=np.concatenate([data.x_train, x[None].astype(data.x_train.dtype)]),
        y_train=np.append(data.y_train, label),
    )


def without(data: Dataset, index: int) -> Dataset:
    return replace(
        data, x_train=np.delete(data.x_train, index, 0), y_train=np.delete(data.y_train, index)
    )


def flipped(data: Dataset, index: int, label: int) -> Dataset:
    y = data.y_train.copy()
    y[index] = label
    return replace(data, y_train=y)


def holds(before: Bench, after: Bench, threat: Threat, *, sure: bool = True) -> int:
    """That one poisoning changes no prediction of radius >= 1; returns how many there are.

    With ``sure`` False only another label that is certified as well contradicts: votes are sampled.
    """
    one, other = before.certify(threat), after.certify(threat)
    assert isinstance(one, PointwiseCertificate)
    assert isinstance(other, PointwiseCertificate)
    certified = one.radii >= 1
    changed = certified & (one.predictions != other.predictions)
    if not sure:
        changed &= other.radii >= 0
    assert not changed.any(), np.flatnonzero(changed)
    return int(certified.sum())


PARTS = [
    "dpa[n_models=40,features=raw]",
    "dpa[n_models=40,features=raw,hash=content]",
    "dpa[n_models=40,features=raw,election=run-off]",
    "finite-aggregation[n_models=40,spread=2,features=raw]",
]


@pytest.mark.parametrize("selection", PARTS)
def test_a_label_that_was_not_there_decides_no_empty_part(bench: Make, selection: str) -> None:
    data = checked("d", **images(40), declared=Declaration(label_set=[1, 3, 5]))
    clean = bench(selection, data)
    more = bench(selection, with_one_more(data, np.zeros(8), 0))
    assert holds(clean, more, Threat.INSERT)
    assert holds(clean, bench(selection, flipped(data, 0, 0)), Threat.LABEL_FLIP)


@pytest.mark.parametrize("selection", PARTS)
def test_the_only_example_of_a_label_may_go(bench: Make, selection: str) -> None:
    arrays = images(40)
    arrays["x_train"] = np.concatenate([arrays["x_train"], np.zeros((1, 8), np.uint8)])
    arrays["y_train"] = np.append(arrays["y_train"], 1)
    data = checked("d", **arrays)
    clean = bench(selection, data)
    assert holds(clean, bench(selection, without(data, 40)), Threat.DELETE)
    assert holds(clean, bench(selection, flipped(data, 40, 1)), Threat.LABEL_FLIP)


@pytest.mark.parametrize("representation", ["none", "diffusion"])
def test_equal_examples_leave_parts_empty(bench: Make, representation: str) -> None:
    x = np.repeat(np.random.default_rng(0).integers(90, 160, (10, 8)).astype(np.uint8), 4, axis=0)
    y = np.repeat(np.array([3, 5] * 5), 4)
    arrays = {"x_train": x, "y_train": y, "x_test": x[::4], "y_test": y[::4]}
    data = checked("d", **arrays, declared=Declaration(label_set=[1, 3, 5]))
    selection = f"ss-dpa[n_models=30,features=raw,representation={representation}]"
    clean = bench(selection, data)
    assert holds(clean, bench(selection, flipped(data, 0, 0)), Threat.LABEL_FLIP)


def test_a_new_label_re_deals_no_part(bench: Make) -> None:
    rng = np.random.default_rng(0)
    y, y_test = np.array([3, 5] * 150), np.array([3, 5] * 50)
    x = rng.normal(0, 1, (400, 6)).astype(np.float32)
    x[:300, 0] += y == 5
    x[300:, 0] += 0.5
    arrays = {"x_train": x[:300], "y_train": y, "x_test": x[300:], "y_test": y_test}
    data = checked("d", **arrays, declared=Declaration(label_set=[1, 3, 5]))
    selection = "dpa[n_models=15,features=raw,hash=content]"
    more = with_one_more(data, np.zeros(6), 0)
    assert holds(bench(selection, data), bench(selection, more), Threat.INSERT) > 20


@pytest.mark.parametrize(
    "selection",
    [
        "bagging[k=20,n_models=1000,features=raw,learner=logistic(penalty=8.0)]",
        "dpa[n_models=50,features=raw,learner=logistic(penalty=8.0)]",
    ],
)
def test_a_learner_has_the_form_that_the_label_set_asks_for(bench: Make, selection: str) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < 0.4).astype(int)
    x = rng.normal(0, 1, (1000, 2)).astype(np.float32) * 0.5
    x[:, 0] += 2 * y
    grid = np.linspace(0, 3, 200)
    x_test = np.stack([grid, 0 * grid], 1).astype(np.float32)
    arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": (grid > 1).astype(int)}
    data = checked("d", **arrays, declared=Declaration(label_set=[0, 1, 2]))
    more = with_one_more(data, x[0], 2)
    clean, poisoned = bench(selection, data), bench(selection, more)
    sure = selection.startswith("dpa")
    assert holds(clean, poisoned, Threat.INSERT, sure=sure) > 100


@pytest.mark.parametrize("options", ["", "features=raw", "features=raw,penalty=3,q=0.1"])
def test_flips_to_a_label_that_was_not_there(bench: Make, options: str) -> None:
    n = 2000
    x = np.zeros((n, 4, 4), np.uint8)
    y = (np.arange(n) < 0.55 * n).astype(int)
    data = checked("d", x, y, x[:2], y[:2], declared=Declaration(label_set=[0, 1, 2]))
    selection = f"label-flip[{options}]" if options else "label-flip"
    before = bench(selection, data).certify(Threat.LABEL_FLIP)
    assert isinstance(before, PointwiseCertificate)
    r = int(before.radii.min())
    assert r >= 1
    turned = y.copy()
    turned[:r] = 2
    after = bench(selection, replace(data, y_train=turned)).certify(Threat.LABEL_FLIP)
    assert isinstance(after, PointwiseCertificate)
    assert after.predictions.tolist() == before.predictions.tolist() == [1, 1]


def bright(n: int, e: int = 60) -> Dataset:
    """Ordinary float images in [0, 1]."""
    rng = np.random.default_rng(1)
    y = np.arange(n) % 2
    x = (rng.random((n, 8, 8)) * 0.3).astype(np.float32)
    x[y == 0, :, :4] += 0.6
    x[y == 1, :4, :] += 0.6
    return checked("d", x, y, x[:e], y[:e])


def bomb(kind: str) -> np.ndarray:
    image = np.zeros((8, 8), np.float32)
    if kind == "rows":
        image[::2] = 1e20
    else:
        image[:] = 3.4e38
        image[0, 0] = -3.4e38
    return image


@pytest.mark.parametrize("kind", ["rows", "largest"])
@pytest.mark.parametrize(
    "options",
    ["features=hog", "features=hog,examples=centred", "features=raw,examples=centred"],
)
def test_one_image_does_not_void_dp(bench: Make, options: str, kind: str) -> None:
    data = bright(2000)
    selection = f"dp[certificate=pointwise,n_models=200,{options}]"
    clean = bench(selection, data)
    poisoned = bench(selection, with_one_more(data, bomb(kind), 0))
    assert holds(clean, poisoned, Threat.INSERT, sure=False) > 50
    right = poisoned.certify(Threat.INSERT).clean_accuracy(data.y_test)
    assert right == clean.certify(Threat.INSERT).clean_accuracy(data.y_test)
    measured = poisoned.with_params(certificate="gdp", probabilities="mean")
    promised = clean.with_params(certificate="gdp")
    assert measured is not None
    assert promised is not None
    at_one = promised.certify(Threat.INSERT).certified_accuracy(data.y_test, np.array([1]))
    mean = measured.certify(Threat.INSERT).clean_accuracy(data.y_test)
    assert mean >= at_one[0]


def test_one_image_does_not_void_the_opacus_engine(bench: Make) -> None:
    data = with_one_more(bright(400), bomb("rows"), 0)
    votes = bench("dp[n_models=4,engine=opacus,epsilon=5]", data).trained.arrays["votes"]
    assert (votes.argmax(axis=1) == data.y_test).mean() > 0.8


@pytest.mark.parametrize(
    "selection",
    [
        "dpa[n_models=20,learner=sklearn.svm.LinearSVC]",
        "bagging[k=20,n_models=60,learner=sklearn.svm.LinearSVC]",
    ],
)
def test_an_image_that_an_estimator_fails_on(bench: Make, selection: str) -> None:
    data = bright(200, 10)
    clean = bench(selection, data)
    poisoned = bench(selection, with_one_more(data, bomb("largest"), 0))
    assert holds(clean, poisoned, Threat.INSERT, sure=selection.startswith("dpa"))


def test_an_example_that_asks_for_terabytes(bench: Make) -> None:
    """An estimator that counts values makes room for all up to the largest."""
    rng = np.random.default_rng(0)
    y = np.arange(220) % 2
    x = rng.integers(0, 4, (220, 16)).astype(np.float32)
    x[y == 1, :8] += 3
    data = checked("d", x[20:], y[20:], x[:20], y[:20])
    selection = "dpa[n_models=10,features=raw,learner=sklearn.naive_bayes.CategoricalNB]"
    poisoned = with_one_more(data, np.full(16, 3e38), 0)
    assert holds(bench(selection, data), bench(selection, poisoned), Threat.INSERT)


def test_a_part_that_is_too_small_for_its_estimator(bench: Make) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (60, 8)).astype(np.uint8), np.arange(60) % 2
    x[y == 1, :4] //= 3
    data = checked("d", x, y, x[:10], y[:10])
    learner = "sklearn.neighbors.KNeighborsClassifier(n_neighbors=11)"
    selection = f"dpa[n_models=4,features=raw,learner={learner}]"
    clean = bench(selection, data)
    assert max(holds(clean, bench(selection, without(data, j)), Threat.DELETE) for j in range(60))


@pytest.mark.parametrize("name", ["dpa", "finite-aggregation"])
def test_fewer_examples_than_parts(bench: Make, name: str) -> None:
    data = checked("d", **images(60))
    selection = f"{name}[n_models=60,features=raw]"
    clean, poisoned = bench(selection, data), bench(selection, without(data, 0))
    assert poisoned.accepted
    assert holds(clean, poisoned, Threat.DELETE)


@pytest.mark.parametrize("name", ["dpa", "finite-aggregation"])
def test_nothing_left_at_all(bench: Make, name: str) -> None:
    data = checked("d", **images(3))
    selection = f"{name}[n_models=60,features=raw]"
    empty = replace(data, x_train=data.x_train[:0], y_train=data.y_train[:0])
    votes = bench(selection, empty).certify(Threat.DELETE)
    assert isinstance(votes, PointwiseCertificate)
    assert (votes.predictions == 0).all()


def test_feature_flip_has_two_labels_whatever_the_training_set_holds(bench: Make) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (60, 8)).astype(np.uint8), np.zeros(60, int)
    x_test, y_test = x[:10], np.arange(10) % 2
    data = checked("d", x, y, x_test, y_test)
    one_label = bench("feature-flip[n_models=50]", data).certify(Threat.LABEL_FLIP)
    assert isinstance(one_label, PointwiseCertificate)
    assert (one_label.predictions == 0).all()


def test_sizes_that_defenses_plan_with_are_those_of_the_clean_set(bench: Make) -> None:
    data = bright(100, 10)
    fewer = without(data, 0)
    assert shape_of(fewer).n_public == 100
    penalty = bench("label-flip[features=raw]", fewer)
    assert penalty.accepted
