"""A finished run as Python users hold it: tables, figure, report."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.notebook import figure, repr_html
from harness.report.publish import publish
from harness.report.write import write_report, write_report_to
from harness.results.frames import certificates_frame, curves_frame, summary_frame
from harness.results.paths import as_path
from harness.results.reader import RunResult, load_run
from harness.results.schema import UNFINISHED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Run:
    """What a comparison found: shows itself in a notebook as a table and a figure.

    ``folder`` holds everything, in the form that the command line leaves. ``notes`` are the lines
    that the command line would have shown while it ran.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        notes: Iterable[str] = (),
        scratch: bool = False,
    ) -> None:
        """Reads the folder of a finished run; a ``scratch`` one is removed when the run goes.

        Raises RunFolderError.
        """
        if scratch:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = as_path("folder", folder)
        self._result = load_run(self.folder)
        self.notes = tuple(notes)

    @property
    def summary(self) -> pd.DataFrame:
        """One row a defense, certificate and threat, with a column for each parameter.

        See :func:`harness.results.frames.summary_frame`.
        """
        return summary_frame(self._result)

    @property
    def curves(self) -> pd.DataFrame:
        """One row for each r at which a certified accuracy in [0, 1] is known."""
        return curves_frame(self._result)

    def certificates(self, defense: str, threat: str) -> pd.DataFrame:
        """What is proved of each test example: ``example, label, prediction, radius``.

        See :func:`harness.results.frames.certificates_frame`. Raises UsageError for a defense or
        threat that the run does not have, and where nothing is said of single examples.
        """
        return certificates_frame(self._result, defense, str(threat))

    def figure(self) -> Figure:
        """Certified accuracy against r, for each threat: a matplotlib figure."""
        return figure(self._result)

    def report(self, path: str | Path | None = None) -> Path:
        """Draws the report (``report.html``, ``summary.md``, figures) and returns the page's path.

        Into the run's own folder, or into another one, which is made. Raises RunFolderError.
        """
        if path is None:
            write_report(self.folder)
            return self.folder / "report.html"
        target = as_path("path", path)
        write_report_to(self._result, target)
        return target / "report.html"

    def publish(self, folder: str | Path) -> list[Path]:
        """Writes the small, diffable form to commit as a baseline. Returns what was written.

        Raises RunFolderError as :func:`harness.report.publish.publish`.
        """
        return publish(self.folder, as_path("folder", folder))

    @property
    def failures(self) -> dict[str, str]:
        """By the label of a cell that failed, why."""
        cells = self._result.cells
        return {c["label"]: str(c["error"]) for c in cells if c.get("status") == "failed"}

    @property
    def unfinished(self) -> list[str]:
        """The labels of cells that an interrupted run began in the folder and did not finish."""
        return list(self._result.manifest.get(UNFINISHED, ()))

    @property
    def manifest(self) -> dict[str, Any]:
        """How the run came about, as ``manifest.json`` has it."""
        return dict(self._result.manifest)

    @property
    def defenses(self) -> list[str]:
        """The labels of the cells, those that failed too."""
        return [cell["label"] for cell in self._result.cells]

    @property
    def threats(self) -> list[str]:
        """The threats that were asked about."""
        return self._result.threats

    @property
    def result(self) -> RunResult:
        """What was read, as the report sees it."""
        return self._result

    def __repr__(self) -> str:
        data = self._result.manifest["dataset"]["name"]
        failed = f", {len(self.failures)} failed" if self.failures else ""
        cells = ", ".join(self.defenses)
        return f"<Run of {cells} on {data}{failed}: {self.folder}>"

    def _repr_html_(self) -> str:
        return repr_html(self._result)
