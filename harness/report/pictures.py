"""The figures of a report: which there are, and what each shows."""

from __future__ import annotations

from matplotlib.figure import Figure

from harness.report.accuracy_figure import accuracy_figure
from harness.report.cost_figure import cost_figure
from harness.report.impact import nothing_else
from harness.report.impact_figure import impact_figure
from harness.report.impact_figure import worth_drawing as varied
from harness.report.pareto_figure import pareto_figure, worth_drawing
from harness.report.reached import attacks
from harness.report.reached_figure import reached_figure
from harness.report.sweep_figure import sweep_figure
from harness.report.sweep_figure import worth_drawing as swept
from harness.results.reader import RunResult
from harness.results.seeds import over_seeds

TITLES = {
    "certified_accuracy": "Certified accuracy against the number of poisoned examples",
    "cost": "Seconds and memory of each defense",
    "pareto": "Certified accuracy at r against r: the Pareto front",
    "reached": "Certified accuracy, and the accuracy that survives the strongest attack tried",
    "impact": "Certified accuracy with each parameter varied by itself",
    "sweep": "Median radius, accuracy and cost against the parameter that was swept",
}
"""By its name what a figure shows."""


def pictures(result: RunResult) -> dict[str, Figure]:
    """The figures that are worth drawing, by their name, in the order of a report."""
    result = over_seeds(result)
    drawn = {"certified_accuracy": accuracy_figure(result), "cost": cost_figure(result)}
    if worth_drawing(result):
        drawn["pareto"] = pareto_figure(result)
    if attacks(result):
        drawn["reached"] = reached_figure(result)
    if varied(result):
        drawn["impact"] = impact_figure(result)
    if swept(result) and not ("impact" in drawn and nothing_else(result)):
        drawn["sweep"] = sweep_figure(result)
    return drawn
