"""The poisonings that the conformance suite makes, and that it makes those that matter."""

from itertools import combinations

import numpy as np
import pytest

from harness.plugins.registry import Registry
from harness.testing.bench import make_bench
from harness.testing.campaign import Campaign
from harness.testing.data import border_dataset
from harness.testing.poisonings import (
    ALLOWED,
    Edit,
    allowed,
    deletions,
    flips,
    insertions,
    poisoning,
    replacing,
    told,
)
from harness.threats import Threat

FOUR = border_dataset((1, 3), (2,), 4, floats=True)


def test_the_small_data_set_has_a_rare_label_an_absent_one_and_all_of_float32() -> None:
    counts = np.bincount(FOUR.y_train, minlength=4)
    assert counts[0] == 0
    assert counts[2] == 1
    assert FOUR.domain.highest == np.finfo(np.float32).max
    assert FOUR.domain.n_public == FOUR.n_train == 20


def test_single_edits_are_exhaustive() -> None:
    assert len(deletions(FOUR)) == 20
    assert {(e.index, e.label) for e in flips(FOUR)} == {
        (j, label) for j in range(20) for label in range(4) if label != FOUR.y_train[j]
    }
    added = insertions(FOUR, [3])
    assert {edit.label for edit in added} == {0, 1, 2, 3}
    values = np.stack([edit.x for edit in added])
    assert values.min() == FOUR.domain.lowest
    assert values.max() == FOUR.domain.highest
    assert any(np.array_equal(edit.x, FOUR.x_train[0]) for edit in added)
    assert any(np.array_equal(edit.x, FOUR.x_test[3]) for edit in added)


def test_poisoned_sets_hold_what_was_said() -> None:
    new = insertions(FOUR, [0])[5]
    edits = (Edit(Threat.DELETE, 4), Edit(Threat.LABEL_FLIP, 0, label=3), new, replacing(7, new))
    made = poisoning(edits)
    made.check(FOUR, Threat.ANY, 3)  # a deletion and an insertion are one modification
    x, y = made.apply(FOUR)
    assert len(x) == 20
    assert y[0] == 3
    assert np.array_equal(x[-1], new.x)
    assert np.array_equal(x[6], new.x)
    assert np.array_equal(x[4], FOUR.x_train[5])
    assert told(edits[:2]) == (
        "training example 4 deleted and the label of training example 0 changed to 3"
    )


def test_what_is_allowed_under_each_threat() -> None:
    kinds = (Threat.MODIFY, Threat.INSERT, Threat.DELETE, Threat.LABEL_FLIP)
    for threat in Threat:
        for pair in combinations(kinds, 2):
            edits = tuple(Edit(kind) for kind in pair)
            assert allowed(threat, edits) == (set(pair) <= ALLOWED[threat])
    assert allowed(Threat.ANY, tuple(map(Edit, kinds)))


@pytest.mark.parametrize("selection", ["dpa[n_models=5]", "bagging[learner=1nn]"])
@pytest.mark.parametrize("data", [border_dataset(), FOUR], ids=["two", "four"])
def test_every_threat_is_attacked_with_single_and_double_poisonings(
    registry: Registry, selection: str, data: object
) -> None:
    bench = make_bench(selection, data, registry)  # type: ignore[arg-type]
    campaign = Campaign(bench, seconds=1e9).run()
    assert all(campaign.attacked.values())
    assert campaign.trained > 150
    assert campaign.contradictions == campaign.unanswered == []


def test_a_slow_defense_is_tried_with_fewer(registry: Registry) -> None:
    bench = make_bench("dpa[n_models=3]", border_dataset(), registry)
    quick, slow = Campaign(bench, seconds=1e9), Campaign(bench, seconds=1e9)
    slow._every = 10
    assert slow.run().trained < quick.run().trained / 5
