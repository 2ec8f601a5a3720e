"""What an attacker needs to turn a vote of neighbours: proved, and reached.

Jia, Liu, Cao, Gong: Certified Robustness of Nearest Neighbors against Data Poisoning and Backdoor
Attacks, AAAI 2022. Their bounds are exact here: for each threat the best attack is known.

The training examples are ordered by distance and content. s_b(m) is how many of the nearest m have
label b; label a is predicted from the nearest k. The **lead** of a after m,

    lead(m) = min over b != a of  s_a(m) - s_b(m) + [a < b],

is how far the nearest rival must gain on a to be predicted before it: at least 1 at m = k.

Under ``any``, ``modify`` and ``label-flip`` r poisonings exchange at most r voters, each of which
moves the lead by at most 2: ceil(lead(k) / 2) - 1 is withstood. For let u <= r examples be gone and
j <= r be new, u' of the former and j' of the latter among the K = min(k, n) voters of the clean and
the K' = min(k, n') of the poisoned set. Voters that are neither are, in both, the nearest of the
examples that stay: K - u' and K' - j' of them, the fewer within the more. With K' = K at most
max(u', j') <= r leave and as many enter. With K' < K all that stay vote after the attack, so u'
leave; with K' > K all of them did before it, so j' enter; of the others there are no more. Voters
of a that become copies of the test example with label b, or whose label becomes b, reach it.

**Ties** can stand in the attacker's way, and then what is proved is less than what is withstood.
Copies of the test example come after other examples at distance 0 that their content puts first;
and of identical examples of which not all vote, those with the smallest labels do, so that a new
label there may change no vote, or one voter for another. More than one is never exchanged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.defenses.neighbours.ranking import Counts, Ranked
from harness.defenses.partition import elections
from harness.threats import Threat

IntArray = NDArray[np.int64]


def leads(counts: Counts, a: int) -> IntArray:
    """(t,) the lead of label ``a`` by counts (c, t), c >= 2."""
    best = np.full(counts.shape[1], np.iinfo(np.int64).min)
    if a:
        best = counts[:a].max(axis=0)
    if a + 1 < len(counts):
        best = np.maximum(best, counts[a + 1 :].max(axis=0) - 1)
    return np.asarray(counts[a] - best)


def nearest(ranked: Ranked, k: int) -> Counts:
    """(c,) the votes of the nearest k training examples, or of all if there are fewer."""
    reached = ranked.first(lambda counts: counts.sum(axis=0) >= k)
    return ranked.all if reached is None else reached


def withstands_insertions(ranked: Ranked, k: int, a: int) -> int:
    """The largest number of inserted examples that cannot turn the vote of the nearest ``k``.

    Of r examples more, some q <= r are among the nearest k, and what else is there are the nearest
    m = min(n, k - q) of the n that were there before. The rival b has at most s_b(m) + q votes then
    and a has s_a(m). So b is predicted before a only if lead(m) <= q, and where that holds, copies
    of the test example with label b do it. One m less takes at most 1 from lead(m): more is never
    worse for the attacker. With q = k - m, lead(m) + m <= k; that fails from some m on, and the one
    before is the attacker's cheapest, q = k - m + 1. Where it never fails, n < k: the smallest
    attack displaces nobody, and needs q = lead(n).
    """
    first = ranked.first(lambda counts: leads(counts, a) + counts.sum(axis=0) > k)
    if first is None:
        return int(leads(ranked.all[:, None], a)[0]) - 1
    return k - int(first.sum())


def withstands_deletions(ranked: Ranked, k: int, a: int) -> int:
    """The largest number of deleted examples that cannot turn the vote of the nearest ``k``.

    After r are deleted, of which u <= r were among the nearest k + u, those that are left of the
    nearest k + u vote: a has at least s_a(k + u) - u, the rival at most s_b(k + u). So b is ahead
    only if lead(m) <= m - k for m = k + u; the left side rises no faster than the right, so u = r.
    Where it holds, deleting the nearest r examples of a does it. If it does not hold for any m <= n
    all examples that are left vote, and r = lead(n) turn them. If there are only examples of a, and
    a is 0, what is predicted without any example, nothing does: then n is returned.
    """
    first = ranked.first(lambda counts: leads(counts, a) <= counts.sum(axis=0) - k)
    if first is None:
        return min(int(leads(ranked.all[:, None], a)[0]) - 1, int(ranked.all.sum()))
    return int(first.sum()) - k - 1


def of_radius_votes(votes: Counts, n: int, threat: Threat) -> IntArray:
    """(e,) what a vote of all examples within a radius withstands, from ``votes`` (e, c), exactly.

    ``n`` training examples. An inserted or deleted example changes one vote and the lead by 1, a
    modified or relabelled one by 2: copies of the test example with the rival's label, or labels
    of the winner that become the rival's. Two attacks cannot be made at all, and ``n`` is returned:
    to flip a vote where nobody votes; and to delete votes of label 0 where nobody votes for
    another: without any votes, it is predicted still.
    """
    a = votes.argmax(axis=1)
    _, by_two = elections.plurality(votes)
    others = votes.sum(axis=1) - votes.max(axis=1)
    if threat is Threat.LABEL_FLIP:
        return np.where(votes.any(axis=1), by_two, n)
    if threat is Threat.DELETE:
        return np.where((a == 0) & (others == 0), n, _lead(votes, a) - 1)
    return _lead(votes, a) - 1 if threat is Threat.INSERT else by_two


def _lead(votes: Counts, a: IntArray) -> IntArray:
    """(e,) the lead of label ``a`` (e,)."""
    behind = votes - (np.arange(votes.shape[1]) > a[:, None])
    np.put_along_axis(behind, a[:, None], np.iinfo(np.int64).min, axis=1)
    return np.asarray(votes.max(axis=1) - behind.max(axis=1))
