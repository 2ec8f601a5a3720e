"""What classes are in memory: everything that was set while the process ran, by its content."""

import os
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import BaseModel

from harness.defense import Parameters
from harness.defenses.bagging import Bagging
from harness.running.code import code_digest
from harness.running.code_objects import unknown_as, value_text

LEVEL = 1


def level() -> int:
    return LEVEL


class Attr:
    strength = 1

    def gather(self) -> int:
        return self.strength + level()


def make(number: int) -> type[Any]:
    class Made(Attr):
        def gather(self) -> int:
            return number

    return Made


def test_a_class_of_a_file_is_what_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest(Attr)
    assert before == code_digest(Attr)
    found = {before, *(code_digest(type("T2", (Attr,), {"strength": s})) for s in (8, 9))}
    found |= {code_digest(make(3)), code_digest(make(4))}
    assert code_digest(make(3)) == code_digest(make(3))
    with monkeypatch.context() as patch:
        patch.setattr(Attr, "strength", 2)
        found.add(code_digest(Attr))
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "LEVEL", 2)
        found.add(code_digest(Attr))
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "level", lambda: 3)
        found.add(code_digest(Attr))
    assert len(found) == 8
    assert code_digest(Attr) == before


def test_so_is_one_of_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest(Bagging)
    monkeypatch.setattr(Bagging, "isolated", not Bagging.isolated)
    changed = code_digest(Bagging)
    monkeypatch.undo()
    monkeypatch.setattr("harness.defense.even_blocks", lambda n, size: [range(n)])
    assert len({before, changed}) == 2
    monkeypatch.undo()
    assert code_digest(Bagging) == before


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: float
    parts: tuple[Any, ...] = ()


class Model(BaseModel):
    x: float
    more: list[int] = []


class Nested(Parameters):
    inner: Model = Model(x=1.0)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: object) -> None:
        self.x = x


class Sparing:
    """A copy of it lacks what it knows."""

    def __init__(self, x: object) -> None:
        self.x = x

    def __reduce__(self) -> tuple[Any, ...]:
        return Sparing, (0,)


class Float(float):
    unit = "m"


@lru_cache
def remembered(x: int) -> int:
    return x


PAIRS: list[tuple[Any, Any]] = [
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5])),
    (torch.tensor([1, 2]), torch.tensor([1, 2], dtype=torch.int32)),
    (torch.zeros(2, 3), torch.zeros(3, 2)),
    (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
    (Point(1.0), Point(2.0)),
    (Point(1.0, (np.arange(3),)), Point(1.0, (np.arange(1, 4),))),
    (Model(x=1.0), Model(x=2.0)),
    (Nested(), Nested(inner=Model(x=1.0, more=[1]))),
    (pd.Series([1.0, 2.0]), pd.Series([1.0, 3.0])),
    (pd.Series([1, 2], index=["a", "b"]), pd.Series([1, 2], index=["a", "c"])),
    (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pd.DataFrame({"a": [1, 2], "b": ["x", "z"]})),
    (Colour.RED, Colour.BLUE),
    (Path("/a"), Path("/b")),
    (np.random.default_rng(1), np.random.default_rng(2)),
    (np.float32(1), np.float64(1)),
    (np.array([1, "a"], object), np.array([1, "b"], object)),
    (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    (SimpleNamespace(x=1), SimpleNamespace(x=2)),
    (Slotted(1), Slotted(2)),
    (Float(1.5), Float(2.5)),
    ({"a": [1, {2}]}, {"a": [1, {3}]}),
    (np.random.default_rng(1).integers, np.random.default_rng(2).integers),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[type(one).__name__ for one, _ in PAIRS])
def test_a_value_counts_by_its_content(one: object, other: object) -> None:
    assert value_text(one) == value_text(one) != value_text(other)


def test_what_a_copy_would_lack_counts() -> None:
    def digest(value: object) -> str:
        names: dict[str, Any] = {"__name__": __name__, "VALUE": value}
        exec("class Uses:\n    def f(self): return VALUE", names)
        return code_digest(names["Uses"])

    assert digest(Sparing(1)) == digest(Sparing(1)) != digest(Sparing(2))


def test_what_nothing_sure_can_be_said_about_is_never_the_same() -> None:
    with open(os.devnull) as file:
        for value in (file, (x for x in "ab"), [1, file]):
            assert value_text(value) != value_text(value)
            with unknown_as("one plan"):
                assert value_text(value) == value_text(value)


def test_what_was_remembered_does_not_count() -> None:
    before = value_text(remembered)
    remembered(3)
    assert value_text(remembered) == before


def test_things_that_hold_each_other_have_an_end() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    assert value_text(ring) == value_text(ring)
    names: dict[str, Any] = {"__name__": "a_notebook", "DEEP": deep}
    exec("class Uses:\n    def f(self): return DEEP", names)
    assert code_digest(names["Uses"]) != code_digest(names["Uses"])


def test_every_process_finds_the_same_of_all_that_is_registered() -> None:
    script = (
        "from harness.plugins.registry import load_registry\n"
        "from harness.running.code import code_digest\n"
        "r = load_registry()\n"
        "for part in (r.defenses, r.learners, r.features):\n"
        "    for one in part.values().values():\n"
        "        print(one, code_digest(one, *filter(None, [getattr(one, 'Params', None)])))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_an_attribute_of_a_module_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("made_in_memory")
    monkeypatch.setitem(sys.modules, "made_in_memory", module)
    names: dict[str, Any] = {"__name__": "a_notebook", "made": module}
    exec("class Uses:\n    def f(self): return made.STRENGTH", names)
    digests = set()
    for strength in (1, 2):
        module.__dict__["STRENGTH"] = strength
        digests.add(code_digest(names["Uses"]))
    assert len(digests) == 2


def test_an_attribute_that_only_repeats_its_base_s_is_the_same_without():
    """cloudpickle leaves it out when it sends a class."""

    class Base:
        number = 1000

    class Repeats(Base):
        number = Base.number

    class Inherits(Base):
        pass

    Inherits.__qualname__, Inherits.__name__ = Repeats.__qualname__, Repeats.__name__
    assert code_digest(Repeats) == code_digest(Inherits)
    Repeats.number = 1001
    assert code_digest(Repeats) != code_digest(Inherits)
