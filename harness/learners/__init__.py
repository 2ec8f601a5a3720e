"""Base learners. This module is a plugin: it registers them through the hook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness import hookimpl

if TYPE_CHECKING:
    from harness.learners.base import Learner


@hookimpl
def harness_register_learners() -> Iterable[type[Learner]]:
    """The learners that have a name; torch is imported when they are asked for."""
    from harness.learners.cnn import Cnn
    from harness.learners.kernel import Kernel
    from harness.learners.logistic import Logistic
    from harness.learners.modules import TorchModule
    from harness.learners.naive_bayes import NaiveBayes
    from harness.learners.nearest import NearestNeighbour
    from harness.learners.pipeline import Pipeline
    from harness.learners.ridge import Ridge

    return [Ridge, Logistic, Kernel, Cnn, TorchModule, NaiveBayes, NearestNeighbour, Pipeline]
