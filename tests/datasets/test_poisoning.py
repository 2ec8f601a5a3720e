"""What an attacker did: applied as a loop would, counted as its threat does, refused in a line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.datasets.base import Dataset
from harness.datasets.poisoning import NotAllowed, Poisoning
from harness.threats import Threat

N = 9


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N + 2, 2, 2)).astype(np.uint8)
    y = np.arange(N) % 3
    return Dataset.from_arrays(x[:N], y, x[N:], [0, 1], label_set=[0, 1, 2])


@st.composite
def poisonings(draw):
    order = draw(st.permutations(range(N)))
    d, f, m = (draw(st.integers(0, 3)) for _ in range(3))
    i = draw(st.integers(0, 3))
    labels = st.integers(0, 2)
    rows = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (m + i, 2, 2))
    rows = rows.astype(np.uint8)
    return Poisoning(
        deleted=np.array(order[:d], dtype=np.int64),
        flipped=np.array(order[d : d + f], dtype=np.int64),
        flipped_y=np.array([draw(labels) for _ in range(f)], dtype=np.int64),
        replaced=np.array(order[d + f : d + f + m], dtype=np.int64),
        replaced_x=rows[:m] if m else None,
        replaced_y=np.array([draw(labels) for _ in range(m)], dtype=np.int64),
        inserted_x=rows[m:] if i else None,
        inserted_y=np.array([draw(labels) for _ in range(i)], dtype=np.int64),
        first=draw(st.booleans()),
    )


def naive(data: Dataset, p: Poisoning) -> list[tuple[bytes, int]]:
    """The poisoned set as one would make it by hand, an example after another."""
    flipped = dict(zip(p.flipped.tolist(), p.flipped_y.tolist(), strict=True))
    replaced = {j: i for i, j in enumerate(p.replaced.tolist())}
    kept = []
    for j in range(data.n_train):
        if j in p.deleted.tolist():
            continue
        if j in replaced:
            kept.append((p.replaced_x[replaced[j]].tobytes(), int(p.replaced_y[replaced[j]])))
        else:
            kept.append((data.x_train[j].tobytes(), flipped.get(j, int(data.y_train[j]))))
    new = [(p.inserted_x[i].tobytes(), int(label)) for i, label in enumerate(p.inserted_y)]
    return new + kept if p.first else kept + new


@given(poisonings())
def test_it_is_applied_as_one_would_by_hand(p):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N + 2, 2, 2)).astype(np.uint8)
    data = Dataset.from_arrays(x[:N], np.arange(N) % 3, x[N:], [0, 1], label_set=[0, 1, 2])
    for one in (p, Poisoning.from_arrays(p.arrays())):
        found, labels = one.apply(data)
        pairs = [(a.tobytes(), int(b)) for a, b in zip(found, labels, strict=True)]
        assert pairs == naive(data, p)
    changed = len(p.flipped) + len(p.replaced)
    assert p.size(Threat.ANY) == changed + max(len(p.deleted), len(p.inserted_y))
    assert p.size(Threat.INSERT) == changed + len(p.deleted) + len(p.inserted_y)
    p.check(data, Threat.ANY, p.size(Threat.ANY))
    if p.size(Threat.ANY):
        with pytest.raises(NotAllowed, match="are allowed"):
            p.check(data, Threat.ANY, p.size(Threat.ANY) - 1)


@pytest.mark.parametrize(
    ("made", "threat", "said"),
    [
        (lambda x: Poisoning.delete([0]), "label-flip", "deletes 1 training example"),
        (lambda x: Poisoning.replace([0], x, 1), "label-flip", "replaces 1 training example"),
        (lambda x: Poisoning.insert(x, 1), "modify", "inserts 1 training example"),
        (lambda x: Poisoning.flip([0], 1), "insert", "flips the labels of 1 training example"),
        (lambda x: Poisoning.flip([0], 3), "label-flip", "gives the label 3, of 3"),
        (lambda x: Poisoning.flip([0, 0], 1), "label-flip", "changes a training example twice"),
        (lambda x: Poisoning.delete([99]), "delete", "changes training example 99, of 9"),
        (lambda x: Poisoning.insert(x.astype(float), 1), "insert", "of float64; wanted"),
        (lambda x: Poisoning.insert(x[:, :1], 1), "insert", r"\(1, 1, 2\) of uint8; wanted"),
        (
            lambda x: replace(Poisoning.flip([0], 1), flipped_y=np.array([1, 1])),
            "modify",
            "2 label",
        ),
    ],
)
def test_what_a_threat_does_not_allow_is_refused_in_a_line(data, made, threat, said):
    with pytest.raises(NotAllowed, match=said) as caught:
        made(data.x_test[:1]).check(data, Threat(threat), 5)
    assert "\n" not in str(caught.value)


def test_several_are_put_together(data):
    parts = [Poisoning.flip([2], 0), Poisoning.insert(data.x_test[:1], 1), Poisoning.delete([5])]
    whole = Poisoning.together(parts)
    assert sorted(whole.touched.tolist()) == [2, 5]
    assert whole.inserted_y.tolist() == [1]
    assert str(whole) == "training examples: 1 deleted, 1 with another label, 1 inserted"
