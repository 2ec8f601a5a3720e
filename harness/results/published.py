"""Published reports: files that carry digests of one another, so that none can be edited alone.

This notices an edit, a bad merge or a file left out of a commit. It is no signature: whoever writes
new digests can write new numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import RunFolderError

KEY = "published"
"""Where a manifest says that it is one of a published report."""


def is_published(manifest: Mapping[str, Any] | None) -> bool:
    """Whether the manifest is that of a published report."""
    return manifest is not None and KEY in manifest


def sealed(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest with the digests of the files beside it, by name, and with its own."""
    digests = {name: digest(content) for name, content in sorted(files.items())}
    content = {key: value for key, value in manifest.items() if key != KEY}
    return content | {KEY: {"files": digests, "manifest": _own(content, digests)}}


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises RunFolderError where a published report is not as it was published.

    A run's own folder has no digests and passes: it holds certificates.npz, and only beside that,
    where others cast the votes, a certificates.csv.
    """
    if not is_published(manifest):
        report = all((folder / name).exists() for name in ("certificates.csv", "summary.csv"))
        if report and not (folder / "certificates.npz").exists():
            raise _edited(folder, "manifest.json")  # a report whose seal was taken off
        return
    seal = manifest[KEY]
    files = seal.get("files") if isinstance(seal, Mapping) else None
    if not isinstance(files, Mapping):
        raise _edited(folder, "manifest.json")
    content = {key: value for key, value in manifest.items() if key != KEY}
    if seal.get("manifest") != _own(content, files):
        raise _edited(folder, "manifest.json")
    for name, expected in files.items():
        try:
            found = digest((folder / name).read_bytes())
        except FileNotFoundError:
            raise RunFolderError(
                f"{folder} is not as it was published: {name} is missing"
            ) from None
        except OSError as error:
            raise RunFolderError(f"{folder / name} cannot be read: {error.strerror}") from None
        if found != expected:
            raise _edited(folder, name)


def digest(content: bytes) -> str:
    """SHA-256 of a file's content; line ends as git may have changed them make no difference."""
    text = content if b"\0" in content else content.replace(b"\r\n", b"\n")
    return hashlib.sha256(text).hexdigest()


def _own(content: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    text = json.dumps([content, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _edited(folder: Path, name: str) -> RunFolderError:
    return RunFolderError(
        f"{folder} is not as it was published: {name} was edited; "
        "restore it, or publish a run again with: harness publish RUN " + str(folder)
    )
