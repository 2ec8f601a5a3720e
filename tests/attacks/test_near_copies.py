"""Copies that differ in a last bit: allowed, all different, and all over a partition."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.attacks.near_copies import NearCopies, near_copy
from harness.defenses.partition.parts import digests, part_of
from harness.testing.data import border_dataset
from harness.threats import Threat

BYTES = border_dataset()
FLOATS = border_dataset(floats=True)


def target(data):
    near = np.arange(data.n_train)
    return SimpleNamespace(
        data=data,
        example=3,
        x=data.x_test[3],
        predicted=0,
        rivals=(1,),
        notes={},
        nearness=lambda: near,
    )


@pytest.mark.parametrize("data", [BYTES, FLOATS], ids=["bytes", "floats"])
@pytest.mark.parametrize("threat", sorted(NearCopies.threats))
def test_what_it_makes_is_allowed_and_all_of_it_different(data, threat):
    aim, attack = target(data), NearCopies()
    for r in (1, 7, 10):
        made = attack.poison(aim, threat, r)
        made.check(data, threat, r)
        assert made.size(threat) == r
        rows = made.rows().reshape(r, -1)
        assert len(np.unique(rows, axis=0)) == r
        away = np.abs(rows.astype(float) - data.x_test[3].reshape(-1))
        assert away.max() <= (1 if data.x_train.dtype == np.uint8 else 1e-6)


def test_where_no_more_can_be_replaced_the_training_set_grows_if_it_may():
    made = NearCopies().poison(target(BYTES), Threat.ANY, 25)
    assert (len(made.replaced), len(made.inserted_y)) == (10, 15)
    made.check(BYTES, Threat.ANY, 25)
    assert NearCopies().poison(target(BYTES), Threat.MODIFY, 25).size(Threat.MODIFY) == 10


def test_they_fall_into_other_parts_than_one_copy_does():
    made = NearCopies().poison(target(BYTES), Threat.INSERT, 200)
    parts = part_of(digests(made.inserted_x), 20)
    assert len(np.unique(parts)) == 20


def test_there_are_more_of_them_than_an_example_has_values():
    copies = np.stack([near_copy(BYTES, 3, place) for place in range(1000)])
    assert len(np.unique(copies.reshape(1000, -1), axis=0)) == 1000
