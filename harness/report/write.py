"""Writing a report into a folder: figures, ``summary.md`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.errors import RunFolderError, UsageError
from harness.report.figures import render
from harness.report.html import report_html
from harness.report.pictures import pictures
from harness.report.tables import summary_markdown
from harness.results.attacks import ATTACKS, JOINT, attacks_csv, joint_attacks_csv
from harness.results.files import write_atomically
from harness.results.findings import load_findings
from harness.results.folder import RunFolder
from harness.results.published import is_published
from harness.results.reader import RunResult, combine, curves_csv, load_run, stored


def write_report(folder: Path) -> list[Path]:
    """Draws the report of the run in that folder, again if there is one. Returns what it wrote.

    Raises RunFolderError for a folder that is no finished run or cannot be written, UsageError for
    a published report.
    """
    result = load_run(folder)
    if is_published(result.manifest):
        raise UsageError(f"{folder} is a published report, which is not drawn again: give --output")
    return _write(result, folder)


def write_report_to(result: RunResult, folder: Path) -> list[Path]:
    """Draws the report of a run that was read before into a folder that holds no run.

    Returns what it wrote. Raises RunFolderError.
    """
    if RunFolder(folder).manifest() is not None:
        raise RunFolderError(f"{folder} holds a run, which a report would overwrite; name another")
    return _write(result, folder)


def write_combined(results: Sequence[RunResult], output: Path) -> list[Path]:
    """One report of several runs, with their curves and summary, in a folder of its own.

    Raises UsageError where the runs cannot be compared, see
    :func:`~harness.results.reader.combine`.
    """
    combined = combine(results)
    if RunFolder(output).manifest() is not None:
        raise RunFolderError(f"{output} holds a run, which a report would overwrite; name another")
    tables = {
        "curves.csv": curves_csv(combined),
        "summary.csv": stored(combined.summary, combined).to_csv(index=False, lineterminator="\n"),
        "manifest.json": json.dumps(combined.manifest, indent=2, ensure_ascii=False) + "\n",
    }
    found = load_findings(combined)
    if found.rows:
        tables[ATTACKS] = attacks_csv(found.rows)
    if found.joint:
        tables[JOINT] = joint_attacks_csv(found.joint)
    for left in {ATTACKS, JOINT} - tables.keys():  # of an earlier report
        (output / left).unlink(missing_ok=True)
    for name, content in tables.items():
        write_atomically(output / name, content.encode())
    return [output / name for name in tables] + _write(combined, output)


def _write(result: RunResult, folder: Path) -> list[Path]:
    drawn = {name: render(picture) for name, picture in pictures(result).items()}
    files = {
        f"figures/{name}.{kind}": content
        for name, kinds in drawn.items()
        for kind, content in kinds.items()
    }
    files["summary.md"] = summary_markdown(result).encode("utf-8", "backslashreplace")
    vectors = {name: kinds["svg"] for name, kinds in drawn.items()}
    files["report.html"] = report_html(result, vectors).encode("utf-8", "backslashreplace")
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]
