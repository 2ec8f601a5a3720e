"""Parts at what they cost: how many changed labels turn each base model, not one for all alike.

Where a base model is linear in its labels, the fewest of them that make it vote for a rival are
known (:mod:`harness.proofs.linear_votes`). Counting takes one changed label to rewrite a part; a
part that takes three holds the vote three times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.certificates import PointwiseCertificate
from harness.defense import Arrays, Evidence, Task
from harness.errors import DataError, UsageError
from harness.proofs.linear_votes import flips_to_each
from harness.threats import Threat, Unit

if TYPE_CHECKING:
    from torch import Tensor

    from harness.learners.base import Learner

COSTS = "costs"
"""Evidence: (m, e, c) uint16, the fewest changed labels that make each base model vote for each
label, at least; 0 for the one that it votes for."""

_CAP = np.iinfo(np.uint16).max
"""No cost is larger. To call one smaller than it is, is sound."""

_FAR = np.int64(2**40)
"""A cost that no attacker pays, small enough to be added up."""

CERTIFICATE = (
    "counting: each test example by itself, every rewritten part counts alike; white-box: the same "
    "but, under label-flip, each part at the changed labels that turn it (learner=ridge); "
    "collective: the accuracy on the whole test set after one attack (both: election=plurality)"
)


def check_learner(name: str, certificate: str, spec: str, learner: Learner) -> None:
    """Raises UsageError for white-box costs of a learner that is not linear in its labels."""
    if certificate == "white-box" and not learner.linear_in_labels:
        raise UsageError(
            f"{name}: certificate=white-box needs a learner whose scores are linear in the labels, "
            f"which {spec} is not; allowed: ridge"
        )


def costs(
    task: Task,
    learner: Learner,
    inputs: tuple[Tensor, Tensor],
    members: Sequence[NDArray[np.int64]],
    ranked: Iterator[NDArray[Any]],
    kept: list[NDArray[np.uint16]],
) -> Iterator[NDArray[Any]]:
    """Passes on each model's ranking (e, c) of ``ranked``, and appends its costs to ``kept``."""
    x, x_test = inputs
    for own, ranking in zip(members, ranked, strict=True):
        with task.phase("predict"):
            index = torch.from_numpy(own).to(x.device)
            kept.append(_cost(learner, x[index], task.y_train[own], x_test, ranking))
        yield ranking


def _cost(
    learner: Learner, x: Tensor, y: NDArray[np.int64], x_test: Tensor, ranking: NDArray[Any]
) -> NDArray[np.uint16]:
    """(e, c) of one model. Without examples it cannot be turned; else one label is the least."""
    e, c = ranking.shape
    vote = ranking[:, 0].astype(np.int64)
    found = np.full((e, c), np.iinfo(np.int64).max)
    if len(y):
        weights, error = (part.cpu().numpy() for part in learner.label_weights(x, x_test))
        predicted, found = flips_to_each(weights, y, c, error)
        found[predicted != vote] = 1  # rounding has decided
    found = found.clip(1, _CAP)
    found[np.arange(e), vote] = 0
    return found.astype(np.uint16)


def joined_costs(parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """The costs of all blocks, one model after another; nothing where there are none."""
    return {COSTS: np.concatenate([part[COSTS] for part in parts])} if COSTS in parts[0] else {}


def strengthened(
    certificate: str, evidence: Evidence, simple: PointwiseCertificate, unit: Unit
) -> PointwiseCertificate:
    """``simple``, which counts parts alike, with larger radii where parts cost more than one.

    Raises DataError where the costs are missing, or are not those of models that cast ``votes``,
    and where a changed label may move its example to another ``unit``.
    """
    if certificate != "white-box" or simple.threat is not Threat.LABEL_FLIP:
        return simple
    if unit is Unit.PART:
        raise DataError(
            "certificate=white-box needs label_in_hash=0: a changed label that moves its example "
            "rewrites two parts"
        )
    each = np.array(
        [
            cheapest(one, int(winner)) - 1
            for one, winner in zip(
                _checked(evidence).transpose(1, 0, 2), simple.predictions, strict=True
            )
        ],
        dtype=np.int64,
    )
    radii = np.maximum(simple.radii, np.minimum(each, evidence.n_train))
    return PointwiseCertificate(
        "white-box", simple.threat, simple.guarantee, simple.predictions, radii
    )


def _checked(evidence: Evidence) -> NDArray[np.uint16]:
    """``costs`` (m, e, c), if models that cast ``votes`` can have them; else a DataError."""
    if COSTS not in evidence:
        raise DataError(
            "certificate=white-box needs costs (m, e, c): the fewest changed labels that make each "
            "base model vote for each label"
        )
    cost, votes = evidence[COSTS], evidence["votes"]
    wanted = (int(votes[0].sum()), *votes.shape)
    if cost.shape != wanted:
        raise DataError(f"costs must be (m, e, c), here {wanted}, found {cost.shape}")
    if (cost < 0).any() or (cost.dtype.kind == "f" and (cost % 1).any()):
        raise DataError("costs must be whole numbers of changed labels, 0 and more")
    free = cost == 0
    wrong = (free.sum(axis=0) != votes).any(axis=1) | (free.sum(axis=2) != 1).any(axis=0)
    if wrong.any():
        raise DataError(
            "costs must be 0 for the one label that each base model votes for; in test example "
            f"{wrong.argmax()} that is not what votes say"
        )
    return cost.clip(max=_CAP).astype(np.uint16)


def cheapest(cost: NDArray[Any], winner: int) -> int:
    """The fewest changed labels that turn a plurality vote for ``winner``, or less.

    ``cost`` (m, c): of each model, 0 for the label that it votes for. Ties go to the smaller label.
    """
    cost = cost.astype(np.int64)
    votes = (cost == 0).sum(axis=0)
    rivals = [b for b in range(cost.shape[1]) if b != winner]
    return min(_against(cost, winner, b, int(votes[winner] - votes[b])) for b in rivals)


def _against(cost: NDArray[np.int64], winner: int, rival: int, lead: int) -> int:
    """The least total cost with which ``rival`` makes up for ``lead``.

    A model that votes for the winner can vote for the rival, which yields 2, or for a third label,
    which yields 1; any other yields 1 by voting for the rival. Where the third label costs at most
    half of it, the two steps are two things to buy, the cheaper one first. Otherwise nobody takes
    the third label twice: two yields of 1 would cost more than one of 2. So it is taken once or
    not at all, and then at the cheapest such model (which may be bought twice, a bound from below).
    """
    needed = lead + int(winner < rival)
    from_winner = cost[:, winner] == 0
    whole = cost[from_winner, rival]
    third = np.delete(cost[from_winner], [winner, rival], axis=1).min(axis=1, initial=_FAR)
    steps = third * 2 <= whole
    others = cost[~from_winner, rival]
    ones = [others[others > 0], third[steps], (whole - third)[steps]]
    single, double = _sums(np.concatenate(ones)), _sums(whole[~steps])
    bought = np.arange(len(double))

    def at_least(gain: int) -> int:
        rest = np.maximum(gain - 2 * bought, 0)
        enough = rest < len(single)
        return int((double[enough] + single[rest[enough]]).min(initial=_FAR))

    extra = third[~steps & (third < whole)].min(initial=_FAR)
    return min(at_least(needed), int(extra) + at_least(needed - 1))


def _sums(cost: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the cheapest 0, 1, 2, ... cost together."""
    return np.concatenate([[0], np.sort(cost).cumsum()])
