"""One attacker for all test examples: how many predictions of a vote one attack turns at most.

Chen, Li, Li, Yan, Wu: On Collective Robustness of Bagging Against Data Poisoning, ICML 2022, state
the integer program. A pointwise radius lets the attacker choose anew for every test example; who
must poison once does less. What counts is a bound on the program from above, never an attack that
a solver has found: it may stop wherever it likes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_INTEGER = 20_000
"""Entries of a program up to which it is solved in integers: of larger ones the relaxation is as
good within any time that one would wait."""
_SLACK = 1e-3
"""Added to the solver's bound on a whole number: a thousand of its tolerances."""


@dataclass(frozen=True)
class Limits:
    """Where the solver stops; the bound holds wherever that is.

    ``seconds`` for each program; ``piece``: test examples in one program. A test set that is cut
    into pieces lets the attacker choose anew for each of them.
    """

    seconds: float
    piece: int


@dataclass(frozen=True)
class Ballot:
    """Who votes for what, and what rewriting a voter yields a rival.

    Test example i keeps its prediction unless, for some rival b, the ``gains`` of the rewritten
    voters reach ``needed`` [i, b]. ``needed`` (e, c): n_a - n_b + [a < b] for the prediction a and
    votes n; never looked at for b = a. ``gains(examples, rivals)``, (q,) each, gives (q, u) small
    whole numbers, what each of u voters yields: [it votes a] + [it does not vote b].

    Voter v may be rewritten if one of the parts with ``fed`` [v, part] is; without ``fed``, voters
    are parts. Parts are in ``groups`` (p,), and as many of each group are rewritten as the attacker
    has units.
    """

    predictions: IntArray
    needed: IntArray
    gains: Callable[[IntArray, IntArray], sparse.csr_array]
    groups: IntArray
    fed: sparse.csr_array | None = None

    def turned(self, which: BoolArray, units: int, limits: Limits) -> int:
        """How many of the test examples ``which`` (e,) an attack of so many units turns at most."""
        examples = np.flatnonzero(which)
        if units >= np.bincount(self.groups).max():
            return len(examples)  # everything can be rewritten
        pieces = -(-len(examples) // limits.piece)
        # Neighbours in the test set may be of one kind: each piece gets some of all.
        return sum(
            self._turned_of(examples[start::pieces], units, limits.seconds)
            for start in range(pieces)
        )

    def _turned_of(self, examples: IntArray, units: int, seconds: float) -> int:
        program = self._program(examples, units)
        if program is None:
            return 0
        return min(len(examples), program.bound(seconds))

    def _program(self, examples: IntArray, units: int) -> _Program | None:
        """The program of these examples; None where none of them can be turned at all."""
        c = self.needed.shape[1]
        rows = np.repeat(examples, c)
        rivals = np.tile(np.arange(c), len(examples))
        own = self.predictions[rows] == rivals
        rows, rivals = rows[~own], rivals[~own]
        most = self._most_voters(units)
        # Voters yield at most 2 each: most rivals are out of reach without a look at them.
        near = self.needed[rows, rivals] <= 2 * most
        rows, rivals = rows[near], rivals[near]
        gains, needed = self.gains(rows, rivals), self.needed[rows, rivals]
        near = _largest(gains, most) >= needed
        if not near.any():
            return None
        return _Program(gains[near], needed[near], rows[near], most, units, self.groups, self.fed)

    def _most_voters(self, units: int) -> int:
        """How many voters can be rewritten at all."""
        parts = np.minimum(np.bincount(self.groups), units).sum()
        if self.fed is None:
            return int(parts)
        return int(min(self.fed.shape[0], parts * self.fed.sum(axis=0).max(initial=0)))


def _largest(gains: sparse.csr_array, most: int) -> IntArray:
    """(q,): the sum of the ``most`` largest gains of each row."""
    total = np.zeros(gains.shape[0], np.int64)
    for level in range(1, int(gains.data.max(initial=0)) + 1):
        reached = sparse.csr_array((gains.data >= level, gains.indices, gains.indptr), gains.shape)
        total += np.minimum(np.asarray(reached.sum(axis=1)).ravel(), most)
    return total


class _Program:
    """Maximise how many z are 1, given the ``gains`` (q, u) of pairs (example, rival).

    Variables in [0, 1]: the u voters x, the parts p that feed them, the pairs z. z needs its gain;
    a rewritten voter, a rewritten part; an example counts once. With at most ``most`` voters, every
    level k also says that those with a larger gain contribute the rest: sum (gain - k)+ x >= needed
    - k most. In integers that is implied, and the relaxation is far weaker without it.
    """

    def __init__(
        self,
        gains: sparse.csr_array,
        needed: IntArray,
        examples: IntArray,
        most: int,
        units: int,
        groups: IntArray,
        fed: sparse.csr_array | None,
    ) -> None:
        pairs, voters = gains.shape
        others = len(groups) if fed is not None else 0
        _, example = np.unique(examples, return_inverse=True)
        one = sparse.csr_array((np.ones(pairs), (example, np.arange(pairs))))
        rows = [
            *self._levels(gains.astype(np.float64), needed, most, others),
            sparse.hstack([sparse.csr_array((one.shape[0], voters + others)), one]),
        ]
        limits = [np.zeros(sum(row.shape[0] for row in rows[:-1])), np.ones(one.shape[0])]
        spent = sparse.csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))))
        if fed is not None:
            rows.append(
                sparse.hstack([sparse.eye_array(voters), -fed, sparse.csr_array((voters, pairs))])
            )
            limits.append(np.zeros(voters))
            spent = sparse.hstack([sparse.csr_array((spent.shape[0], voters)), spent])
        rows.append(sparse.hstack([spent, sparse.csr_array((spent.shape[0], pairs))]))
        limits.append(np.full(spent.shape[0], float(units)))
        self.matrix = sparse.csr_array(sparse.vstack(rows))
        self.limits = np.concatenate(limits)
        self.objective = np.concatenate([np.zeros(voters + others), np.ones(pairs)])

    @staticmethod
    def _levels(
        gains: sparse.csr_array, needed: IntArray, most: int, others: int
    ) -> list[sparse.csr_array]:
        pairs, rows = gains.shape[0], []
        for level in range(int(gains.data.max(initial=1))):
            left = needed - level * most
            use = np.flatnonzero(left > 0)
            if use.size == 0:
                break
            above = gains[use]
            above.data = np.maximum(above.data - level, 0)
            above.eliminate_zeros()
            pair = sparse.csr_array(
                (left[use].astype(np.float64), (np.arange(use.size), use)), (use.size, pairs)
            )
            rows.append(sparse.hstack([-above, sparse.csr_array((use.size, others)), pair]))
        return rows

    def bound(self, seconds: float) -> int:
        """A whole number that the optimum does not exceed."""
        start = time.monotonic()
        bound = self._relaxed(seconds)
        left = seconds - (time.monotonic() - start)
        if self.matrix.nnz <= _INTEGER and left > 0:
            bound = min(bound, self._in_integers(left))
        return bound

    def _relaxed(self, seconds: float) -> int:
        """By the linear relaxation: the solver finds multipliers, which prove what they prove.

        It solves the dual, several times faster than the program itself: min y b + sum u over
        y A + u >= c.
        """
        entries = len(self.objective)
        found = linprog(
            np.concatenate([self.limits, np.ones(entries)]),
            A_ub=sparse.hstack([-self.matrix.T, -sparse.eye_array(entries)]),
            b_ub=-self.objective,
            method="highs-ds",
            options={"time_limit": max(seconds, 0.01)},
        )
        if found.x is None or not np.isfinite(found.x).all():
            return int(self.objective.sum())
        multipliers = np.maximum(found.x[: len(self.limits)], 0)
        return proved_by(multipliers, self.matrix, self.limits, self.objective)

    def _in_integers(self, seconds: float) -> int:
        found = milp(
            -self.objective,
            integrality=np.ones_like(self.objective),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(self.matrix, -np.inf, self.limits),
            options={"time_limit": seconds, "mip_rel_gap": 0.0},
        )
        bound = found.mip_dual_bound  # not found.fun: that is what some attack achieves
        if bound is None or not np.isfinite(bound):
            return int(self.objective.sum())
        return int(np.floor(-bound + _SLACK))


