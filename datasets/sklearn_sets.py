"""``sklearn:NAME``: small real data that scikit-learn carries, for trying things out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.split import split
from harness.errors import unknown

_IMAGES = ("digits",)
_RANGES = {"digits": (0, 16)}
NAMES = ("digits", "breast_cancer", "wine", "iris")
FRACTION, SEED = 0.2, 0


class SklearnSets:
    """scikit-learn's ``load_digits``, ``load_breast_cancer``, ``load_wine`` and ``load_iris``.

    They are of the UCI Machine Learning Repository. A fifth is for testing, always the same.
    """

    name = "sklearn"
    summary = f"small real data: sklearn:NAME, one of {', '.join(NAMES)}; needs no download"
    takes_argument = True
    domain = (
        "the labels that the data set is about; digits: 8 x 8 whole values from 0 to 16, else real "
        "numbers; n_public four fifths of the examples"
    )

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """float32 examples, images (n, 8, 8) of the digits and (n, d) of the others.

        Raises UsageError for another name.
        """
        if argument not in NAMES:
            raise unknown("data set of scikit-learn", argument or "", NAMES)
        from sklearn import datasets

        found: Any = getattr(datasets, f"load_{argument}")()
        x = np.asarray(found.images if argument in _IMAGES else found.data, np.float32)
        y = np.asarray(found.target)
        train, test = split(len(x), FRACTION, SEED)
        names = tuple(str(name) for name in found.target_names)
        declared = Declaration(range(len(names)), _RANGES.get(argument), len(train), names)
        return checked(f"sklearn:{argument}", x[train], y[train], x[test], y[test], declared)
