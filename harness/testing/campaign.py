"""An attack on everything that a defense certifies on a small data set, really trained on.

First every single edit, then pairs and replacements made of those edits that cost some test example
the most of its radius. The defense is not looked into: its own radii tell where it is weak.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.attacking.verdict import contradicted
from harness.attacking.victim import CLEAN
from harness.certificates import CollectiveCertificate, PointwiseCertificate
from harness.errors import HarnessError
from harness.testing.poisonings import (
    Edit,
    Edits,
    allowed,
    deletions,
    flips,
    insertions,
    poisoning,
    replacing,
    told,
)
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.certificates import Certificate
    from harness.defense import Evidence
    from harness.testing.bench import Bench

TARGETS = 4
"""Test examples of which near copies are inserted: those that single deletions hurt most."""
COMPOSED = 24
"""Pairs and replacements that are tried, each."""

SECONDS = 0.02
"""What one training may take for everything to be tried: of a slower defense, the fewer."""
FEW = 5
"""One in so many is tried where nothing is certified, to see that it is answered."""

_TURNED = 1000
"""What a changed prediction counts, beside units of a radius that was lost."""


@dataclass(frozen=True)
class Contradiction:
    """A certificate that did not hold: under which threat, what was done and what came of it."""

    threat: Threat
    text: str


@dataclass
class Campaign:
    """The poisonings that were tried on one bench, and what they showed.

    ``composed`` limits how many pairs and how many replacements are tried, ``targets`` how many
    test examples are aimed at; ``seconds`` what one training may take before only one poisoning in
    two is tried, and so on.
    """

    bench: Bench
    targets: int = TARGETS
    composed: int = COMPOSED
    seconds: float = SECONDS
    before: dict[Threat, PointwiseCertificate] = field(init=False)
    """What was certified of each test example, before anything was poisoned."""
    collective: dict[Threat, CollectiveCertificate] = field(init=False)
    attacked: dict[Threat, int] = field(init=False)
    """How many trained poisonings faced a certificate that excluded them."""
    took: float = field(init=False)
    """Seconds that one training takes."""
    trained: int = 0
    singles: int = 0
    """How many of the poisonings that were trained on were of one example."""
    contradictions: list[Contradiction] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    """Poisoned training sets that the defense refused, or failed on."""
    _lost: dict[Edit, NDArray[np.int64]] = field(default_factory=dict)
    _every: int = 1

    def __post_init__(self) -> None:
        evidence, self.took = _timed(self.bench)
        if self.seconds < self.took < 1:  # or whatever is imported or made once took so long
            evidence, self.took = _timed(self.bench)
        certificates = {t: self.bench.victim.certify(evidence, t) for t in self.bench.threats}
        singles = {threat: one.by_example for threat, one in certificates.items()}
        self.before = {threat: one for threat, one in singles.items() if one is not None}
        self.collective = {
            threat: one
            for threat, one in certificates.items()
            if isinstance(one, CollectiveCertificate)
        }
        self.attacked = dict.fromkeys(self.before, 0)
        aims = any((one.radii >= 1).any() for one in self.before.values())
        self._every = max(1 if aims else FEW, math.ceil(self.took / self.seconds))

    def run(self) -> Campaign:
        """Tries everything, or a few of each kind where nothing is certified; returns itself."""
        data, may = self.bench.dataset, self._may
        moves = may(Threat.MODIFY)
        removed = self._some(deletions(data)) if may(Threat.DELETE) or moves else []
        changed = self._some(flips(data)) if may(Threat.LABEL_FLIP) else []
        self._try_each(removed, changed)
        targets = self._fragile()
        added = self._some(insertions(data, targets)) if may(Threat.INSERT) or moves else []
        self._try_each(added)
        if may(Threat.MODIFY):
            for pair in self._worst(self._pairs(removed, added), Threat.MODIFY):
                self._try((replacing(pair[0].index, pair[1]),))
        for kind, edits in (
            (Threat.INSERT, added),
            (Threat.DELETE, removed),
            (Threat.LABEL_FLIP, changed),
        ):
            if may(kind):
                for pair in self._worst(combinations(edits, 2), kind):
                    if kind is Threat.INSERT or pair[0].index != pair[1].index:
                        self._try(pair)
        return self

    def _some(self, edits: list[Edit]) -> list[Edit]:
        return edits[:: self._every]

    def _may(self, kind: Threat) -> bool:
        """Whether any covered threat allows edits of that kind."""
        return any(allowed(threat, (Edit(kind),)) for threat in self.bench.threats)

    def _try_each(self, *families: Iterable[Edit]) -> None:
        for edits in families:
            for edit in edits:
                self._try((edit,))

    def _try(self, edits: Edits) -> None:
        """Trains on the poisoned set and compares all that is certified under each threat."""
        self.trained += 1
        self.singles += len(edits) == 1
        found: dict[Threat, Certificate] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an overflow alone is no mistake
                evidence = self.bench.trained_on(poisoning(edits))
            for threat in self.bench.threats:
                found[threat] = self.bench.victim.certify(evidence, threat)
        except HarnessError as error:
            self.unanswered.append(f"with {told(edits)}, it refuses: {error}")
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self.unanswered.append(f"with {told(edits)}, it raises {text}")
        for threat, one in self.before.items():
            if allowed(threat, edits) and (
                threat in self.collective or (one.radii >= len(edits)).any()
            ):
                self.attacked[threat] += 1
                self._compare(threat, one, found.get(threat), edits)
        if len(edits) == 1:
            self._lost[edits[0]] = self._cost(found)

    def _compare(
        self,
        threat: Threat,
        before: PointwiseCertificate,
        now: Certificate | None,
        edits: Edits,
    ) -> None:
        after = None if now is None else now.by_example
        if after is None:
            return  # there is no prediction at all, which is told among what is unanswered
        for i in contradicted(before, after, len(edits)):
            certified = f"{i} under {threat}: predicted {before.predictions[i]}, radius "
            certified += str(before.radii[i])
            self._contradict(threat, certified, f"{told(edits)} makes it {after.predictions[i]}")
        turned = before.predictions != after.predictions
        together = self.collective.get(threat)
        if together is not None and together.lost(turned, len(edits)) < turned.sum():
            text = f"{self.bench.label} certifies under {threat} that no attack of size "
            text += f"{len(edits)} turns the test examples {np.flatnonzero(turned).tolist()} "
            text += f"together; yet {told(edits)} does"
            self.contradictions.append(Contradiction(threat, text))

    def _contradict(self, threat: Threat, certified: str, yet: str) -> None:
        text = f"{self.bench.label} certifies test example {certified}; yet {yet}"
        self.contradictions.append(Contradiction(threat, text))

    def _cost(self, found: dict[Threat, Certificate]) -> NDArray[np.int64]:
        """(e,) how much of its radius, over all threats, an edit cost each test example."""
        lost = np.zeros(self.bench.dataset.n_test, np.int64)
        for threat, before in self.before.items():
            certificate = found.get(threat)
            after = None if certificate is None else certificate.by_example
            if after is not None:
                turned = after.predictions != before.predictions
                fallen = np.clip(before.radii - after.radii, 0, _TURNED - 1)
                lost = np.maximum(lost, np.where(turned, _TURNED, fallen))
        return lost

    def _fragile(self) -> list[int]:
        """The test examples, certified against one edit, that single edits cost the most.

        Those with the smallest radius where none was hurt; of each predicted label some.
        """
        if not self.before:
            return list(range(min(self.targets, self.bench.dataset.n_test)))
        radii = np.max([one.radii for one in self.before.values()], axis=0)
        predictions = next(iter(self.before.values())).predictions
        hurt = np.sum([*self._lost.values(), np.zeros_like(radii)], axis=0)
        order = np.lexsort((radii, -hurt, radii < 1))
        of_label = [order[predictions[order] == label] for label in np.unique(predictions)]
        turns = [label[i] for i in range(self.targets) for label in of_label if i < label.size]
        return [int(i) for i in turns[: self.targets]]

    @staticmethod
    def _pairs(removed: Iterable[Edit], added: Iterable[Edit]) -> Iterator[tuple[Edit, Edit]]:
        added = list(added)
        return ((one, other) for one in removed for other in added)

    def _worst(self, pairs: Iterable[tuple[Edit, Edit]], kind: Threat) -> list[tuple[Edit, Edit]]:
        """The pairs that should hurt one and the same certified test example most."""
        size = 1 if kind is Threat.MODIFY else 2
        aimed = np.zeros(self.bench.dataset.n_test, bool)
        for threat, one in self.before.items():
            if allowed(threat, (Edit(kind),)):
                aimed |= one.radii >= size
        if not aimed.any():
            return []
        listed = list(pairs)
        cost = np.array([(self._lost[a] + self._lost[b])[aimed].max() for a, b in listed])
        order = np.argsort(-cost, kind="stable")
        # Where costs tie, as those do that cost nothing, spread over all of them.
        spread = np.random.default_rng(11).permutation(len(listed))
        order = spread[np.argsort(-cost[spread], kind="stable")] if len(listed) else order
        return [listed[i] for i in order[: self.composed // self._every]]


def _timed(bench: Bench) -> tuple[Evidence, float]:
    """The evidence of the clean set, and the seconds that it took."""
    start = time.perf_counter()
    return bench.trained_on(CLEAN), time.perf_counter() - start
