"""Isolation: a base model sees its own examples and nothing else of the training set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.datasets.base import Dataset
from harness.testing.bench import ALPHA
from harness.testing.properties import property_of
from harness.testing.training import training_can_be_repeated
from harness.testing.verdicts import NotApplicable
from harness.threats import Threat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.testing.bench import Bench, Trained
    from harness.testing.recording import Given

_GROUPS = 8
"""So many single training examples are replaced by noise, and so many groups of all of them."""

_MODELS = 12
"""At most so many base models are followed."""

_ROUNDING = 1e-4
"""By so much, relatively, may scores differ."""

Group = tuple[int, ...]
"""Training examples that are replaced together."""


@property_of(
    "a mean, a scale, a vocabulary, a validation set or a hyper-parameter taken from the whole "
    "training set, a number of parts or a penalty that follows its size, or a sample that depends "
    "on what others hold (a rank, a position, a count)",
    after=(training_can_be_repeated,),
)
def isolation(bench: Bench) -> Iterator[str]:
    """A base model depends on its own examples alone: Theorem 1 of Jia et al. and the counting of
    rewritten parts (Levine and Feizi) hold for no other.
    """
    if not bench.defense.isolated:
        raise NotApplicable("it does not say that base models are isolated (isolated = True)")
    few = bench.with_params(n_models=_MODELS)
    if few is not None and len(few.trained.models) < len(bench.trained.models):
        bench = few
    if not bench.trained.models:
        yield from _from_outside(bench)
        return
    found = list(_apart(bench.trained, _singles(bench)))
    yield from found
    if not found:  # groups would tell the same again
        groups = _groups(bench)
        yield from _apart(bench.trained, groups)
        yield from _all_at_once(bench, groups)
        yield from _removed(bench)


def _apart(base: Trained, family: Mapping[Group, Trained]) -> Iterator[str]:
    """Where replacing some examples reached base models that do not have them."""
    yield from _rows_of_one_example(base, family)
    for group, other in family.items():
        yield from _same_samples(base, other, f"noise in place of {_named(group)}")
        yield from _same_answers(base, other, f"noise in place of {_named(group)}")
        yield from _same_evidence(base, other, group)


def _singles(bench: Bench) -> dict[Group, Trained]:
    """What training leaves after each of a few examples is replaced by noise."""
    spread = np.linspace(0, bench.dataset.n_train - 1, _GROUPS).astype(np.int64)
    return {(j,): _replaced(bench, (j,)) for j in np.unique(spread).tolist()}


def _groups(bench: Bench) -> dict[Group, Trained]:
    """The same for groups that make up the whole training set."""
    parts = np.array_split(np.arange(bench.dataset.n_train), _GROUPS)
    groups = [tuple(part.tolist()) for part in parts if part.size]
    return {group: _replaced(bench, group) for group in groups}


def _replaced(bench: Bench, group: Group) -> Trained:
    return bench.on(**_with_noise(bench.dataset, group)).train()


def _with_noise(data: Dataset, examples: Group) -> dict[str, NDArray[Any]]:
    """The training set with the features and labels of some examples replaced.

    An example's noise depends on its index alone. It is made of the extreme values, so that it
    would show in a maximum as well as in a mean.
    """
    x, y = data.x_train.copy(), data.y_train.copy()
    extremes = (0, 255) if x.dtype == np.uint8 else (x.min() - 1, x.max() + 1)
    for j in examples:
        x[j] = np.random.default_rng([7, j]).choice(extremes, x.shape[1:])
        y[j] = (y[j] + 1) % data.n_labels
    return {"x_train": x, "y_train": y}


def _rows_of_one_example(base: Trained, family: Mapping[Group, Trained]) -> Iterator[str]:
    """Each copy of an input belongs to one example: only replacing that one may remove it."""
    copies = _pool(base)
    gone: Counter[bytes] = Counter()
    owners: dict[bytes, list[Group]] = defaultdict(list)
    for group, other in family.items():
        for row, fewer in (copies - _pool(other)).items():
            gone[row] += fewer
            owners[row].append(group)
    for row, fewer in gone.items():
        if fewer > copies[row]:
            first, second = owners[row][:2]
            yield (
                "one and the same example, as base models are given it, changed when noise "
                f"replaced {_named(first)}, and also when it replaced {_named(second)} "
                f"({len(owners[row])} of {len(family)} tried)"
            )
            return


def _same_samples(base: Trained, other: Trained, change: str) -> Iterator[str]:
    """Without those examples and their replacements, base models' samples are what they were."""
    before, after = _pool(base), _pool(other)
    own = set(before - after) | set(after - before)

    def without(models: Sequence[Given]) -> Counter[tuple[bytes, ...]]:
        kept = (tuple(row for row in model.rows if row not in own) for model in models)
        return Counter(rows for rows in kept if rows)

    moved = without(base.models) - without(other.models)
    if moved:
        yield (f"{change} moved other examples between the samples of {moved.total()} base models")


def _same_answers(base: Trained, other: Trained, change: str) -> Iterator[str]:
    """Base models that were given the same are asked the same and answer the same."""
    before, after = _by_rows(base), _by_rows(other)
    for rows, models in before.items():
        again = after.get(rows, [])
        if len(again) != len(models):
            continue
        stranger = "a base model whose own examples stayed as they were"
        if [model.asked for model in models] != [model.asked for model in again]:
            yield f"{change} changed the test features that {stranger} is asked about"
            return
        if [model.answers for model in models] != [model.answers for model in again]:
            yield f"{change} changed what {stranger} predicts"
            return
        pairs = zip(models, again, strict=True)
        if not all(_close(model.scores, other.scores) for model, other in pairs):
            yield f"{change} changed the scores that {stranger} gives"
            return


