"""What both defenses have in common: their parameters, and test examples in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.defense import Arrays, Parameters, Shape, Task, even_blocks, features_field
from harness.defenses.neighbours import voters
from harness.defenses.neighbours.collective import CERTIFICATE
from harness.defenses.neighbours.distances import METRIC, Distances, Metric
from harness.defenses.partition.collective import program_field, time_limit_field

_AT_ONCE = 2**28
"""Distances that a block computes, about: each block prepares all training examples anew."""


class NeighbourParameters(Parameters):
    """Where the examples lie, and what is near."""

    features: str = features_field("where the examples lie")
    metric: Metric = Field("euclidean", description=METRIC)
    step: float = Field(
        2**-10,
        gt=0,
        le=2**40,
        description="features are rounded to multiples of it: made for features in [0, 1]",
    )
    certificate: Literal["exact", "collective"] = Field("exact", description=CERTIFICATE)
    time_limit: float = time_limit_field()
    program_size: int = program_field(200)


def blocks(shape: Shape) -> Sequence[range]:
    """The test examples, of which each counts as a base model, in blocks of a public size."""
    return even_blocks(shape.n_test, max(1, _AT_ONCE // shape.n_public))


def distances(
    task: Task, params: NeighbourParameters, order: NDArray[np.int64] | None = None
) -> Distances:
    """From the test examples of this block to all training examples, in that ``order`` (n,)."""
    x, x_test = task.features(params.features)
    with task.phase("train"):
        tests = x_test[task.models.start : task.models.stop]
        return Distances(x, tests, params.metric, params.step, order)


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The blocks' arrays, one after another; what they have in common once."""
    found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return found | {key: parts[0][key] for key in parts[0] if key == voters.LABELS}
