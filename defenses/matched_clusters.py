"""Matched clusters: features are clustered without labels, labels only say what clusters mean.

After the appendix of Levine, Feizi: Deep Partition Aggregation, ICLR 2021.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from harness.certificates import DETERMINISTIC, Guarantee, PointwiseCertificate
from harness.datasets.poisoning import Poisoning
from harness.defense import (
    Arrays,
    Defense,
    Evidence,
    Parameters,
    Shape,
    Target,
    Task,
    features_field,
)
from harness.defenses.partition.parts import digests
from harness.errors import UsageError
from harness.proofs.assignment import labels_and_radii
from harness.threats import Threat, Unit, covered

if TYPE_CHECKING:
    from sklearn.cluster import KMeans


class MatchedClustersParameters(Parameters):
    """Parameters of matched clusters."""

    clusters: int = Field(
        0,
        ge=0,
        le=10**5,
        description="clusters; 0: as many as labels, and each label means one of them; more: each "
        "cluster means what most of its training examples are labelled",
    )
    features: str = features_field("what is clustered")
    starts: int = Field(
        4, ge=1, le=1000, description="times that k-means starts anew; the best clusters count"
    )


class MatchedClusters(Defense[MatchedClustersParameters]):
    """k-means on all features, which are trusted, and a label for each cluster. Deterministic.

    All training labels vote on what the clusters mean, so that it takes very many of them to change
    it: where clusters are classes, no defense withstands more flipped labels.
    """

    name = "matched-clusters"
    title = "Matched clusters: k-means without labels, labels matched to clusters"
    paper = "Levine, Feizi: Deep Partition Aggregation, ICLR 2021, appendix"
    Params = MatchedClustersParameters
    tried_with: ClassVar[Mapping[str, Any]] = {"features": "raw"}

    def covers(self) -> frozenset[Threat]:
        return covered(Unit.LABEL)

    def check(self, shape: Shape) -> None:
        m, c = self._clusters(shape), shape.n_labels
        if m < c:
            raise UsageError(
                f"matched-clusters: clusters={m} are too few for {c} labels; allowed: 0, or {c} "
                "and more"
            )
        if m > shape.n_public:
            raise UsageError(
                f"matched-clusters: clusters={m} of {shape.n_public:,} training examples; allowed: "
                f"up to {shape.n_public:,}"
            )

    def _clusters(self, shape: Shape) -> int:
        return self.params.clusters or shape.n_labels

    def gather(self, task: Task) -> Arrays:
        """``counts`` (m, c), how many training examples of each cluster have each label, and the
        ``clusters`` (e,) of the test examples.
        """
        m, c = self._clusters(task.shape), task.shape.n_labels
        means, of_examples = self._clustered(task)
        counts = np.zeros((m, c), np.int64)
        np.add.at(counts, (of_examples, task.y_train), 1)
        x_test = task.features(self.params.features)[1].cpu().numpy()
        with task.phase("predict"):
            clusters = means.predict(x_test).astype(np.int64)
        task.advance(1)
        return {"counts": counts, "clusters": clusters}

    def _clustered(self, task: Task) -> tuple[KMeans, NDArray[np.int64]]:
        """The fitted k-means, and the cluster (n,) of each training example: no label matters."""
        from sklearn.cluster import KMeans

        x = task.features(self.params.features)[0].cpu().numpy()
        with task.phase("train"):
            order = _by_content(task.x_train)
            # Of fewer examples than clusters, each is one; labels play no part in that.
            means = KMeans(
                min(self._clusters(task.shape), task.shape.n_train),
                n_init=self.params.starts,
                random_state=int(task.rng().integers(2**31)),
            )
            # Threads add up sums of coordinates in the order in which they end: one run would not
            # have the clusters of the next, and neither would one with a flipped label.
            with threadpool_limits(1), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fewer distinct examples than clusters
                found = np.empty(len(order), np.int64)
                found[order] = means.fit_predict(x[order])
        return means, found

    def guarantee(self, alpha: float) -> Guarantee:
        return DETERMINISTIC

    def certify(self, evidence: Evidence, threat: Threat, alpha: float) -> PointwiseCertificate:
        """Certified number of flipped labels: see :mod:`harness.proofs.assignment`."""
        labels, radii = labels_and_radii(evidence["counts"])
        own = evidence["clusters"]
        return PointwiseCertificate("agreement", threat, DETERMINISTIC, labels[own], radii[own])

    def attack(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """Labels that change what the cluster of the target means."""
        from harness.defenses.matched_clusters_attack import best_flips

        if "training clusters" not in target.shared:
            target.shared["training clusters"] = self._clustered(target.task())[1]
        return best_flips(target, target.shared["training clusters"], r)


def _by_content(x: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) the training examples in an order that neither labels nor their places decide."""
    digest = digests(x)
    return np.lexsort((digest[:, 1], digest[:, 0]))
