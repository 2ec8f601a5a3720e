"""Which epsilons an accountant reaches, against the accountants themselves."""

from typing import Any

import pytest

from harness.defenses.dp import accounting
from harness.defenses.dp.accounting import noise_multiplier
from harness.defenses.dp.reach import Accountant, check_reach, smallest_rdp_epsilon
from harness.errors import UsageError


@pytest.mark.parametrize("delta", [1e-9, 1e-7, 1e-5])
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_rdp_finds_noise_above_the_smallest_epsilon_and_none_below(
    delta: float, rate: float
) -> None:
    least = smallest_rdp_epsilon(delta)
    above, below = 1.02 * least, 0.999 * least
    check_reach(above, delta, rate, "rdp")
    assert noise_multiplier(above, delta, rate, 20, "rdp") > 0
    with pytest.raises(UsageError, match="finds no noise"):
        noise_multiplier(below, delta, rate, 20, "rdp")
    with pytest.raises(UsageError, match=r"allowed: an epsilon above 0\.\d+, or a larger delta"):
        check_reach(below, delta, rate, "rdp")


@pytest.mark.parametrize("accountant", ["auto", "prv"])
def test_prv_says_when_it_trains_that_it_finds_no_noise(accountant: Accountant) -> None:
    check_reach(9e-4, 1e-5, 1.0, accountant)
    assert noise_multiplier(9e-4, 0.1, 1.0, 20, accountant) > 0
    with pytest.raises(UsageError, match=r"finds no noise for epsilon=0\.0009"):
        noise_multiplier(9e-4, 1e-5, 1.0, 20, accountant)


def test_the_noise_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[float] = []

    def search(target_epsilon: float, **_: Any) -> float:
        searches.append(target_epsilon)
        return 1.0

    monkeypatch.setattr(accounting, "get_noise_multiplier", search)
    noise_multiplier.cache_clear()
    try:
        for epsilon in (0.5, 0.5, 0.7, 0.5):
            noise_multiplier(epsilon, 1e-5, 1.0, 20, "auto")
    finally:
        noise_multiplier.cache_clear()
    assert searches == [0.5, 0.7]


def test_a_usual_epsilon_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(**_: Any) -> float:
        raise AssertionError

    monkeypatch.setattr(accounting, "get_noise_multiplier", search)
    noise_multiplier.cache_clear()
    for rate in (1.0, 0.5):
        check_reach(0.3, 1e-5, rate, "auto")
