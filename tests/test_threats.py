import pytest

from harness.errors import UsageError
from harness.threats import Threat, Unit, cost, covered, parse_threat

_ORDER = [Threat.INSERT, Threat.DELETE, Threat.MODIFY, Threat.ANY, Threat.LABEL_FLIP]


@pytest.mark.parametrize(
    ("unit", "costs"),
    [
        (Unit.POISONED_EXAMPLE, [1, 1, 1, 1, 1]),
        (Unit.ADD_REMOVE, [1, 1, 2, 2, 2]),
        (Unit.ADD_REMOVE_LINEAR_BINARY, [1, 1, 2, 2, 1]),
        (Unit.LABEL, [None, None, None, None, 1]),
        (Unit.VALUE, [None, None, 785, None, 1]),
        (Unit.PART, [1, 1, 2, 2, 2]),
        (Unit.FEATURE_PART, [1, 1, 2, 2, 1]),
    ],
)
def test_the_cost_table(unit: Unit, costs: list[int | None]) -> None:
    assert [cost(unit, threat, values_per_example=785) for threat in _ORDER] == costs


def test_a_weaker_attacker_never_costs_more_units() -> None:
    for unit in Unit:
        weak = cost(unit, Threat.LABEL_FLIP, values_per_example=5)
        modify = cost(unit, Threat.MODIFY, values_per_example=5)
        strong = cost(unit, Threat.ANY, values_per_example=5)
        assert weak is not None
        assert modify is None or weak <= modify
        assert strong is None or (modify is not None and modify <= strong)


def test_covered_is_what_has_a_cost() -> None:
    assert covered(Unit.LABEL) == {Threat.LABEL_FLIP}
    assert covered(Unit.VALUE) == {Threat.LABEL_FLIP, Threat.MODIFY}
    assert covered(Unit.ADD_REMOVE) == frozenset(Threat)


def test_flipped_values_of_an_example_must_be_known() -> None:
    with pytest.raises(ValueError, match="values_per_example"):
        cost(Unit.VALUE, Threat.MODIFY)


def test_a_threat_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown threat 'modfy'; did you mean modify\?"):
        parse_threat("modfy")
    with pytest.raises(UsageError, match="Allowed: any, delete, insert, label-flip, modify"):
        parse_threat("x")
    assert parse_threat("label-flip") is Threat.LABEL_FLIP
