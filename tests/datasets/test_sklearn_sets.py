import numpy as np
import pytest
from sklearn import datasets

from harness.datasets.sklearn_sets import NAMES, SklearnSets
from harness.errors import UsageError


@pytest.mark.parametrize("name", NAMES)
def test_a_fifth_is_for_testing_and_nothing_is_lost(name):
    data = SklearnSets().load(name, None)
    found = getattr(datasets, f"load_{name}")()
    n = len(found.target)
    assert len(data.x_test) == round(n / 5)
    assert data.domain.n_public == data.n_train == n - len(data.x_test)
    assert data.label_names == tuple(map(str, found.target_names))
    both = np.concatenate([data.x_train, data.x_test]).reshape(n, -1)
    labels = np.concatenate([data.y_train, data.y_test])
    ours = sorted(zip(both.tolist(), labels.tolist(), strict=True))
    raw = np.asarray(found.data, np.float32).tolist()
    assert ours == sorted(zip(raw, found.target.tolist(), strict=True))
    assert SklearnSets().load(name, None).digest == data.digest


def test_digits_are_images_of_a_declared_range():
    data = SklearnSets().load("digits", None)
    assert data.x_train.shape[1:] == (8, 8)
    assert (data.domain.lowest, data.domain.highest, data.domain.assumed) == (0, 16, ())


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match="did you mean iris"):
        SklearnSets().load("irris", None)