def _close(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> bool:
    """Whether scores are the same up to rounding, which may follow the shape of a batch."""
    if len(one) != len(other):
        return False
    for a, b in zip(one, other, strict=True):
        largest = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        if not np.allclose(a, b, rtol=_ROUNDING, atol=_ROUNDING * largest, equal_nan=True):
            return False
    return True


def _same_evidence(base: Trained, other: Trained, group: Group) -> Iterator[str]:
    """Where all base models are the same, so is the evidence."""
    if base.models != other.models:
        return
    for key, array in base.arrays.items():
        if not np.array_equal(array, other.arrays[key]):
            yield f"noise in place of {_named(group)} changed {key}, but not a single base model"


def _all_at_once(bench: Bench, groups: Mapping[Group, Trained]) -> Iterator[str]:
    """Noise in place of everything that a base model does not see leaves it as it was."""
    before = _by_rows(bench.trained)
    after = {group: _by_rows(other) for group, other in groups.items()}
    for rows in list(before)[:3]:
        unseen = [g for g, found in after.items() if len(found.get(rows, [])) == len(before[rows])]
        strangers = tuple(j for group in unseen for j in group)
        other = _replaced(bench, strangers)
        if rows not in _by_rows(other):
            yield (
                f"a base model that saw none of {_named(strangers)} was given something else when "
                "noise replaced all of them"
            )
        yield from _same_answers(bench.trained, other, f"noise in place of {_named(strangers)}")


def _removed(bench: Bench) -> Iterator[str]:
    """Where votes are counted without chance, an example less changes its own models alone.

    A certificate that speaks of samples drawn at random allows for the others to be drawn anew, but
    not for other learners or for more or fewer examples in a sample.
    """
    if bench.defense.covers().isdisjoint({Threat.INSERT, Threat.DELETE, Threat.ANY}):
        return
    data = bench.dataset
    if bench.defense.guarantee(ALPHA).kind != "deterministic":
        half = np.arange(1, data.n_train, 2)
        fewer = bench.on(x_train=data.x_train[half], y_train=data.y_train[half])
        yield from _same_plan(bench.trained, fewer.train()) if fewer.accepted else ()
        return
    some = [(int(j),) for j in np.linspace(0, data.n_train - 1, 3)]
    for gone in [*some, tuple(range(0, data.n_train, 2))]:
        kept = np.delete(np.arange(data.n_train), gone)
        fewer = bench.on(x_train=data.x_train[kept], y_train=data.y_train[kept])
        if fewer.accepted:
            other, change = fewer.train(), f"removing {_named(gone)}"
            yield from _same_samples(bench.trained, other, change)
            yield from _same_answers(bench.trained, other, change)


def _same_plan(base: Trained, other: Trained) -> Iterator[str]:
    """Half the training set has the same learners, and samples of the same size."""
    change = "removing every other training example"
    if base.specs != other.specs:
        yield f"{change} changed the learners from {_list(base.specs)} to {_list(other.specs)}"
    sizes = [sorted({len(model.rows) for model in one.models}) for one in (base, other)]
    # Parts of a training set have sizes of their own; one size for all is a plan.
    if sizes[0] != sizes[1] and len(sizes[0]) == len(sizes[1]) == 1:
        yield f"{change} changed the size of all samples from {sizes[0][0]} to {sizes[1][0]}"


def _list(specs: Sequence[str]) -> str:
    return " and ".join(specs) or "none"


def _from_outside(bench: Bench) -> Iterator[str]:
    """Without learners to listen to: one base model of k examples follows at most k of them."""
    if bench.trained.specs:
        raise NotApplicable("its learner fits no base model: what they predict is computed")
    single = bench.with_params(n_models=1, k=2)
    if single is None:
        raise NotApplicable(
            "its base models are not fitted by task.learner, and it has no parameters n_models and "
            "k, so what they see cannot be known from outside"
        )
    before = single.trained.arrays
    moved = []
    for (j,), other in _singles(single).items():
        if any(not np.array_equal(before[key], other.arrays[key]) for key in before):
            moved.append(j)
    if len(moved) > 2:
        yield (
            "a single base model of k = 2 examples changed with each of "
            f"{_named(tuple(moved))}, replaced by noise one at a time"
        )


def _pool(trained: Trained) -> Counter[bytes]:
    return Counter(row for model in trained.models for row in model.rows)


def _by_rows(trained: Trained) -> dict[tuple[bytes, ...], list[Given]]:
    """Base models by what they were given; those that were given the same, in a fixed order."""
    found: dict[tuple[bytes, ...], list[Given]] = defaultdict(list)
    for model in trained.models:
        found[model.rows].append(model)
    return {rows: sorted(m, key=lambda one: (one.asked, one.answers)) for rows, m in found.items()}


def _named(group: Group) -> str:
    if len(group) == 1:
        return f"training example {group[0]}"
    shown = ", ".join(map(str, group[:4]))
    return f"the training examples {shown}" + (", ..." if len(group) > 4 else "")
