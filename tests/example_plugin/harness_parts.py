"""Majority vote over disjoint parts of the training set: a defense in a few lines."""

from zlib import crc32

import numpy as np
import torch
from pydantic import Field

from harness import hookimpl
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.threats import Threat, Unit, cost, covered


class PartsParameters(Parameters):
    n_models: int = Field(20, ge=1, description="parts, and models: one for each part")
    learner: str = Field("ridge", description="how a model is fitted")


class Parts(Defense[PartsParameters]):
    name = "parts"
    title = "Majority vote over disjoint parts"
    paper = "an example; the idea is Levine and Feizi's, ICLR 2021"
    Params = PartsParameters

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.ADD_REMOVE)

    def gather(self, task: Task) -> Arrays:
        x, x_test = task.features("raw")
        # The content of an example decides on its part, so no other example can move it.
        content = zip(task.x_train, task.y_train, strict=True)
        part = np.array([crc32(a.tobytes() + bytes([b])) for a, b in content]) % len(task.models)
        learner, votes = task.learner(self.params.learner), np.zeros((len(x_test), 2), np.int64)
        for i in np.unique(part):
            own = torch.from_numpy(part == i)
            model = learner.fit(x[own][None], task.labels()[own][None], 2, task.rng())
            votes[np.arange(len(x_test)), model.predict(x_test)[0].numpy()] += 1
        return {"votes": votes}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        votes = evidence["votes"]
        # One example added or removed changes one vote; a tie goes to label 0.
        lead = np.abs(votes[:, 0] - votes[:, 1]) - (votes[:, 1] > votes[:, 0])
        radii = lead // 2 // cost(Unit.ADD_REMOVE, threat)
        return PointwiseCertificate("vote lead", threat, DETERMINISTIC, votes.argmax(1), radii)


@hookimpl
def harness_register_defenses() -> list[type[Parts]]:
    return [Parts]