def proved_by(
    multipliers: NDArray[np.float64],
    matrix: sparse.csr_array,
    limits: NDArray[np.float64],
    objective: NDArray[np.float64],
) -> int:
    """What any ``multipliers`` >= 0 prove of a program in [0, 1]: a bound on its whole optimum.

    max c x over A x <= b, 0 <= x <= 1 is at most y b + sum max(0, c - y A) for every y >= 0 (weak
    duality): however a solver found y, and however far from optimal. Rounded upwards.
    """
    priced = matrix.T @ multipliers
    terms = np.concatenate([multipliers * limits, np.maximum(objective - priced, 0)])
    size = float((abs(matrix).T @ multipliers).sum() + np.abs(terms).sum() + objective.sum())
    longest = max(int(np.bincount(matrix.indices).max(initial=0)), 1)
    rounding = 2.0**-52 * (longest + 4) * size
    total = float(np.sum(np.sort(np.abs(terms)))) if (terms >= 0).all() else float(terms.sum())
    total += 2.0**-52 * (len(terms) + 4) * float(np.abs(terms).sum())
    return int(np.floor(total + rounding))


def ballot_of_models(
    predictions: NDArray[np.integer], n_labels: int, groups: IntArray, fed: sparse.csr_array | None
) -> Ballot:
    """The plurality vote of u models that predict ``predictions`` (u, e); as :class:`Ballot`."""
    votes = np.stack([(predictions == label).sum(axis=0) for label in range(n_labels)], axis=1)
    winner = votes.argmax(axis=1)

    def gains(examples: IntArray, rivals: IntArray) -> sparse.csr_array:
        said = predictions[:, examples]
        yields = (said == winner[examples]).astype(np.int8) + (said != rivals)
        return sparse.csr_array(yields.T)

    return Ballot(winner, needed_by_rivals(votes, winner), gains, groups, fed)


def needed_by_rivals(votes: IntArray, ahead: IntArray) -> IntArray:
    """(e, c): n_a - n_b + [a < b], what rival b must gain on label a, by ``votes`` n (e, c).

    ``ahead`` (e,) is a; ties go to the smaller label.
    """
    most = np.take_along_axis(votes, ahead[:, None], axis=1)
    return np.asarray(most - votes + (ahead[:, None] < np.arange(votes.shape[1])))
