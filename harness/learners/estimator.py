"""Any scikit-learn estimator as a base learner, fitted one model at a time."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.errors import UsageError
from harness.learners.base import ENVIRONMENT, FIXED_LABEL, NO_LABEL, Learner, Models, reason


class Estimator(Protocol):
    """What is asked of an estimator: scikit-learn's two verbs."""

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> object:
        """Learn from examples (k, d) and labels (k,)."""
        ...

    def predict(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Labels (e,) of examples (e, d)."""
        ...


@dataclass(frozen=True)
class EstimatorModels(Models):
    """Fitted estimators; a whole number stands for a model that always predicts that label.

    An estimator that fails to predict predicts FIXED_LABEL for every example, and is counted once
    in ``unfitted``.
    """

    fitted: tuple[Estimator | int, ...]
    n_labels: int
    unfitted: Counter[str]
    _failed: set[int] = field(default_factory=set, init=False, compare=False)

    def predict(self, x: Tensor) -> Tensor:
        features = x.cpu().numpy()
        labels = np.empty((len(self.fitted), len(features)), dtype=np.int64)
        for i, one in enumerate(self.fitted):
            labels[i] = one if isinstance(one, int) else self._predict_one(i, one, features)
        return torch.from_numpy(labels).to(x.device)

    def scores(self, x: Tensor, n_labels: int) -> Tensor:
        """``decision_function``, else ``predict_proba``, else 1 for what is predicted and 0."""
        features, predicted = x.cpu().numpy(), self.predict(x).cpu()
        values = functional.one_hot(predicted, n_labels).float()
        for rows, one in zip(values, self.fitted, strict=True):
            found = None if isinstance(one, int) else self._scores_one(one, features)
            if found is not None:
                rows.fill_(-math.inf)
                rows[:, found[0]] = found[1]
        # Some estimators predict another label than the one with their largest score.
        differs = values.argmax(dim=2) != predicted
        values[differs] = values[differs].scatter(1, predicted[differs, None], math.inf)
        return values.to(x.device)

    def _scores_one(self, estimator: Any, x: NDArray[np.float32]) -> tuple[Tensor, Tensor] | None:
        """The labels that an estimator knows and their scores (e, labels); None without any."""
        labels = np.asarray(getattr(estimator, "classes_", ()))
        for verb in ("decision_function", "predict_proba"):
            if labels.ndim != 1 or not hasattr(estimator, verb):
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = np.asarray(getattr(estimator, verb)(x), dtype=np.float32)
            except ENVIRONMENT:
                raise
            except Exception:
                return None
            if found.ndim == 1 and len(labels) == 2:
                found = np.stack([-found, found], axis=1)
            if found.shape == (len(x), len(labels)):
                found = np.nan_to_num(found, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
                return torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(found)
        return None

    def _predict_one(
        self, i: int, estimator: Estimator, x: NDArray[np.float32]
    ) -> NDArray[Any] | int:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                predicted = np.asarray(estimator.predict(x))
            if predicted.shape == (len(x),) and np.isin(predicted, np.arange(self.n_labels)).all():
                return predicted
            why = NO_LABEL
        except ENVIRONMENT:
            raise
        except Exception as error:
            why = reason(error)
        self.unfitted[why] += i not in self._failed
        self._failed.add(i)
        return FIXED_LABEL


class EstimatorLearner(Learner):
    """Base models made by ``factory``, a function that returns a new, unfitted estimator.

    ``label`` names it in messages. Every parameter called ``random_state`` that is None is set from
    the generator. A subsample with one label only never reaches the estimator. Warnings of
    estimators are silenced: thousands are fitted. A model whose estimator raises, in fitting or in
    predicting, predicts FIXED_LABEL: its examples may have been written to make it raise.
    """

    name = "estimator"
    summary = "any scikit-learn estimator by its import path, one model at a time"

    def __init__(self, factory: Callable[[], Estimator], label: str) -> None:
        self.factory = factory
        self.label = label
        made = factory.func if isinstance(factory, partial) else factory
        self.behind = (made,) if isinstance(made, type) else ()

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        n_labels: int,
        rng: np.random.Generator,
        present: Tensor | None = None,
    ) -> EstimatorModels:
        if x.ndim != 3:
            raise UsageError(f"{self.label} needs flat features, not images")
        features, labels = x.cpu().numpy(), y.cpu().numpy()
        kept = np.ones(labels.shape, dtype=bool) if present is None else present.cpu().numpy()
        seeds = rng.integers(2**31, size=len(features))
        fitted = tuple(
            self._fit_one(features[i][own], labels[i][own], int(seeds[i]))
            for i, own in enumerate(kept)
        )
        return EstimatorModels(fitted, n_labels, self.unfitted)

    def _fit_one(self, x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> Estimator | int:
        if y.size == 0:
            return FIXED_LABEL
        if (y == y[0]).all():
            return int(y[0])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator = self.factory()
                _seed(estimator, seed)
                estimator.fit(x, y)
        except ENVIRONMENT:
            raise
        except Exception as error:
            self.unfitted[reason(error)] += 1
            return FIXED_LABEL
        return estimator


def _seed(estimator: Any, seed: int) -> None:
    """Sets every ``random_state`` that is None, those of nested estimators too."""
    if not (hasattr(estimator, "get_params") and hasattr(estimator, "set_params")):
        return
    unset = {
        key: seed
        for key, value in estimator.get_params(deep=True).items()
        if key.split("__")[-1] == "random_state" and value is None
    }
    if unset:
        estimator.set_params(**unset)
