"""The confidence that a guarantee states, tried on votes whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from harness.certificates import ABSTAIN
from harness.testing.certificates import (
    alpha_means_what_the_guarantee_says,
    predictions_and_radii,
)
from harness.testing.properties import property_of
from harness.testing.verdicts import NotApplicable

if TYPE_CHECKING:
    from harness.testing.bench import Bench

_ALPHA = 0.1
_TRIALS = 300
_DEVIATIONS = 5


@property_of(
    "alpha spent once for each test example, or for each bound, and claimed for all of them: a "
    "bound on one of e examples in c labels takes alpha / (e c)",
    after=(predictions_and_radii, alpha_means_what_the_guarantee_says),
)
def alpha_covers_as_many_examples_as_the_guarantee_says(bench: Bench) -> Iterator[str]:
    """With probability 1 - alpha all certificates of a defense hold at once, or each one does where
    the guarantee says per example (Jia et al., Eqs. 5 and 6). Votes of models that toss a coin
    certify nothing: whichever label is ahead, infinitely many models would be even.
    """
    guarantee = bench.defense.guarantee(_ALPHA)
    votes = bench.trained.arrays.get("votes")
    if guarantee.kind != "probabilistic":
        raise NotApplicable("its guarantee is not probabilistic")
    c, e = bench.dataset.n_labels, bench.dataset.n_test
    if votes is None or np.shape(votes) != (e, c):
        raise NotApplicable("its evidence has no votes (e, c), whose truth could be made up")
    rng, models = np.random.default_rng(13), int(np.asarray(votes)[0].sum())
    for threat in bench.threats[:1]:
        wrong = []
        for _ in range(_TRIALS):
            arrays = dict(bench.trained.arrays)
            arrays["votes"] = rng.multinomial(
                models, np.repeat([0.5, 0.0], [2, c - 2]), size=e
            ).astype(np.asarray(votes).dtype)
            certificate = bench.certify(threat, _ALPHA, arrays)
            single = certificate.by_example
            if single is None:
                raise NotApplicable("it certifies no single test example")
            wrong.append(single.radii > ABSTAIN)
        if guarantee.split == "example":
            tried, errors, each = _TRIALS * e, int(np.sum(wrong)), "test examples"
        else:
            tried, errors, each = _TRIALS, int(np.any(wrong, axis=1).sum()), "whole runs"
        most = tried * _ALPHA + _DEVIATIONS * math.sqrt(tried * _ALPHA * (1 - _ALPHA))
        if errors > most:
            yield (
                f"it says {guarantee}, yet under {threat} it certifies what is not so in {errors} "
                f"of {tried} {each} in which {models} models tossed a coin for each of {e} test "
                f"examples; {math.floor(most)} are excusable"
            )
