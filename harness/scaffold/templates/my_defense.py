"""my-defense: majority vote over disjoint parts of the training set.

A working example to start from. Replace the idea, keep the two rules: ``gather`` trains
and sees neither a test label nor a threat, ``certify`` proves and never trains.
"""

from collections import defaultdict
from hashlib import sha256

import numpy as np
from pydantic import Field

from harness import hookimpl
from harness.certificates import DETERMINISTIC, Guarantee, PointwiseCertificate
from harness.defense import Arrays, Defense, Evidence, Parameters, Task
from harness.learners.fitting import fit_all
from harness.threats import Threat

PARTS_CHANGED = {
    Threat.INSERT: 1,
    Threat.DELETE: 1,
    Threat.LABEL_FLIP: 1,  # the part follows from the features alone
    Threat.MODIFY: 2,  # the example leaves one part and enters another
    Threat.ANY: 2,
}
"""How many parts one poisoned example changes at most."""


class MyParameters(Parameters):
    """What users may choose: each with a default, bounds and a description."""

    n_models: int = Field(200, ge=1, le=100_000, description="parts, and models: one each")


class MyDefense(Defense[MyParameters]):
    """Each part trains one model, so whoever changes a part changes one vote."""

    name = "my-defense"
    title = "Majority vote over disjoint parts of the training set"
    paper = "your paper here; this idea is from Levine and Feizi, ICLR 2021"
    Params = MyParameters
    isolated = True  # a model depends on its own part and on nothing else

    def covers(self) -> frozenset[Threat]:
        return frozenset(PARTS_CHANGED)

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def gather(self, task: Task) -> Arrays:
        """Train: ``votes`` (e, c), how many models vote for each label."""
        x, x_test = task.features("raw")
        y, n_models = task.labels(), self.params.n_models
        # The part follows from the example's own features: no other example can move it.
        digests = [sha256(example.tobytes()).digest() for example in task.x_train]
        parts = defaultdict(list)
        # Sorted, since the order of the training set must not matter either.
        for digest, _, i in sorted(zip(digests, task.y_train, range(len(x)), strict=True)):
            parts[int.from_bytes(digest) % n_models].append(i)
        learner, rngs = task.learner("ridge"), task.rng().spawn(n_models)
        votes = np.zeros((task.shape.n_test, task.shape.n_labels), np.int64)
        for part, own in parts.items():
            with task.phase("train"):
                model = fit_all(learner, x[own][None], y[own][None], votes.shape[1], rngs[part])
            with task.phase("predict"):
                votes[np.arange(len(votes)), model.predict(x_test)[0].cpu().numpy()] += 1
            task.advance(1)
        return {"votes": votes}

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Prove: a changed part moves at most one vote from the winner to a rival."""
        votes = evidence["votes"]
        winner = votes.argmax(axis=1)  # a tie goes to the smaller label
        ahead = np.take_along_axis(votes, winner[:, None], axis=1) - votes
        # A rival with a smaller label wins with as many votes, a larger one needs one more.
        lead = ahead - (np.arange(votes.shape[1]) < winner[:, None])
        np.put_along_axis(lead, winner[:, None], lead.max() + 1, axis=1)  # no rival of itself
        radii = lead.min(axis=1) // 2 // PARTS_CHANGED[threat]
        return PointwiseCertificate("vote lead", threat, DETERMINISTIC, winner, radii)


@hookimpl
def harness_register_defenses() -> list[type[MyDefense]]:
    """What the harness asks an installed plugin."""
    return [MyDefense]
