"""The fewest changed labels, where every labelling can be tried in whole numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.proofs.linear_votes import NEVER, fewest_flips, radii_of


def brute_force(weights: list[int], labels: tuple[int, ...], c: int) -> tuple[int, int]:
    """What is predicted, and the fewest labels to change before something else is, or ties."""

    def scores(given: tuple[int, ...]) -> list[int]:
        return [sum(w for w, y in zip(weights, given, strict=True) if y == j) for j in range(c)]

    own = scores(labels)
    predicted = own.index(max(own))
    least = NEVER
    for other in itertools.product(range(c), repeat=len(labels)):
        found = scores(other)
        if max(found[:predicted] + found[predicted + 1 :]) >= found[predicted]:
            least = min(least, sum(a != b for a, b in zip(labels, other, strict=True)))
    return predicted, least


@given(
    st.integers(2, 3).flatmap(
        lambda c: st.tuples(
            st.just(c),
            st.lists(st.tuples(st.integers(-5, 9), st.integers(0, c - 1)), min_size=1, max_size=6),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_every_labelling(world: tuple[int, list[tuple[int, int]]]) -> None:
    """Weights in whole numbers: a tie is one exactly, and counts for the attacker."""
    c, examples = world
    weights, labels = ([*column] for column in zip(*examples, strict=True))
    predicted, flips = fewest_flips(np.array([weights], float), np.array(labels), c)
    assert (predicted[0], flips[0]) == brute_force(weights, tuple(labels), c)


def test_what_error_could_explain_counts_for_the_attacker() -> None:
    weights = np.array([[1.0, 1.0, 1.0]])
    labels = np.array([1, 1, 1])
    assert fewest_flips(weights, labels, 2)[1] == 2
    assert fewest_flips(weights, labels, 2, error=0.4)[1] == 1  # 3 - 2 is below 3 x 0.4
    assert fewest_flips(weights, labels, 2, error=np.array([1.0]))[1] == 0


def test_sums_in_the_order_of_the_examples_do_not_decide() -> None:
    """0.1 + 0.2 and 0.3 tie, whatever float64 makes of them."""
    for weights in ([0.1, 0.2, 0.3], [0.3, 0.1, 0.2]):
        labels = np.array([w == 0.3 for w in weights], np.int64)
        assert fewest_flips(np.array([weights]), labels, 2)[1] == 0


@pytest.mark.parametrize(("flips", "radius"), [(0, -1), (1, 0), (5, 4), (9, 8), (NEVER, 8)])
def test_a_radius_is_one_less_and_at_most_n(flips: int, radius: int) -> None:
    assert radii_of(np.array([flips]), 8) == radius


def test_nothing_is_known_of_no_examples() -> None:
    predicted, flips = fewest_flips(np.zeros((1, 0)), np.zeros(0, np.int64), 3)
    assert (predicted[0], flips[0]) == (0, 0)
