"""Finite Aggregation: every part of the training set is used by several base models.

Wang, Levine, Feizi: Improved Certified Defenses against Data Poisoning with (Deterministic) Finite
Aggregation, ICML 2022; Rezaei, Banihashem, Chegini, Feizi: Run-Off Election, ICML 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.certificates import DETERMINISTIC, Certificate, Guarantee
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Lookup,
    Shape,
    Task,
    certify_field,
    even_blocks,
)
from harness.defenses.partition import shared_parts
from harness.defenses.partition.collective import (
    CERTIFICATE,
    against_one,
    check_election,
    feeding,
)
from harness.defenses.partition.dpa import (
    LABEL_IN_HASH,
    DpaParameters,
    in_examples,
    part_unit,
)
from harness.defenses.partition.parts import order_of, parts_of
from harness.defenses.partition.training import BLOCK, positions, rankings
from harness.errors import DataError, UsageError
from harness.threats import Threat, Unit, cost, covered

if TYPE_CHECKING:
    from harness.datasets.poisoning import Poisoning
    from harness.defense import Target

_OFFSETS = 2022
"""Seeds the offsets, once and for all: they may depend on nothing in the training set."""


class FiniteAggregationParameters(DpaParameters):
    """Parameters of Finite Aggregation: kd parts and kd models, each trained on d of the parts.

    The defaults were chosen on the MNIST digit pairs 2/7, 3/8 and 4/9. As in DPA, the number of
    parts follows from nothing.
    """

    symbols: ClassVar[Mapping[str, str]] = {"k": "n_models, which is kd", "d": "spread"}

    n_models: int = Field(
        2400, ge=1, le=10**6, description="parts, and base models: kd of Wang et al."
    )
    spread: int = Field(2, ge=1, description="base models that use a part: d of Wang et al.")
    certificate: Literal["counting", "collective"] = certify_field(
        "counting", description=CERTIFICATE
    )


class FiniteAggregation(Defense[FiniteAggregationParameters]):
    """Finite Aggregation. The certificate is deterministic; alpha plays no part."""

    name = "finite-aggregation"
    title = "Finite Aggregation: vote of models whose parts overlap"
    paper = "Wang, Levine, Feizi: Finite Aggregation, ICML 2022"
    Params = FiniteAggregationParameters
    isolated: ClassVar[bool] = True
    needs: ClassVar[Mapping[str, str]] = {
        "predictions": "(m, e): the label that each base model predicts for each test example",
        "offsets": "(d,): part h is used by the base models (h + offset) mod m",
    }
    takes: ClassVar[Mapping[str, str]] = {
        LABEL_IN_HASH: "0 where the part of an example does not depend on its label, else 1",
        "ranks": "(m, e, c): the place that each base model gives each label, for run-off",
    }

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.FEATURE_PART if self.params.hash == "features" else Unit.PART)

    def check(self, shape: Shape) -> None:
        p = self.params
        check_election(self.name, p.certificate, p.election)
        if p.spread > p.n_models:
            raise UsageError(
                f"finite-aggregation: spread={p.spread} is more than n_models={p.n_models}; "
                f"allowed: 1 to {p.n_models}"
            )

    def blocks(self, shape: Shape, lookup: Lookup) -> Sequence[range]:
        return even_blocks(self.params.n_models, BLOCK)

    def gather(self, task: Task) -> Arrays:
        """``predictions`` (m, e) of this block's base models and ``offsets`` (d,); for more than
        two labels also ``ranks`` (m, e, c), the place of each label, 0 for the best.
        """
        p = self.params
        learner = task.learner(p.learner)
        inputs = task.images() if learner.images else task.features(p.features)
        offsets = spread_offsets(p.n_models, p.spread)
        with task.phase("train"):
            parts = parts_of(task, p.n_models, p.hash)
            order = order_of(task)
            place = task.of_set("place in that order", lambda: np.argsort(order))
        own = [
            _joined([parts[(model - offset) % p.n_models] for offset in offsets], place)
            for model in task.models
        ]
        ranked = np.stack(list(rankings(task, learner, inputs, own)))
        found = {
            "predictions": ranked[..., 0],
            "offsets": offsets,
            LABEL_IN_HASH: np.array(p.hash == "content", dtype=np.int64),
        }
        return found | ({"ranks": positions(ranked)} if task.shape.n_labels > 2 else {})

    def merge(self, parts: Sequence[Arrays]) -> Arrays:
        """The models of all blocks, one after another."""
        by_model = {"predictions", "ranks"} & parts[0].keys()
        stacked = {key: np.concatenate([part[key] for part in parts]) for key in by_model}
        return {**parts[0], **stacked}

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> Certificate:
        """Certified poisoning size: rewritten parts over the parts that one poisoning rewrites.

        Evidence that does not say what the hash covered is certified as if it covered the label.
        """
        predictions, c = evidence["predictions"], evidence.n_labels
        offsets = _checked(evidence["offsets"], len(predictions))
        election = self.params.election
        if election == "plurality" or c == 2:
            winner, rewritten = shared_parts.plurality(predictions, offsets, c)
        elif "ranks" in evidence:
            winner, rewritten = shared_parts.run_off(_ranks(evidence), offsets)
        else:
            raise UsageError(
                "election=run-off with more than two labels needs ranks (m, e, c): the place that "
                "each base model gives each label, 0 for the best"
            )
        unit = part_unit(evidence)
        simple = in_examples(election, threat, unit, winner, rewritten)
        fed = feeding(len(predictions), offsets)
        return against_one(self.params, evidence, simple, cost(unit, threat), fed=fed)

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        from harness.defenses.partition.attack import poison
        from harness.defenses.partition.attack_partitions import shared

        p, offsets = self.params, spread_offsets(self.params.n_models, self.params.spread)
        of = shared(p.n_models, offsets, p.hash, run_off=p.election == "run-off")
        return poison(target, threat, r, of)


def spread_offsets(n_models: int, spread: int) -> NDArray[np.int64]:
    """(d,) distinct offsets in 0 ... n_models - 1, drawn once and for all (Wang et al., 4.1)."""
    drawn = np.random.default_rng(_OFFSETS).choice(n_models, size=spread, replace=False)
    return np.sort(drawn).astype(np.int64)


def _joined(parts: Sequence[NDArray[np.int64]], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """The examples of several parts in canonical order; ``place`` (n,) is theirs in it."""
    joined = np.concatenate(parts)
    return joined[np.argsort(place[joined])]


def _ranks(evidence: Evidence) -> NDArray[Any]:
    """``ranks`` (m, e, c), if models that predict ``predictions`` can have them; else a DataError.

    Each model gives each label a place of its own, and the label that it predicts the first.
    """
    ranks, predictions = evidence["ranks"], evidence["predictions"]
    c = evidence.n_labels
    if ranks.shape != (*predictions.shape, c):
        wanted = (*predictions.shape, c)
        raise DataError(f"ranks must be (m, e, c), here {wanted}, found {ranks.shape}")
    if (ranks < 0).any() or (ranks >= c).any() or (ranks.dtype.kind == "f" and (ranks % 1).any()):
        raise DataError(f"ranks must be whole numbers from 0 to {c - 1}, one for each label")
    ranks = ranks.astype(np.int64) if ranks.dtype.kind == "f" else ranks
    for model, (places, predicted) in enumerate(zip(ranks, predictions, strict=True)):
        taken = np.zeros(places.shape, dtype=bool)
        np.put_along_axis(taken, places, values=True, axis=1)
        first = np.take_along_axis(places, predicted[:, None], axis=1)[:, 0] == 0
        wrong = np.flatnonzero(~taken.all(axis=1) | ~first)
        if wrong.size:
            i = wrong[0]
            raise DataError(
                f"ranks must give each label a place of its own, 0 for the one in predictions; "
                f"base model {model}, test example {i} has {places[i]}, predicted {predicted[i]}"
            )
    return ranks


def _checked(offsets: NDArray[Any], n_models: int) -> NDArray[np.int64]:
    """``offsets`` as integers. Raises DataError unless they are distinct ones below n_models."""
    whole = np.atleast_1d(offsets).astype(np.int64)
    allowed = (whole == offsets).all() and ((whole >= 0) & (whole < n_models)).all()
    if whole.ndim != 1 or whole.size == 0 or not allowed or np.unique(whole).size != whole.size:
        raise DataError(
            f"offsets must be distinct whole numbers from 0 to {n_models - 1}, one for each base "
            f"model that uses a part, found {np.array2string(np.asarray(offsets), threshold=8)}"
        )
    return whole
