"""Fixed maps from a raw example to what base models see. This module is a plugin, as learners'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness import hookimpl

if TYPE_CHECKING:
    from harness.features.base import Features


@hookimpl
def harness_register_features() -> Iterable[type[Features]]:
    """The features that come with the harness; torch is imported when they are asked for."""
    from harness.features.binarised import Binarised
    from harness.features.hog import Hog
    from harness.features.pretrained import Pretrained
    from harness.features.raw import Raw

    return [Raw, Binarised, Hog, Pretrained]
