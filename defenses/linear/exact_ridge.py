"""An ordinary ridge regression, certified exactly against changed labels.

Meyer, Albarghouthi, D'Antoni: Certifying Data-Bias Robustness in Linear Regression, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from harness.certificates import DETERMINISTIC, Guarantee, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.defense import Arrays, Defense, Evidence, Parameters, Target, Task, features_field
from harness.defenses.partition.parts import canonical_order, digests
from harness.proofs.influence import ridge_influence
from harness.proofs.linear_votes import fewest_flips, radii_of
from harness.threats import Threat, Unit, covered

_CHUNK = 2**21
"""Influence coefficients held at once, in float64: half a dozen arrays of 16 MiB."""


class ExactRidgeParameters(Parameters):
    """Parameters of exact ridge; the default was chosen on the MNIST digit pairs 2/7, 3/8, 4/9."""

    symbols: ClassVar[Mapping[str, str]] = {"lambda": "penalty"}

    penalty: float = Field(0.01, gt=0, description="ridge penalty lambda, as a fraction of n")
    features: str = features_field("what the regression sees")


class ExactRidge(Defense[ExactRidgeParameters]):
    """Ridge regression on one-hot labels, with the exact number of labels that turn a prediction.

    The label with the largest score is predicted, the smaller one in a tie. It is what
    ``label-flip`` smooths: the same features with the constant 1, the same penalty, but labels as
    they are. Scores are linear in the labels, so the best attack on each test example is known.
    """

    name = "exact-ridge"
    title = "Ridge regression, certified exactly against changed labels"
    paper = "Meyer et al.: Certifying Data-Bias Robustness in Linear Regression, 2022"
    Params = ExactRidgeParameters

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.LABEL)

    def gather(self, task: Task) -> Arrays:
        """``predictions`` (e,) and ``radii`` (e,): -1 where rounding could decide the label."""
        p, shape = self.params, task.shape
        x, x_test = task.features(p.features)
        with task.phase("train"):
            # However the examples are ordered: sums in another order round in another way.
            order = canonical_order(digests(task.x_train), task.y_train)
            ordered = x[torch.from_numpy(order).to(x.device)].double()
            influence = ridge_influence(ordered, x_test.double(), p.penalty * shape.n_public)
            error = influence.error().cpu().numpy()
        labels = task.y_train[order]
        rows = max(1, _CHUNK // max(1, len(labels)))
        predictions, radii = np.zeros((2, shape.n_test), np.int64)
        with task.phase("predict"):
            for start in range(0, shape.n_test, rows):
                some = slice(start, start + rows)
                predictions[some], flips = fewest_flips(
                    influence(some).cpu().numpy(), labels, shape.n_labels, error[some]
                )
                radii[some] = radii_of(flips, len(labels))
        task.advance(1)
        return {"predictions": predictions, "radii": radii}

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Certified number of changed labels, at most n: there are no more to change."""
        return PointwiseCertificate(
            "exact", threat, self.guarantee(alpha), evidence["predictions"], evidence["radii"]
        )

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """The fewest labels that turn it: see :mod:`harness.defenses.linear.attack`."""
        from harness.defenses.linear.attack import best_flips

        return best_flips(target, self.params.features, self.params.penalty, r)
