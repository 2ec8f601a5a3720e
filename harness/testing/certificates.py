"""Properties of ``certify``: what holds for the certificates of every sound defense."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.certificates import ABSTAIN, Certificate, Kind
from harness.testing.bench import ALPHA
from harness.testing.properties import property_of
from harness.testing.verdicts import NotApplicable
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.testing.bench import Bench

ALPHAS = (0.001, 0.01, 0.1, 0.5)

WEAKER = (
    (Threat.MODIFY, Threat.ANY),
    (Threat.INSERT, Threat.ANY),
    (Threat.DELETE, Threat.ANY),
    (Threat.LABEL_FLIP, Threat.MODIFY),
)
"""Pairs of a weaker attacker and a stronger one, who may do all that the weaker one may."""

_FEW = np.array([0, 1, 2, 3, 5, 8, 13, 40, 2**40])
_FAR = np.unique(np.r_[np.arange(200), np.geomspace(200, 2**40, 60).astype(np.int64)])


@property_of(
    "a transposed array, one value too few or too many, or labels counted from 1: predictions and "
    "radii are (e,), votes (e, c)"
)
def predictions_and_radii(bench: Bench) -> Iterator[str]:
    """Each test example gets one of the labels and a radius: the number of poisoned examples that
    it withstands (Jia et al., Eq. 3), or -1 where nothing is proved.
    """
    e, c = bench.dataset.n_test, bench.dataset.n_labels
    for threat, certificate in bench.certificates():
        returned: object = certificate
        if not isinstance(returned, Certificate):
            yield f"under {threat}, certify returned {type(returned).__name__}, no Certificate"
            continue
        if certificate.threat is not threat:
            yield f"the certificate under {threat} says that it is under {certificate.threat}"
        single = certificate.by_example
        if single is None:
            continue
        if single.radii.shape != (e,):
            found = single.radii.shape
            yield f"under {threat}, radii have shape {found}; wanted one for each of {e} examples"
        for i in np.flatnonzero(single.radii < ABSTAIN):
            yield f"under {threat}, test example {i} has the radius {single.radii[i]}"
        known = (single.predictions >= 0) & (single.predictions < c)
        for i in np.flatnonzero(~known):
            found = single.predictions[i]
            yield f"under {threat}, test example {i} is predicted {found}; wanted 0 to {c - 1}"


@property_of(
    "a bound that turns at some r, or that is not clipped to [0, 1]", after=(predictions_and_radii,)
)
def certified_accuracy_falls(bench: Bench) -> Iterator[str]:
    """Certified accuracy lies in [0, 1] and never rises with r: who may poison r + 1 examples may
    leave one alone (Jia et al., Eq. 9; Ma et al., Theorem 3).
    """
    labels = bench.dataset.y_test
    for threat, certificate in bench.certificates():
        accuracy, at = curve(bench, certificate), asked(certificate)
        for i in np.flatnonzero(~((accuracy >= 0) & (accuracy <= 1))):
            yield f"under {threat}, certified accuracy is {accuracy[i]} at r = {at[i]}"
        for i in np.flatnonzero(np.diff(accuracy) > 0):
            rise = f"{accuracy[i]:g} at r = {at[i]} to {accuracy[i + 1]:g} at r = {at[i + 1]}"
            yield f"under {threat}, certified accuracy rises from {rise}"
        last = certificate.last_radius(labels)
        beyond = certificate.certified_accuracy(labels, np.array([last + 1]))[0]
        if beyond > 0:
            yield f"under {threat}, last_radius is {last}, yet at {last + 1} accuracy is {beyond:g}"
        clean = certificate.clean_accuracy(labels)
        if accuracy[0] > clean + 1e-9:
            yield f"under {threat}, certified accuracy at 0 is {accuracy[0]:g}, clean {clean:g}"


@property_of(
    "the costs of two threats mixed up, or a bound that forgets what `any` allows",
    after=(predictions_and_radii,),
)
def weaker_attacker_never_certifies_less(bench: Bench) -> Iterator[str]:
    """What withstands an attacker withstands one who may do less: modify, insert and delete are
    within any, and label-flip is within modify (Jia et al., Corollaries 1 to 3).
    """
    pairs = [pair for pair in WEAKER if set(pair) <= set(bench.threats)]
    if not pairs:
        raise NotApplicable("it covers no two threats of which one is within the other")
    for alpha in ALPHAS:
        for weak, strong in pairs:
            one, other = bench.certify(weak, alpha), bench.certify(strong, alpha)
            for text in _less(bench, one, other):
                yield f"at alpha = {alpha:g}, {text.format(less=weak, more=strong)}"


@property_of(
    "alpha used where 1 - alpha is meant, or an upper bound in place of a lower one",
    after=(predictions_and_radii,),
)
def larger_alpha_never_certifies_less(bench: Bench) -> Iterator[str]:
    """A certificate that may err more often proves at least as much: Clopper-Pearson bounds tighten
    with alpha (Jia et al., Eqs. 5 and 6).
    """
    if bench.defense.guarantee(ALPHA).kind != "probabilistic":
        raise NotApplicable("its guarantee is not probabilistic")
    for threat in bench.threats:
        for small, large in pairwise(ALPHAS):
            one, other = bench.certify(threat, large), bench.certify(threat, small)
            for text in _less(bench, one, other):
                more, less = f"alpha = {small:g}", f"alpha = {large:g}"
                yield f"under {threat}, {text.format(less=less, more=more)}"


@property_of(
    "alpha that never reaches the confidence bounds, or a deterministic proof called probabilistic",
    after=(predictions_and_radii,),
)
def alpha_means_what_the_guarantee_says(bench: Bench) -> Iterator[str]:
    """A probabilistic certificate states its alpha and uses it; a deterministic one has none, and
    an estimate states none, for it proves nothing. Every row of a report shows its guarantee.
    """
    kind = bench.defense.guarantee(ALPHA).kind
    moved = False
    for threat in bench.threats:
        for alpha in ALPHAS:
            said, wanted = bench.certify(threat, alpha).guarantee, bench.fresh().guarantee(alpha)
            if said != wanted:
                yield f"under {threat}, the certificate says {said}, and guarantee() {wanted}"
            if said.alpha not in (None, alpha):
                yield f"under {threat}, the certificate for alpha = {alpha:g} says {said}"
        sure, unsure = bench.certify(threat, 1e-100), bench.certify(threat, 0.5)
        differs = difference(bench, sure, unsure)
        moved |= differs is not None or not _proves(bench, unsure)
        if differs and kind == "deterministic":
            yield f"under {threat}, it needs no alpha, yet alpha changes it: {differs}"
    if kind == "probabilistic" and not moved:
        yield "it is called probabilistic, and alpha = 1e-100 proves exactly as much as alpha = 0.5"


@property_of(
    "an array of the evidence changed in place, or random numbers drawn while certifying",
    after=(predictions_and_radii,),
)
def certify_is_pure(bench: Bench) -> Iterator[str]:
    """The same evidence proves the same, every time and in another process: certificates are made
    from stored evidence, without training and without chance.
    """
    for threat in bench.threats:
        arrays = {key: np.array(value) for key, value in bench.trained.arrays.items()}
        one = bench.certify(threat, arrays=arrays)
        for key, value in bench.trained.arrays.items():
            if not np.array_equal(arrays[key], value):
                where = _first(arrays[key], value)
                yield f"certify under {threat} changed the evidence {key}{where}"
        arrays = {key: np.array(value) for key, value in bench.trained.arrays.items()}
        again = bench.certify(threat, arrays=arrays)
        differs = difference(bench, one, again)
        if differs:
            yield f"certify under {threat}, called twice, gave two answers: {differs}"


def difference(bench: Bench, one: Certificate, other: Certificate) -> str | None:
    """Where two certificates differ, in words; None where they do not."""
    single, second = one.by_example, other.by_example
    if single is not None and second is not None:
        for name in ("predictions", "radii"):
            a, b = getattr(single, name), getattr(second, name)
            for i in np.flatnonzero(a != b):
                return f"{name} of test example {i} are {a[i]} and {b[i]}"
    if one.kind is other.kind is Kind.POINTWISE:
        return None
    at = asked(one, other)
    a, b = (curve(bench, each, at) for each in (one, other))
    for i in np.flatnonzero(~np.isclose(a, b, rtol=1e-9, atol=1e-12)):
        return f"certified accuracy at r = {at[i]} is {a[i]:g} and {b[i]:g}"
    return None


def asked(*certificates: Certificate) -> NDArray[np.int64]:
    """The r at which certificates are asked: fewer where each is an integer program."""
    return _FEW if any(one.kind is Kind.COLLECTIVE for one in certificates) else _FAR


def curve(
    bench: Bench, certificate: Certificate, at: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Certified accuracy at many r, from 0 on, or at those that are given."""
    r = asked(certificate) if at is None else at
    return certificate.certified_accuracy(bench.dataset.y_test, r)


