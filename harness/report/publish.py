"""Publishing a run: the small part of it that is worth committing, as text wherever it can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import RunFolderError
from harness.report import words
from harness.report.figures import render
from harness.report.pictures import TITLES, pictures
from harness.report.tables import summary_markdown
from harness.results.attacks import ATTACKS, JOINT, attacks_csv, joint_attacks_csv
from harness.results.earlier import FROM, made_before
from harness.results.files import write_atomically
from harness.results.findings import load_findings
from harness.results.pointwise import load_pointwise, pointwise_csv
from harness.results.published import KEY, is_published, sealed
from harness.results.reader import RunResult, curves_csv, load_run

_FILES = ("--votes",)
"""Options whose values are files of that machine: only their names are worth telling."""
_LOCAL = ("--output", "--data-root", "--store")
"""Options whose values are folders of the machine that ran it."""


def publish(run: Path, target: Path) -> list[Path]:
    """Writes the published report of the finished run in one folder into another.

    An earlier report there is replaced; the manifest is written last. Returns what was written.
    Raises RunFolderError for a run that is not finished, and for a folder of anything else.
    """
    result = load_run(run)
    if is_published(result.manifest):
        raise RunFolderError(f"{run} is a published report already; publish the run itself")
    former = _former(target, run)
    files = _files(result)
    manifest = sealed(_manifest(result), files)
    files["manifest.json"] = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    (target / "manifest.json").unlink(missing_ok=True)
    for left in former - files.keys():
        (target / left).unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(target / name, content)
    return [target / name for name in files]


def _former(target: Path, run: Path) -> set[str]:
    """The files of the report that was published there before; none in a new folder.

    Raises RunFolderError for a folder that holds anything else.
    """
    if target.resolve() == run.resolve():
        raise RunFolderError(f"{target} is the run itself; name another folder")
    if target.exists() and not target.is_dir():
        raise RunFolderError(f"{target} is a file; name a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return set()
    try:
        manifest: Any = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or not is_published(manifest):
        raise RunFolderError(
            f"{target} is not empty and holds no published report; name another folder"
        )
    listed = manifest[KEY].get("files", {}) if isinstance(manifest[KEY], dict) else {}
    names = {str(name) for name in listed if not Path(name).is_absolute() and ".." not in name}
    return names | {"certificates.csv"}


def _files(result: RunResult) -> dict[str, bytes]:
    drawn = pictures(result)
    texts = {
        "README.md": _readme(result, list(drawn)),
        "curves.csv": curves_csv(result, _falls(result.curves)),
        "summary.csv": (result.folder / "summary.csv").read_text(encoding="utf-8"),
    }
    points = load_pointwise(result)
    if points:
        texts["certificates.csv"] = pointwise_csv(points)
    found = load_findings(result)
    if found.rows:
        texts[ATTACKS] = attacks_csv(found.rows)
    if found.joint:
        texts[JOINT] = joint_attacks_csv(found.joint)
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    return files | {f"figures/{name}.png": render(one)["png"] for name, one in drawn.items()}


def _falls(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves with only the r at which they fall: they are step functions."""
    heads = ["defense", "certificate", "threat"]
    same_curve = (curves[heads] == curves[heads].shift()).all(axis=1)
    same_value = curves["certified_accuracy"] == curves["certified_accuracy"].shift()
    return curves[~(same_curve & same_value)]


def _readme(result: RunResult, shown: list[str]) -> str:
    """The summary as a code host shows it, with the pictures below its first lines."""
    head, _, rest = summary_markdown(result).partition("\n## ")
    figures = [f"![{TITLES[name]}](figures/{name}.png)\n" for name in shown]
    how = _how(result)
    return "\n".join([head, how, *figures, f"## {rest}"])


def _how(result: RunResult) -> str:
    manifest = result.manifest
    lines = []
    if manifest.get("command"):
        runs = [manifest, *(made for _, made in made_before(result.cells))]
        known = dict.fromkeys(_made(one) for one in runs if one.get("command"))
        lines.append(f"Made {', and before it '.join(known)}.")
    lines.append(
        "Compare a run with it: `harness compare` this folder and the run's. The files carry "
        "digests of one another: edited ones are refused."
    )
    return "\n".join([*lines, ""])


def _made(run: Mapping[str, Any]) -> str:
    """How one run came about, after "Made"."""
    kept = _words(run["command"])
    version = (run.get("versions") or {}).get("poisoning-harness")
    how = "in Python by" if words.in_python(kept) else "by"
    return f"{how} `{words.command(kept)}`" + (f" with version {version}" if version else "")


def _words(command: list[str]) -> list[str]:
    """The command without what only its machine knows: the folders it wrote to and read from."""
    kept: list[str] = []
    skip = False
    for word in command:
        if skip:
            skip = False
        elif word in _LOCAL:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in _LOCAL)):
            kept.append(_named(word, kept[-1:] or [""]))
    return kept


def _named(word: str, before: list[str]) -> str:
    option, equals, value = word.partition("=")
    if before[0] in _FILES or word.endswith(".toml"):  # a suite of the user's own
        return Path(word).name
    return f"{option}={Path(value).name}" if equals and option in _FILES else word


def _manifest(result: RunResult) -> dict[str, Any]:
    manifest = {key: value for key, value in result.manifest.items() if key != KEY}
    if "command" in manifest:
        manifest["command"] = _words(manifest["command"])
    manifest["cells"] = [_cell(cell) for cell in manifest["cells"]]
    return manifest


def _cell(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    made = cell.get(FROM)
    if not isinstance(made, Mapping) or "command" not in made:
        return cell
    return {**cell, FROM: {**made, "command": _words(made["command"])}}
