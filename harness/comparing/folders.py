"""Comparing runs where they lie: what is missing or of another version is part of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.comparing.comparison import Comparison
from harness.comparing.judge import compare_runs
from harness.comparing.metrics import Rules
from harness.errors import RunFolderError, SchemaError
from harness.results.reader import RunResult, load_run


def compare_folders(
    base: RunResult | Path,
    new: RunResult | Path,
    rules: Rules,
    wanted: Sequence[str] = (),
    *,
    allow_missing: bool = False,
) -> tuple[Comparison, tuple[RunResult, RunResult] | None]:
    """The comparison of two runs or folders, and both runs where both could be read.

    ``wanted``: only these cells or defenses. ``allow_missing``: a base that is not there is a
    result, too. Raises RunFolderError for a folder that cannot be read, UsageError for a defense
    that does not exist.
    """
    names = tuple(str(one if isinstance(one, Path) else one.folder) for one in (base, new))
    missing = isinstance(base, Path) and _is_missing(base)
    if missing and not allow_missing:
        raise RunFolderError(
            f"{base} does not exist: no baseline to compare with; publish one with "
            f"'harness publish RUN {base}', or let a first run pass with --allow-missing-baseline"
        )
    try:
        after = load_run(new) if isinstance(new, Path) else new
        if missing:
            return Comparison(names[0], names[1], missing_baseline=True), None
        before = load_run(base) if isinstance(base, Path) else base
    except SchemaError as error:
        return Comparison(names[0], names[1], reason=str(error)), None
    return compare_runs(before, after, rules, wanted), (before, after)


def _is_missing(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