def _proves(bench: Bench, certificate: Certificate) -> bool:
    """Whether anything is certified."""
    single = certificate.by_example
    if single is not None:
        return bool((single.radii > ABSTAIN).any())
    return bool((curve(bench, certificate) > 0).any())


def _less(bench: Bench, one: Certificate, other: Certificate) -> Iterator[str]:
    """Where ``one`` ({less}) proves less than ``other`` ({more}) though it should not."""
    single, second = one.by_example, other.by_example
    if single is not None and second is not None:
        for i in np.flatnonzero(single.radii < second.radii):
            radii = f"{single.radii[i]} under {{less}} and {second.radii[i]} under {{more}}"
            yield f"test example {i} has the radius {radii}"
    if one.kind is other.kind is Kind.POINTWISE:
        return
    at = asked(one, other)
    a, b = (curve(bench, each, at) for each in (one, other))
    for i in np.flatnonzero(a < b - 1e-9):
        accuracies = f"{a[i]:g} under {{less}} and {b[i]:g} under {{more}}"
        yield f"certified accuracy at r = {at[i]} is {accuracies}"


def _first(now: NDArray[Any], then: NDArray[Any]) -> str:
    if now.shape != then.shape or not now.ndim:
        return ""
    where = tuple(int(i) for i in np.argwhere(now != then)[0])
    return f": {then[where]} at {list(where)} became {now[where]}"
