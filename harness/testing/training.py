"""Properties of ``gather``, ``merge`` and ``blocks``: training that can be repeated and resumed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import numpy as np
import torch

from harness.certificates import Kind
from harness.testing import certificates
from harness.testing.data import tiny_dataset
from harness.testing.properties import property_of
from harness.testing.verdicts import NotApplicable

if TYPE_CHECKING:
    from harness.testing.bench import Bench, Trained
    from harness.testing.recording import Given

_MANY = 2048
"""Base models at which a defense is expected to make more than one block, if it ever does."""


@property_of(
    "a seed taken from the clock, np.random.* or torch.rand without a generator instead of "
    "task.rng(), or features changed in place"
)
def training_can_be_repeated(bench: Bench) -> Iterator[str]:
    """The same cell leaves the same evidence: all randomness comes from task.rng(). No global
    random state is touched, and nothing that other cells read is changed.
    """
    first = bench.trained  # importing what training needs is over when states are compared
    with _unseeded() as before:
        second = bench.train()
        touched = [name for name, state in _global_states().items() if state != before[name]]
    for name in touched:
        yield f"gather used or seeded the global random state of {name}"
    yield from _differences(first, second, "trained twice")
    for name in second.spoilt:
        yield f"gather changed {name} in place, which other cells share"


@property_of("an object or a list returned in place of a numeric array")
def evidence_is_plain(bench: Bench) -> Iterator[str]:
    """Evidence is named arrays of numbers: it is stored, never pickled, and certified later."""
    if not bench.trained.arrays:
        yield "gather returned no arrays, so there is nothing to certify from"
    for key, array in bench.trained.arrays.items():
        if np.asarray(array).dtype.kind not in "biuf":
            yield f"gather returned {key} as {np.asarray(array).dtype}; wanted numbers"


@property_of(
    "a generator or a counter kept between blocks, or blocks that follow the machine",
    after=(training_can_be_repeated,),
)
def blocks_can_be_trained_in_any_order(bench: Bench) -> Iterator[str]:
    """A block depends on the cell and its index alone: runs are resumed block by block, and votes
    are the same whichever way they were computed.
    """
    blocks = list(bench.blocks())
    ends = [0, *(block.stop for block in blocks)]
    if not blocks or any(
        len(b) == 0 or b.start != end for b, end in zip(blocks, ends, strict=False)
    ):
        yield f"blocks are {blocks}; wanted ranges that follow one another from 0 on, none empty"
        return
    if blocks != list(bench.blocks()):
        yield "blocks() gave two answers for the same data set"
    several = _with_two_blocks(bench)
    if several is None:
        return
    order = list(range(len(several.blocks())))
    forwards, backwards = several.train(order), several.train(order[::-1])
    yield from _differences(forwards, backwards, "blocks trained in reverse order")
    for threat in several.threats:
        several.certify(threat, arrays=forwards.arrays)


@property_of(
    "gather reads how many base models there are, to scale or to seed by it: then the parameter is "
    "an ordinary Field and no count_field",
    after=(blocks_can_be_trained_in_any_order,),
)
def more_base_models_go_on_from_fewer(bench: Bench) -> Iterator[str]:
    """What a block leaves does not depend on how many follow, as a count_field says: a run with
    more base models takes the blocks of one with fewer.
    """
    counts = type(bench.defense.params).counts()
    if not counts:
        raise NotApplicable("no parameter is a count_field")
    few = _with_two_blocks(bench)
    if few is None:
        return  # one block for all: there is nothing to go on from
    for name in sorted(counts):
        many = few.with_params(**{name: 2 * getattr(few.defense.params, name)})
        if many is None or not few.blocks() or many.blocks()[0] != few.blocks()[0]:
            continue  # blocks that are cut otherwise are not shared
        how = f"with {name}={getattr(many.defense.params, name)} instead of half as many"
        yield from _differences(few.train([0]), many.train([0]), how)


@property_of(
    "test examples drawn at random, or a statistic of the test set used in predicting",
    after=(training_can_be_repeated, certificates.predictions_and_radii),
)
def order_of_test_examples_does_not_matter(bench: Bench) -> Iterator[str]:
    """Each test example is answered by itself: permuting them permutes predictions and radii."""
    order = np.random.default_rng(5).permutation(bench.dataset.n_test)
    permuted = bench.on(x_test=bench.dataset.x_test[order], y_test=bench.dataset.y_test[order])
    for threat in bench.threats:
        one, other = bench.certify(threat), permuted.certify(threat)
        single, moved = one.by_example, other.by_example
        if single is not None and moved is not None:
            for name in ("predictions", "radii"):
                before, after = getattr(single, name)[order], getattr(moved, name)
                for place in np.flatnonzero(before != after):
                    yield (
                        f"{name} of test example {order[place]} under {threat} are "
                        f"{before[place]}, and {after[place]} with the examples in another order"
                    )
        if one.kind is Kind.POINTWISE:
            continue
        before, after = certificates.curve(bench, one), certificates.curve(permuted, other)
        for r in np.flatnonzero(~np.isclose(before, after)):
            yield (
                f"certified accuracy under {threat} at place {r} of the curve is {before[r]:g}, "
                f"and {after[r]:g} with the test examples in another order"
            )


@property_of(
    "a parameter made with certify_field that gather reads after all",
    after=(training_can_be_repeated,),
)
def what_only_certify_reads_trains_nothing(bench: Bench) -> Iterator[str]:
    """Cells that differ only in parameters made with certify_field share their evidence, so gather
    must not read them, and each of their values certifies from the same evidence.
    """
    fields = type(bench.defense.params).model_fields
    choices = [
        (name, value)
        for name in sorted(bench.defense.params.certify_only())
        for value in _values(fields[name].annotation)
        if value != getattr(bench.defense.params, name)
    ]
    if not choices:
        raise NotApplicable("no parameter with a list of values is read by certify alone")
    # All at once, since training may take a while; one by one only to say which it is.
    together = bench.with_params(**dict(choices))
    same = together and not any(_differences(bench.trained, together.train(), ""))
    for name, value in choices:
        other = bench.with_params(**{name: value})
        if other is None:
            continue
        if not same:
            yield from _differences(bench.trained, other.train(), f"trained with {name}={value}")
        for threat in other.threats:
            other.certify(threat, arrays=bench.trained.arrays)


@property_of(
    "squeezed axes, two labels assumed, or sizes that `check` should refuse with a UsageError",
    after=(certificates.predictions_and_radii, certificates.certified_accuracy_falls),
)
def edge_shapes_work(bench: Bench) -> Iterator[str]:
    """What ``check`` lets pass is trained and certified: one test example, one base model, three
    labels, a label that no test example has, one that a single training example has.
    """
    checks = (certificates.predictions_and_radii, certificates.certified_accuracy_falls)
    data = bench.dataset
    rare = np.flatnonzero(data.y_train == data.n_labels - 1)[1:]
    kept = np.setdiff1d(np.arange(data.n_train), rare)
    only = np.flatnonzero(data.y_test == 0)
    edges = {
        "three labels": replace(bench, dataset=tiny_dataset(n_labels=3)),
        "one test example": bench.on(x_test=data.x_test[:1], y_test=data.y_test[:1]),
        "test examples of one label": bench.on(x_test=data.x_test[only], y_test=data.y_test[only]),
        "one base model": bench.with_params(n_models=1),
        "a label with one training example": bench.on(
            x_train=data.x_train[kept], y_train=data.y_train[kept]
        ),
    }
    for name, edge in edges.items():
        if edge is None or not edge.accepted:
            continue
        for prop in checks:
            failure = prop.failure(edge)
            if failure is not None:
                yield f"with {name}, {failure.found[0]}"
                break


def _differences(one: Trained, other: Trained, how: str) -> Iterator[str]:
    """Where training left something else, or gave a base model something else."""
    if one.arrays.keys() != other.arrays.keys():
        yield f"{how}, it left {sorted(one.arrays)} and {sorted(other.arrays)}"
        return
    for key, array in one.arrays.items():
        again = other.arrays[key]
        if np.shape(array) != np.shape(again):
            yield f"{how}, {key} has shapes {np.shape(array)} and {np.shape(again)}"
        elif not np.array_equal(array, again, equal_nan=np.asarray(array).dtype.kind == "f"):
            where = tuple(int(i) for i in np.argwhere(np.asarray(array != again))[0])
            place = f" at {list(where)}" if where else ""
            yield f"{how}, {key}{place} is {array[where]} and {again[where]}"
    if sorted(one.models, key=_said) != sorted(other.models, key=_said):
        yield f"{how}, base models were given other examples or predict something else"


def _said(model: Given) -> tuple[Any, ...]:
    return model.rows, model.asked, model.answers


def _with_two_blocks(bench: Bench) -> Bench | None:
    """The defense with just so many base models that they make two blocks."""
    if len(bench.blocks()) > 1:
        return bench
    for n_models in (_MANY, bench.dataset.n_train):
        many = bench.with_params(n_models=n_models)
        if many is not None and len(many.blocks()) > 1:
            return bench.with_params(n_models=len(many.blocks()[0]) + 1)
    return None


def _values(annotation: Any) -> tuple[Any, ...]:
    """The values of a field that lists them: a Literal, an enumeration or a truth value."""
    if annotation is bool:
        return (False, True)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


@contextmanager
def _unseeded() -> Iterator[dict[str, object]]:
    """The global random states as no seed leaves them, so that seeding them again shows.

    Afterwards they are what they were.
    """
    kept = (np.random.get_state(), torch.get_rng_state(), random.getstate())  # noqa: NPY002
    np.random.random_sample()  # noqa: NPY002 - the global state is what is watched here
    torch.rand(1)
    random.random()
    try:
        yield _global_states()
    finally:
        np.random.set_state(kept[0])  # noqa: NPY002
        torch.set_rng_state(kept[1])
        random.setstate(kept[2])


def _global_states() -> dict[str, object]:
    """What a global seed or an unseeded draw would change."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "numpy": (numpy["state"]["key"].tobytes(), numpy["state"]["pos"]),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
    }
