from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from harness.certificates import Certificate
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.errors import UsageError
from harness.plugins.selection import Selection, label
from harness.threats import Threat


class Knobs(Parameters):
    k: int = Field(5, ge=1, description="examples")
    rate: float = Field(0.5, gt=0, le=1)
    how: Literal["fast", "slow"] = "fast"
    learner: str = "ridge"


class Toy(Defense[Knobs]):
    name = "toy"
    title = paper = "toy"
    Params = Knobs

    def covers(self) -> frozenset[Threat]:
        return frozenset(Threat)

    def gather(self, task: Task) -> Arrays:
        raise AssertionError

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        raise AssertionError


class Plain(Toy):
    name = "plain"
    Params = Parameters


def build(text: str) -> Toy:
    defense = Selection.parse(text).build(Toy)
    assert isinstance(defense, Toy)
    return defense


def test_a_name_alone_has_the_defaults() -> None:
    assert build("toy").params == Knobs()
    assert build(" toy[] ").params == Knobs()


def test_values_may_hold_commas_brackets_and_quotes() -> None:
    params = build("toy[k=7, learner=x.Y(a=[1,2], b='],'), how=slow]").params
    assert params == Knobs(k=7, learner="x.Y(a=[1,2], b='],')", how="slow")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no defense is named"),
        ("[k=1]", "no defense is named"),
        ("toy[k=1", "does not end with a bracket"),
        ("toy[k]", "'k' in 'toy[k]' is not of the form key=value"),
        ("toy[k=]", "not of the form key=value"),
        ("toy[k=1,]", "not of the form key=value"),
        ("toy[k=1,k=2]", "k is given twice"),
        ("toy[learner=a(]", "brackets or quotes do not match"),
        ("toy[learner='a]", "brackets or quotes do not match"),
        ("toy[k=0]", "toy: k=0 is not allowed: should be greater than or equal to 1 (k: examples)"),
        ("toy[k=1.5]", "toy: k=1.5 is not allowed"),
        ("toy[rate=nan]", "toy: rate=nan is not allowed"),
        ("toy[how=quick]", "toy: how=quick is not allowed: should be 'fast' or 'slow'"),
        ("toy[learnr=x]", "unknown parameter of toy 'learnr'; did you mean learner?"),
    ],
)
def test_bad_selections_get_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_defense_without_parameters_says_so() -> None:
    with pytest.raises(UsageError, match="plain has no parameters; found 'k'"):
        Selection.parse("plain[k=1]").build(Plain)


@given(
    k=st.integers(1, 10**6),
    rate=st.floats(1e-6, 1),
    how=st.sampled_from(["fast", "slow"]),
    learner=st.sampled_from(["ridge", "ridge(penalty=1.5)", "a.B(c='x, y')"]),
)
def test_a_label_reads_back_as_the_same_parameters(
    k: int, rate: float, how: str, learner: str
) -> None:
    params = Knobs.model_validate({"k": k, "rate": rate, "how": how, "learner": learner})
    assert build(label("toy", params)).params == params


def test_a_label_leaves_out_defaults() -> None:
    assert label("toy", Knobs(k=5, how="slow")) == "toy[how=slow]"
    assert label("toy", Knobs()) == "toy"


class Wanting(Parameters):
    need: int = Field(ge=3, description="how much")
    names: list[str] = Field(default_factory=list)


class Demanding(Toy):
    name = "demanding"
    Params = Wanting  # type: ignore[assignment]


def test_a_parameter_that_is_required_is_asked_for() -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse("demanding").build(Demanding)
    wanted = "demanding: need is required: demanding[need=...] (need: how much)"
    assert str(caught.value) == wanted
    made = Selection.parse("demanding[need=4]").build(Demanding)
    assert label("demanding", made.params) == "demanding[need=4]"
