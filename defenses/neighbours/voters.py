"""Who votes for each test example: what one attacker who changes labels can reach at once.

Under ``label-flip`` features are trusted, and the voters of a test example are the same whatever
the labels are. The exception are identical training examples of which some vote and some do not:
there the smallest labels vote, so a changed label can move one in and another out. Those test
examples are ``tied``; what is proved of one by itself holds for it as well, and nothing more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VOTERS, TIED, LABELS = "voters", "tied", "voter_labels"
"""The names of the arrays in the evidence."""


class Voters:
    """Collects the voters of a block's ``tests`` test examples: a bit for each training example.

    ``digest`` (n, 2) of the training examples' features and ``y`` (n,) their labels, both in the
    order in which voters are told, the canonical one: identical examples follow one another.
    """

    def __init__(self, digest: NDArray[np.uint64], y: NDArray[np.int64], tests: int) -> None:
        self._labels = y
        self._bits = np.zeros((tests, -(-len(y) // 8)), np.uint8)
        self._tied = np.zeros(tests, bool)
        self._alike = (digest[1:] == digest[:-1]).all(axis=1)

    def put(self, test: int, voting: NDArray[np.bool_]) -> None:
        """Test example ``test`` of the block has the voters ``voting`` (n,)."""
        self._bits[test] = np.packbits(voting)
        self._tied[test] = ((voting[1:] != voting[:-1]) & self._alike).any()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``voters`` (e, ceil(n / 8)) uint8, as ``np.packbits`` packs them; ``tied`` (e,) bool; and
        ``voter_labels`` (n,), the same for all blocks.
        """
        return {VOTERS: self._bits, TIED: self._tied, LABELS: self._labels}


def unpacked(voters: NDArray[np.uint8], n: int) -> NDArray[np.bool_]:
    """(e, n) whether each training example votes, from ``voters`` (e, ceil(n / 8))."""
    return np.unpackbits(voters, axis=1, count=n).view(bool)
