"""The key and the label of parameters: two that differ never share one, whatever they print."""

from enum import Enum
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_serializer

from harness.datasets.base import Dataset
from harness.defense import Parameters
from harness.defenses.bagging import Bagging
from harness.errors import UsageError
from harness.plugins.selection import label
from harness.results import store
from harness.running import keys
from harness.running.keys import evidence_key


def key(params: Parameters, data: Dataset) -> str:
    return evidence_key("toy", Bagging(params), data, 0, "", "")[0]  # type: ignore[arg-type]


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Inner(BaseModel):
    x: int = 1


class Derived(Inner):
    y: int = 1


class Odd(Parameters):
    unseen: int = Field(1, exclude=True)
    rounded: float = 0.5
    nested: Inner = Inner()
    several: tuple[int, ...] = (1, 2)
    either: int | str = 0
    size: Size = Size.SMALL
    names: dict[str, list[float]] = Field(default_factory=dict)
    _own: int = PrivateAttr(0)

    @field_serializer("rounded")
    def _rounded(self, value: float) -> float:
        return round(value, 1)


def own(number: int) -> Odd:
    made = Odd()
    made._own = number
    return made


DIFFERENT = [
    (Odd(unseen=2), Odd(unseen=3)),
    (Odd(rounded=0.123), Odd(rounded=0.124)),
    (Odd(rounded=0.123), Odd(rounded=0.1)),
    (Odd(nested=Derived(y=2)), Odd(nested=Derived(y=3))),
    (Odd(nested=Derived()), Odd(nested=Inner())),
    (Odd(several=(1, 3)), Odd(several=(1, 4))),
    (Odd(size=Size.LARGE), Odd()),
    (Odd(names={"a": [1.0]}), Odd(names={"a": [1.5]})),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_has_its_own_key_and_label(tiny: Dataset, one: Odd, other: Odd) -> None:
    assert key(one, tiny) == key(one.model_copy(), tiny) != key(other, tiny)
    assert label("toy", one) == label("toy", one.model_copy()) != label("toy", other)


def test_a_private_attribute_counts(tiny: Dataset) -> None:
    assert key(own(1), tiny) != key(own(2), tiny)


def test_labels_show_the_value() -> None:
    assert label("toy", Odd(unseen=2)) == "toy[unseen=2]"
    assert label("toy", Odd(rounded=0.123)) == "toy[rounded=0.123]"
    assert label("toy", Odd(nested=Derived(y=2))) == "toy[nested=Derived(x=1, y=2)]"


def test_a_label_that_would_be_read_as_something_else_is_refused() -> None:
    assert label("toy", Odd(either="1")) == "toy[either=1]"
    with pytest.raises(
        UsageError, match=r"^toy: either cannot be told in a label: there, either=1 "
    ) as e:
        label("toy", Odd(either=1))
    assert "\n" not in str(e.value)


class Secret(Parameters):
    word: SecretStr = SecretStr("a")


class Arbitrary(Parameters):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    weights: Any = None


@pytest.mark.parametrize(
    ("params", "field"),
    [
        (Secret(word=SecretStr("b")), "word is a SecretStr"),
        (Arbitrary(weights=np.ones(2)), "weights is a ndarray"),
        (Arbitrary(weights=[lambda: 1]), "weights is a function"),
    ],
)
def test_what_is_no_plain_value_is_refused(tiny: Dataset, params: Parameters, field: str) -> None:
    for use in (lambda: key(params, tiny), lambda: label("toy", params)):
        with pytest.raises(UsageError, match=f"^toy: {field}, by which") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_blocks_of_another_form_are_not_found(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(Odd(), tiny)
    monkeypatch.setattr(keys, "FORMAT", store.FORMAT + 1)
    assert key(Odd(), tiny) != before
