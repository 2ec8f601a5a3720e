"""Attacks that any defense can be put to. This module is a plugin, as those of learners' are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness import hookimpl

if TYPE_CHECKING:
    from harness.attacks.base import Attack


@hookimpl
def harness_register_attacks() -> Iterable[type[Attack]]:
    """The attacks that come with the harness."""
    from harness.attacks.copies import Copies
    from harness.attacks.influence import Influence
    from harness.attacks.near_copies import NearCopies
    from harness.attacks.nearest import Nearest

    return [Copies, NearCopies, Nearest, Influence]
