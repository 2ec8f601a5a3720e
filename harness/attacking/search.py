"""The smallest size at which an attack succeeds: doubling, bisection, repetitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.attacking.aim import OutOfTime

if TYPE_CHECKING:
    from harness.datasets.poisoning import Poisoning

_STEP = 0.02
"""The first step beyond what is proved and one more, as a fraction of it: what is tight is found
out at the first size that is not proved, and what is far from it soon."""
_NOISY_STEP = 0.1
"""The same where base models are drawn: such a certificate is never tight to the last example."""
_BELOW = (0.01, 0.02, 0.03, 0.05)
"""How far below the boundary, as a fraction of it, a success is looked for again where chance plays
a part: base models are drawn anew for every size."""
_NEAR = 0.01
"""How near to the boundary, there, bisection goes."""


@dataclass(frozen=True)
class Tried:
    """What came of one size: whether the prediction turned, and how many examples were changed."""

    turned: bool
    size: int
    poisoning: Poisoning | None = None
    failure: str = ""
    """What the defense failed with, if it did."""


@dataclass
class Search:
    """Sizes that were tried of one attack against one test example.

    ``attempt(r)``: carries an attack of at most r out; None where there is none. ``noisy``: whether
    a larger attack may fail where a smaller one succeeded, because base models are drawn.
    """

    attempt: Callable[[int], Tried | None]
    noisy: bool
    expected: Callable[[], int | None] = lambda: None
    """Of how many examples the attack says that they should do, once it was carried out."""
    best: Tried | None = None
    largest: int = 0
    """The largest size that was tried."""
    ended: bool = False
    """Whether time ran out before the search was over."""
    _seen: dict[int, bool] = field(default_factory=dict)
    _used: dict[int, int] = field(default_factory=dict)
    """How many examples were changed of so many; 0 where there was no attack of that size."""

    def run(self, proved: int, below: int | None, most: int) -> Tried | None:
        """The smallest success that was found, None without one.

        ``proved``: the radius, at which no attack may succeed; ``below``: the size that others
        need, if one did; ``most``: the largest size to be tried.
        """
        try:
            self._run(proved, most, below)
        except OutOfTime:
            self.ended = True
        return self.best

    def _run(self, proved: int, most: int, below: int | None) -> None:
        if below is not None:  # it is of use only if it takes less than the others
            most = min(most, below - self._near(below))
            if most <= proved or self._succeeds(most):
                low = min(proved, most)
                if not self._refutes(low) and low < most:
                    self._down(low, most)
                    self._again(proved)
            return
        low = min(proved, most)
        if self._refutes(low):
            return
        expected = self.expected()
        if expected is not None and low < expected <= most:
            if self._succeeds(expected):
                self._down(low, expected)
                self._again(proved)
                return
            low = expected
        self._up(low, most, proved)

    def _refutes(self, proved: int) -> bool:
        """Whether an attack of a certified size succeeds; then the smallest is looked for."""
        if proved < 1 or not self._succeeds(proved):
            return False
        self._bisect(0, proved)
        return True

    def _down(self, fails: int, succeeds: int) -> None:
        """From a size that succeeds downwards, in steps that are doubled."""
        step = self._near(succeeds)
        while succeeds - step > fails and self._succeeds(succeeds - step):
            succeeds, step = self.best.size if self.best else succeeds - step, 2 * step
        self._bisect(max(fails, succeeds - step), succeeds)

    def _near(self, size: int) -> int:
        """What two sizes near that one differ by: one, unless chance plays a part."""
        return max(1, int(_NEAR * size)) if self.noisy else 1

    def _up(self, low: int, most: int, proved: int) -> None:
        """From a size that fails upwards, in growing steps."""
        first = _NOISY_STEP if self.noisy else _STEP
        start, step = low, self._near(low)
        while low < most:
            size = min(most, low + step)
            if self._succeeds(size):
                self._bisect(low, size)
                self._again(proved)
                return
            if 0 < self._used[size] < size:  # it has no more to change than it did
                return
            low, step = size, max(2 * step, 1 + int(start * first))

    def _bisect(self, fails: int, succeeds: int) -> None:
        while succeeds - fails > self._near(succeeds):
            middle = (fails + succeeds) // 2
            if self._succeeds(middle):
                succeeds = min(middle, self.best.size if self.best else middle)
            else:
                fails = middle
            if fails >= succeeds:
                return

    def _again(self, proved: int) -> None:
        """Sizes below the boundary once more, as long as one of them succeeds."""
        before = None
        while self.noisy and self.best is not None and self.best.size != before:
            before = self.best.size
            for fraction in _BELOW:
                size = int(self.best.size * (1 - fraction))
                if size > proved:
                    self._succeeds(size)

    def _succeeds(self, size: int) -> bool:
        if size not in self._seen:
            tried = self.attempt(size)
            if tried is not None:
                self.largest = max(self.largest, tried.size)
                if tried.turned and (self.best is None or tried.size < self.best.size):
                    self.best = tried
            self._seen[size] = tried is not None and tried.turned
            self._used[size] = tried.size if tried is not None else 0
        return self._seen[size]
