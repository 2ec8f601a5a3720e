"""Defenses that claim more than holds, each by one mistake, made of one that is sound."""

from collections import defaultdict
from hashlib import sha256
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.defense import Defense, Parameters
from harness.learners.fitting import fit_all
from harness.threats import Threat


class PartsParameters(Parameters):
    n_models: int = Field(200, ge=1, description="parts")


class Parts(Defense[PartsParameters]):
    """A vote of disjoint parts by the features' hash: sound."""

    name = "parts"
    title = "parts"
    paper = "none"
    Params = PartsParameters
    changed: ClassVar = {
        Threat.INSERT: 1,
        Threat.DELETE: 1,
        Threat.LABEL_FLIP: 1,
        Threat.MODIFY: 2,
        Threat.ANY: 2,
    }
    claimed = 0

    def covers(self):
        return frozenset(self.changed)

    def guarantee(self, alpha):
        return DETERMINISTIC

    def key(self, place, example, label):
        return sha256(example.tobytes()).digest()

    def features(self, task):
        return task.features("raw")

    def contents(self, task, x):
        return task.x_train

    def gather(self, task):
        x, x_test = self.features(task)
        y, m = task.labels(), self.params.n_models
        examples = zip(range(len(x)), self.contents(task, x), task.y_train, strict=True)
        keys = [self.key(*one) for one in examples]
        parts = defaultdict(list)
        for key, _, i in sorted(zip(keys, task.y_train, range(len(x)), strict=True)):
            parts[int.from_bytes(key) % m].append(i)
        learner, rngs = task.learner("ridge"), task.rng().spawn(m)
        votes = np.zeros((task.shape.n_test, task.shape.n_labels), np.int64)
        for part, own in parts.items():
            model = fit_all(learner, x[own][None], y[own][None], votes.shape[1], rngs[part])
            votes[np.arange(len(votes)), model.predict(x_test)[0].numpy()] += 1
        return {"votes": votes}

    def certify(self, evidence, threat, alpha):
        return led(evidence["votes"], threat, self.changed[threat], self.claimed)


class OneTooLarge(Parts):
    """Forgets that a tie goes to the smaller label, and one more: its radii are one too large."""

    name = "one-too-large"
    claimed = 1


class ByPlace(Parts):
    """Its hash reads where an example stands: one deleted example moves all that follow."""

    name = "by-place"

    def key(self, place, example, label):
        return sha256(str(place).encode()).digest()


class LabelInHash(Parts):
    """Its hash takes the label in, and a flipped label is said to change one part: it is two."""

    name = "label-in-hash"

    def key(self, place, example, label):
        return sha256(example.tobytes() + bytes([label])).digest()


class CentredParts(Parts):
    """Subtracts the mean of the training set first: one poisoned example changes every part."""

    name = "centred-parts"

    def features(self, task):
        x, x_test = task.features("raw")
        return x - x.mean(0), x_test - x.mean(0)

    def contents(self, task, x):
        return x.numpy()


class Fails(Parts):
    """Cannot be trained where an example has nothing but highest values."""

    name = "fails"

    def gather(self, task):
        if (task.x_train.reshape(len(task.x_train), -1) == 255).all(axis=1).any():
            raise ValueError("no ink")
        return super().gather(task)


class NeighboursParameters(Parameters):
    k: int = Field(1000, ge=1, description="neighbours that vote")


class Cosine(Defense[NeighboursParameters]):
    """A vote of the k nearest by the angle between raw images: a modified example is one voter
    less for one label and one more for another at most. Sound.
    """

    name = "cosine"
    title = "cosine"
    paper = "none"
    Params = NeighboursParameters

    def covers(self):
        return frozenset({Threat.MODIFY})

    def guarantee(self, alpha):
        return DETERMINISTIC

    def features(self, task):
        return task.features("raw")

    def gather(self, task):
        x, x_test = (torch.nn.functional.normalize(one.double()) for one in self.features(task))
        nearest = (x_test @ x.T).argsort(dim=1, descending=True, stable=True)
        labels = task.labels()[nearest[:, : self.params.k]]
        c = task.shape.n_labels
        return {"votes": np.stack([(labels == b).sum(1).numpy() for b in range(c)], axis=1)}

    def certify(self, evidence, threat, alpha):
        return led(evidence["votes"], threat, 1, 0)


class Centred(Cosine):
    """Subtracts the mean of the training set first: one poisoned example moves all angles."""

    name = "centred"

    def features(self, task):
        x, x_test = task.features("raw")
        return x - x.mean(0), x_test - x.mean(0)


def led(votes, threat, changed, claimed):
    """The certificate of a vote: half of the winner's lead, ties to the smaller label."""
    winner = votes.argmax(axis=1)
    lead = np.take_along_axis(votes, winner[:, None], axis=1) - votes
    lead = lead - (np.arange(votes.shape[1]) < winner[:, None])
    np.put_along_axis(lead, winner[:, None], lead.max() + 1, axis=1)
    radii = lead.min(axis=1) // 2 // changed + claimed
    return PointwiseCertificate("lead", threat, DETERMINISTIC, winner, radii)
