"""Any scikit-learn estimator as a base learner, fitted one model at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.errors import UsageError
from harness.learners.base import Learner, Models


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
    """Fitted estimators; a whole number stands for a model that always predicts that label."""

    label: str
    fitted: tuple[Estimator | int, ...]
    n_labels: int

    def predict(self, x: Tensor) -> Tensor:
        features = x.cpu().numpy()
        labels = np.empty((len(self.fitted), len(features)), dtype=np.int64)
        for row, one in zip(labels, self.fitted, strict=True):
            row[:] = one if isinstance(one, int) else self._predict_one(one, features)
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
            except Exception as error:
                message = f"{self.label} could not give scores: {_first_line(error)}"
                raise UsageError(message) from error
            if found.ndim == 1 and len(labels) == 2:
                found = np.stack([-found, found], axis=1)
            if found.shape == (len(x), len(labels)):
                found = np.nan_to_num(found, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
                return torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(found)
        return None

    def _predict_one(self, estimator: Estimator, x: NDArray[np.float32]) -> NDArray[Any]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                predicted = np.asarray(estimator.predict(x))
        except Exception as error:
            raise UsageError(f"{self.label} could not predict: {_first_line(error)}") from error
        known = np.isin(predicted, np.arange(self.n_labels))
        if predicted.shape != (len(x),) or not known.all():
            raise UsageError(
                f"{self.label} does not predict labels; wanted a classifier that returns, for "
                "each example, one of the labels it was given"
            )
        return predicted


class EstimatorLearner(Learner):
    """Base models made by ``factory``, a function that returns a new, unfitted estimator.

    ``label`` names it in messages. Every parameter called ``random_state`` that is None is set from
    the generator. A subsample with one label only never reaches the estimator. Warnings of
    estimators are silenced: thousands are fitted. Whatever an estimator raises becomes a UsageError
    that names it.
    """

    name = "estimator"
    summary = "any scikit-learn estimator by its import path, one model at a time"

    def __init__(self, factory: Callable[[], Estimator], label: str) -> None:
        self.factory = factory
        self.label = label

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
        return EstimatorModels(self.label, fitted, n_labels)

    def _fit_one(self, x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> Estimator | int:
        if y.size == 0:
            return 0
        if (y == y[0]).all():
            return int(y[0])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator = self.factory()
                _seed(estimator, seed)
                estimator.fit(x, y)
        except Exception as error:
            raise UsageError(f"{self.label} could not be fitted: {_first_line(error)}") from error
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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
