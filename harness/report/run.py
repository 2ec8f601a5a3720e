"""A finished run as Python users hold it: tables, figure, report."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RunFolderError, UsageError
from harness.plugins.registry import load_registry
from harness.report.notebook import figure, repr_html
from harness.report.publish import publish
from harness.report.write import write_report, write_report_to
from harness.results.findings import load_findings
from harness.results.frames import attacks_frame, certificates_frame, curves_frame, summary_frame
from harness.results.paths import as_path
from harness.results.reader import RunResult, load_run
from harness.results.schema import UNFINISHED
from harness.running.plan import Base, label_of

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
        self._scratch = scratch
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

    @property
    def attacks(self) -> pd.DataFrame | None:
        """What attacks on it reached, a row for each attack and test example; None where it was not
        attacked.

        See :func:`harness.results.frames.attacks_frame`; :func:`harness.attack` attacks. It is read
        anew each time. Raises RunFolderError where its folder is gone, or the table is damaged.
        """
        self._check_there()
        rows = load_findings(self._result).rows
        return attacks_frame(rows) if rows else None

    def certificates(self, defense: str, threat: str) -> pd.DataFrame:
        """What is proved of each test example: ``example, label, prediction, radius``.

        See :func:`harness.results.frames.certificates_frame`. ``defense`` is a label, or what means
        the same. Raises UsageError for a defense or threat that the run does not have, and where
        nothing is said of single examples; RunFolderError where its folder is gone.
        """
        self._check_there()
        return certificates_frame(self._result, self._label(defense), str(threat))

    def figure(self) -> Figure:
        """Certified accuracy against r, for each threat: a matplotlib figure."""
        return figure(self._result)

    def report(self, path: str | Path | None = None) -> Path:
        """Draws the report (``report.html``, ``summary.md``, figures) and returns the page's path.

        Into the run's own folder, or into another one, which is made. Raises RunFolderError.
        """
        if path is None:
            self._check_there()
            write_report(self.folder)
            return self.folder / "report.html"
        target = as_path("path", path)
        write_report_to(self._result, target)
        return target / "report.html"

    def publish(self, folder: str | Path) -> list[Path]:
        """Writes the small, diffable form to commit as a baseline. Returns what was written.

        Raises RunFolderError as :func:`harness.report.publish.publish`.
        """
        self._check_there()
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

    def _label(self, text: str) -> str:
        """The label that means the same as the text; the text itself where none does."""
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no label; wanted one of: {', '.join(self.defenses)}")
        manifest = self._result.manifest
        seed, alpha = manifest.get("seed"), manifest.get("alpha")
        if text in self.defenses or not isinstance(seed, int) or not isinstance(alpha, float):
            return text
        with suppress(Exception):  # of a plugin, too: what the run has is said
            found = label_of(text, load_registry(), Base(seed, alpha))
            return found if found in self.defenses else text
        return text

    def _check_there(self) -> None:
        """Raises RunFolderError where what this needs is gone: a scratch folder goes with the Run
        that made it, not with its copies.
        """
        if self.folder.is_dir():
            return
        if self._scratch:
            raise RunFolderError(
                f"the scratch folder {self.folder} is gone with the run that it was made for; "
                "give output= for one that stays"
            )
        raise RunFolderError(f"{self.folder} is gone")

    def __repr__(self) -> str:
        data = self._result.manifest["dataset"]["name"]
        failed = f", {len(self.failures)} failed" if self.failures else ""
        cells = ", ".join(self.defenses)
        return f"<Run of {cells} on {data}{failed}: {self.folder}>"

    def _repr_html_(self) -> str:
        return repr_html(self._result)
