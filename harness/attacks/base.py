"""What an attack is: for a test example and a size, a poisoned training set that should turn it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from harness.datasets.poisoning import Poisoning
from harness.defense import Target
from harness.threats import Threat


class Attack(ABC):
    """An attack that any defense can be put to. Subclasses set the class variables and poison.

    Without parameters: the constructor takes none. A defense that knows better brings an attack of
    its own, :meth:`harness.Defense.attack`.
    """

    name: ClassVar[str]
    """How it is selected: ``--attack copies``."""
    summary: ClassVar[str]
    """One line for ``harness list``."""
    threats: ClassVar[frozenset[Threat]] = frozenset(Threat)
    """The threats under which it has something to try."""

    @abstractmethod
    def poison(self, target: Target, threat: Threat, r: int) -> Poisoning | None:
        """The most harmful poisoning of at most ``r`` training examples that it can think of.

        None where it has none of that size. It need not use all r. What the threat does not allow
        is refused, and told with the attack's name. Anything random must follow from the target
        alone, so that the same attack is carried out again.
        """
