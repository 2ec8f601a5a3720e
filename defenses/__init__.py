"""The defenses that come with the harness: a module or small package each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness import hookimpl

if TYPE_CHECKING:
    from harness.defense import Defense


@hookimpl
def harness_register_defenses() -> Iterable[type[Defense[Any]]]:
    """Imported when asked for, so that ``harness --help`` imports none of them."""
    from harness.defenses.bagflip import BagFlip
    from harness.defenses.bagging import Bagging
    from harness.defenses.dp import DifferentialPrivacy
    from harness.defenses.feature_flip import FeatureFlip
    from harness.defenses.label_flip import LabelFlip
    from harness.defenses.linear import ExactRidge
    from harness.defenses.matched_clusters import MatchedClusters
    from harness.defenses.neighbours import Knn, Rnn
    from harness.defenses.partition import Dpa, FiniteAggregation, HashBagging, SsDpa

    return [
        Bagging,
        BagFlip,
        DifferentialPrivacy,
        LabelFlip,
        FeatureFlip,
        Dpa,
        SsDpa,
        FiniteAggregation,
        HashBagging,
        MatchedClusters,
        Knn,
        Rnn,
        ExactRidge,
    ]
