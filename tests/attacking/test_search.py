"""The search for the smallest size that succeeds: what it tries, and that it finds it."""

import pytest

from harness.attacking.search import Search, Tried


def searching(turns, **options):
    """A search among attacks that succeed where ``turns``, and the sizes that it tries."""
    tried = []

    def attempt(r):
        tried.append(r)
        return Tried(turns(r), r)

    return Search(attempt, noisy=False, **options), tried


@pytest.mark.parametrize("boundary", [101, 102, 150, 151, 163, 999, 5000])
@pytest.mark.parametrize("expected", [None, 60, 100, 101, 120, 151, 999, 7000])
def test_it_finds_the_smallest_wherever_it_begins(boundary, expected):
    search, tried = searching(lambda r: r >= boundary, expected=lambda: expected)
    assert search.run(100, None, 6000).size == boundary
    assert tried[0] == 100
    assert len(tried) == len(set(tried))


def test_where_the_attack_is_right_three_sizes_do():
    search, tried = searching(lambda r: r >= 151, expected=lambda: 151)
    assert search.run(100, None, 6000).size == 151
    assert tried == [100, 151, 150]


def test_an_attack_that_takes_no_less_than_others_is_tried_once():
    search, tried = searching(lambda r: r >= 151)
    assert search.run(100, 151, 6000) is None
    assert tried == [150]


@pytest.mark.parametrize("boundary", [40, 100, 101, 140])
def test_one_that_takes_less_is_followed_down_to_what_is_certified_too(boundary):
    search, tried = searching(lambda r: r >= boundary)
    assert search.run(100, 151, 6000).size == boundary
    assert tried[:2] == [150, 100]


def test_a_certified_size_is_tried_first_and_the_smallest_is_told():
    search, tried = searching(lambda r: r >= 37)
    assert search.run(100, None, 6000).size == 37
    assert tried[0] == 100
    assert max(tried) == 100


def test_it_goes_on_where_there_is_no_attack_of_a_small_size_and_ends_where_nothing_is_left():
    search = Search(lambda r: Tried(r >= 150, r) if r >= 130 else None, noisy=False)
    assert search.run(100, None, 6000).size == 150
    tried = []
    search = Search(lambda r: tried.append(r) or Tried(False, min(r, 110)), noisy=False)
    assert search.run(100, None, 6000) is None
    assert search.largest == 110
    assert max(tried) < 150


def test_where_chance_plays_a_part_a_little_less_is_not_less():
    search, tried = searching(lambda r: r >= 1495)
    search.noisy = True
    assert search.run(1000, 1500, 6000) is None
    assert tried == [1485]


def test_where_chance_plays_a_part_sizes_near_one_another_are_the_same():
    search, tried = searching(lambda r: r >= 1500, expected=lambda: 1600)
    search.noisy = True
    found = search.run(1000, None, 6000).size
    assert 1500 <= found <= 1520
    assert tried[:2] == [1000, 1600]
    assert len(tried) < 16
