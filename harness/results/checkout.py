"""The git checkout that a module was imported from: which commit, and whether it was changed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = 10
"""Seconds: a repository on a slow disk must not hold up a run."""

_NOTHING_OF_THEIRS = ("core.fsmonitor=false", "core.hooksPath=/dev/null")
"""What a repository's own configuration could have git run, turned off."""


@dataclass(frozen=True)
class Checkout:
    """The commit, and whether anything in the checkout differs from it; None where not known."""

    commit: str | None = None
    dirty: bool | None = None


def checkout_of(file: str | os.PathLike[str] | None) -> Checkout:
    """The checkout whose repository tracks that file, such as that of an editable install.

    Nothing is known of a file that was installed from a wheel, though its folder may lie inside
    some checkout, of none at all, where git is missing, refuses the repository or takes too long,
    and where the repository's own configuration names programs that git would run. Raises nothing.
    """
    if file is None:
        return Checkout()
    try:
        path = Path(file).resolve()
        _git(path.parent, "ls-files", "--error-unmatch", "--", path.name)
        if _filters(path.parent):
            return Checkout()
        commit = _git(path.parent, "rev-parse", "--verify", "HEAD")
        # A submodule counts by its commit: git would have to run in there, too.
        changes = _git(path.parent, "status", "--porcelain", "--ignore-submodules=dirty")
        return Checkout(commit, bool(changes))
    except (OSError, ValueError, subprocess.SubprocessError):
        return Checkout()


def _filters(folder: Path) -> bool:
    """Whether the repository itself, not its user, configures filters: programs for its files."""
    try:
        found = _git(folder, "config", "--includes", "--show-scope", "--get-regexp", r"^filter\.")
    except subprocess.CalledProcessError as error:
        if error.returncode == 1:  # none at all
            return False
        raise
    return any(line.startswith(("local", "worktree")) for line in found.splitlines())


def _git(folder: Path, *arguments: str) -> str:
    settings = [word for setting in _NOTHING_OF_THEIRS for word in ("-c", setting)]
    done = subprocess.run(
        ["git", *settings, *arguments],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=_TIMEOUT,
    )
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """Without what points git to another repository, as in a hook; nothing is locked or fetched."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")
    }
    return kept | {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
