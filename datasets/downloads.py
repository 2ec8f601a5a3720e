"""Where data sets are kept that are downloaded, and what is said when that fails."""

from __future__ import annotations

import os
from pathlib import Path


def default_data_root() -> Path:
    """Where downloaded data sets are kept when no data root is given: a folder in the cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "poisoning-harness"


def reason_of(error: BaseException) -> str:
    """The last line of what an error says: torchvision lists all that it tried before."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
