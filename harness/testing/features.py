"""Are they sound features? Each row of its own example alone, whatever stands beside it."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.features.base import AUTO, Features, wrong_form
from harness.features.tensors import LARGEST
from harness.testing.hostile import EXAMPLES, NOISE, hostile_examples
from harness.testing.judging import Report, judge
from harness.testing.properties import property_of
from harness.testing.verdicts import ConformanceError

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.testing.verdicts import Failure

Array = NDArray[Any]


@dataclass(frozen=True)
class FeaturesBench:
    """Features, and examples of every type and shape that they take, as hostile as can be."""

    features: Features
    """Never asked anything: each question is for a copy, which nobody asked before."""
    label: str
    sets: Mapping[str, Array]
    """By type and shape of an example, examples (m, ...) that nobody may change."""

    @cached_property
    def judged(self) -> dict[str, Failure | None]:
        """What is known about properties already, by name."""
        return {}

    def rows(self, x: Array) -> Any:
        """The features of a copy of ``x``, by themselves when they were not asked before."""
        return self.fresh().rows(x.copy())

    def fresh(self) -> Features:
        """The features as they were made."""
        return copy.deepcopy(self.features)

    @cached_property
    def alone(self) -> dict[str, list[bytes]]:
        """The features of each example as bytes, each computed where there is no other."""
        return {
            kind: [_bytes(self.rows(x[i : i + 1]))[0] for i in range(len(x))]
            for kind, x in self.sets.items()
        }


def _bytes(rows: Any) -> list[bytes]:
    return [row.tobytes() for row in rows.numpy()]


def _shown(kind: str, i: int, x: Array) -> str:
    values = np.unique(x[i])[[0, -1]].tolist()
    return f"example {i} of {kind}, with values from {values[0]:.4g} to {values[1]:.4g},"


@property_of("a class variable that is missing, or a constructor's parameter without a default")
def names_and_parameters_can_be_typed(bench: FeaturesBench) -> Iterator[str]:
    """They are selected by name, with parameters in brackets: `features=hog(cells=7)`."""
    cls = type(bench.features)
    for attribute in ("name", "summary"):
        value = getattr(cls, attribute, None)
        if not isinstance(value, str) or not value.strip():
            yield f"{attribute} is {value!r}; wanted a line of text"
    name = str(getattr(cls, "name", ""))
    if name == AUTO or not re.fullmatch("[A-Za-z0-9_-]+", name):
        yield f"name is {name!r}; wanted letters, digits, - or _, and not {AUTO!r}"
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield f"the constructor takes *{parameter.name}; wanted parameters with names"
        elif parameter.default is parameter.empty:
            yield f"the parameter {parameter.name} has no default"


@property_of("a type that follows the example's, as of torch.from_numpy(x), or a squeezed axis")
def rows_are_of_the_form_that_count_says(bench: FeaturesBench) -> Iterator[str]:
    """Base models are given (m, d) float32 with one d for all examples of a shape."""
    for kind, x in bench.sets.items():
        d: object = bench.features.count(x.shape[1:])
        if not isinstance(d, int) or d < 1:
            yield f"count({x.shape[1:]}) is {d!r}; wanted a whole number of at least 1"
            continue
        for m in (NOISE, 1):
            wrong = wrong_form(bench.rows(x[-m:]), (m, d))
            if wrong:
                yield f"for {m} examples of {kind}, {wrong}"
                break


@property_of(
    "a division by a sum, a norm or a range that may be 0, or a square that is beyond float32",
    after=(rows_are_of_the_form_that_count_says,),
)
def every_example_of_the_domain_has_features(bench: FeaturesBench) -> Iterator[str]:
    """An attacker may write any example of the domain: one that raises ends the run, which no
    certificate counts, and what is not finite is cut off before a base model sees it.
    """
    for kind, x in bench.sets.items():
        for i in range(len(x)):
            try:
                row = bench.rows(x[i : i + 1])[0]
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                yield f"{_shown(kind, i, x)} raised {text}"
                continue
            bad = torch.nonzero(~(row.abs() <= LARGEST)).flatten()
            if len(bad):
                value = float(row[bad[0]])
                yield f"feature {int(bad[0])} of {_shown(kind, i, x)} is {value:.3g}"


@property_of(
    "a mean, a scale, a maximum or a rank over the examples that are computed together, something "
    "kept on self, or a matrix product or convolution over many examples, which rounds "
    "differently for other numbers of them (compute them one by one)",
    after=(every_example_of_the_domain_has_features,),
)
def a_row_depends_on_its_own_example_alone(bench: FeaturesBench) -> Iterator[str]:
    """Were it to follow another training example, one poisoned example would reach every base
    model, and no certificate would hold.
    """
    for kind, x in bench.sets.items():
        alone, m = bench.alone[kind], len(x)
        others = x[np.roll(np.arange(m), m // 2)]
        used = bench.fresh()
        used.rows(others.copy())
        ways = {
            f"among {m} examples": _bytes(bench.rows(x)),
            "in the opposite order": _bytes(bench.rows(x[::-1]))[::-1],
            "after others were computed": _bytes(used.rows(x.copy())),
            "beside itself": [
                _bytes(bench.rows(np.repeat(x[i : i + 1], 5, 0)))[3] for i in range(m)
            ],
            "by compute(x, chunk=3)": _bytes(bench.fresh().compute(x.copy(), chunk=3)),
        }
        for way, rows in ways.items():
            moved = [i for i in range(m) if rows[i] != alone[i]]
            if moved:
                yield (
                    f"{_shown(kind, moved[0], x)} has other features {way} than by itself "
                    f"(so have {len(moved)} of {m})"
                )
                break


@property_of("random numbers that no parameter fixes, or the time, or an address in memory")
def the_same_example_has_the_same_features_again(bench: FeaturesBench) -> Iterator[str]:
    """Training and test set are computed at different times, and on different machines."""
    for kind, x in bench.sets.items():
        one = bench.fresh()
        first, second, fresh = one.rows(x.copy()), one.rows(x.copy()), bench.rows(x)
        if _bytes(first) != _bytes(second) or _bytes(first) != _bytes(fresh):
            yield f"examples of {kind} had other features when they were computed again"


@property_of("an operation in place, as x /= 255, on the array itself instead of on a copy")
def examples_stay_as_they_are(bench: FeaturesBench) -> Iterator[str]:
    """Other cells of the run, and other features, are computed from the same array."""
    for kind, x in bench.sets.items():
        given = x.copy()
        rows = bench.fresh().rows(given)
        if given.tobytes() != x.tobytes():
            yield f"examples of {kind} were changed in place"
        elif _lends(rows, given):
            yield f"the features of {kind} lie in the memory of the examples"


def _lends(rows: object, x: Array) -> bool:
    return isinstance(rows, torch.Tensor) and bool(np.shares_memory(rows.numpy(), x))


@property_of(
    "a branch on x.dtype for anything but uint8, a view of the memory (x.view, x.data) or "
    "torch.from_numpy of an array that cannot be written or is turned",
    after=(every_example_of_the_domain_has_features,),
)
def type_and_layout_in_memory_do_not_matter(bench: FeaturesBench) -> Iterator[str]:
    """The same example in another layout, or its numbers as float64, is the same example."""
    for kind, x in bench.sets.items():
        locked = x.copy()
        locked.flags.writeable = False
        ways = {
            "in Fortran's order": np.asfortranarray(x),
            "that cannot be written": locked,
            "cut out of a larger array": np.repeat(x, 2, axis=0)[::2],
        }
        if x.dtype != np.uint8:
            ways["as float64"] = x.astype(np.float64)
        for way, other in ways.items():
            try:
                rows = bench.fresh().rows(other)
            except Exception as error:
                yield f"an array of {kind} {way} raised {type(error).__name__}: {error}"
                continue
            wrong = wrong_form(rows, (len(x), bench.features.count(x.shape[1:])))
            if wrong or _bytes(rows) != _bytes(bench.rows(x)):
                yield f"an array of {kind} {way} has other features" + (f": {wrong}" * bool(wrong))


PROPERTIES = (
    names_and_parameters_can_be_typed,
    rows_are_of_the_form_that_count_says,
    every_example_of_the_domain_has_features,
    a_row_depends_on_its_own_example_alone,
    the_same_example_has_the_same_features_again,
    examples_stay_as_they_are,
    type_and_layout_in_memory_do_not_matter,
)
"""All of them; what makes others fail comes before them."""


def check_features(
    features: type[Features] | Features | str,
    *,
    example: tuple[int, ...] | None = None,
    registry: Registry | None = None,
) -> Report:
    """Computes features of hostile examples and checks every property of sound ones.

    ``features`` is a class, which is tried with its defaults, an instance, or a text such as
    ``hog(cells=7)``. ``example`` is the shape of one example; without it small grey and colour
    images and a row of a table are tried, those of them that ``check`` lets pass. ``registry``
    holds the features that a text may name; by default all that are installed.

    Raises ConformanceError that explains all that is wrong: which property, by which example, what
    it protects and what is usually the cause. Raises UsageError for a text that names no features,
    and where no example has a shape that they take.
    """
    made, label = _made(features, registry)
    shapes = EXAMPLES if example is None else (example,)
    accepted = []
    refused = ""
    for shape in shapes:
        try:
            made.check(shape)
        except UsageError as error:
            refused = str(error)
        else:
            accepted.append(shape)
    if not accepted:
        raise UsageError(f"{refused}; say which shape an example has: example=(...)")
    sets = {kind: x for shape in accepted for kind, x in hostile_examples(shape).items()}
    return judge(PROPERTIES, FeaturesBench(made, label, sets), "sound features")


def _made(
    features: type[Features] | Features | str, registry: Registry | None
) -> tuple[Features, str]:
    if isinstance(features, str):
        from harness.features.spec import canonical, is_auto, parse_spec, resolve
        from harness.plugins.registry import load_registry

        if is_auto(features):
            raise UsageError(f"{AUTO} stands for hog or raw: name the features to try")
        known = (registry or load_registry()).features
        known[parse_spec(features).name]  # its errors know of clashes and of broken plugins
        return resolve(features, known.values()), canonical(features, known.values())
    if isinstance(features, Features):
        return features, type(features).name
    try:
        return features(), features.name
    except (TypeError, AttributeError) as error:
        raise ConformanceError(
            f"{features.__qualname__} cannot be made without arguments: {error}; every parameter "
            "needs a default, and the class a name"
        ) from error
