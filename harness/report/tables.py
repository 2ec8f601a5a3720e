"""Tables of what a run found, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.report import answers, front, problem, words

if TYPE_CHECKING:
    from harness.report.answers import Row, ThreatAnswer
    from harness.results.reader import RunResult


def title(result: RunResult) -> str:
    """What the report is about, in a line."""
    return f"Certified defenses on {result.manifest['dataset'].get('name', 'a data set')}"


def setting(result: RunResult) -> str:
    """What was run, in a sentence."""
    data, manifest = result.manifest["dataset"], result.manifest
    parts = [
        f"{data.get('n_train', 0):,} training and {data.get('n_test', 0):,} test examples",
        f"{len(data.get('label_names', []))} labels",
    ]
    known = [key for key in ("alpha", "seed") if manifest.get(key) is not None]
    return ", ".join([*parts, *(f"{key} {manifest[key]:g}" for key in known)])


def columns(answer: ThreatAnswer) -> list[str]:
    """The headings of a threat's table."""
    at = [f"r = {r:,}" for r in answer.r]
    return ["defense", "guarantee", "clean", *at, "median r", "largest r"]


def cells(answer: ThreatAnswer, row: Row) -> list[str]:
    """A row of a threat's table, as :func:`columns` heads it."""
    if not row.covered:
        return [row.name, row.guarantee, *[words.NOTHING] * (len(answer.r) + 3)]
    at = [words.percent(row.at[r]) for r in answer.r]
    radii = [words.radius(row.median_radius), words.radius(row.max_radius)]
    guarantee = ", ".join([row.guarantee, *words.not_pointwise(row.kind)])
    return [row.name, guarantee, words.percent(row.clean_accuracy), *at, *radii]


COST_COLUMNS = ("defense", "models", "training", "predicting", "certifying", "peak memory")


def cost_cells(cost: answers.Cost) -> list[str]:
    """A row of the cost table, as COST_COLUMNS head it."""
    models = words.NOTHING if cost.n_models != cost.n_models else f"{cost.n_models:,.0f}"
    seconds = [words.seconds(s) for s in (cost.train, cost.predict, cost.certify)]
    return [cost.name, models, *seconds, words.megabytes(cost.peak_rss_mb)]


def summary_markdown(result: RunResult) -> str:
    """``summary.md``: what was run, a table for each threat, cost, failures, how to read it."""
    lines = [f"# {plain(title(result))}", "", plain(setting(result)) + "."]
    lines += ["", plain(problem.domain(result))] if problem.domain(result) else []
    for answer in answers.threat_answers(result):
        lines += ["", f"## Threat: {plain(answer.threat)}", ""]
        meaning = words.threat_meaning(answer.threat)
        if meaning:
            lines += [f"The attacker may, r times, {meaning}.", ""]
        lines += [plain(answers.headline(answer)), ""]
        expected = answers.expected_accuracy(answer)
        lines += [plain(expected), ""] if expected else []
        if answer.rows:
            lines += _markdown(columns(answer), (_bold_best(answer, row) for row in answer.rows))
        lines += [f"\nNot run: {plain(words.listing(answer.not_run))}."] if answer.not_run else []
    lines += _who_proves_most(result)
    lines += ["", "## Cost", ""]
    lines += _markdown(COST_COLUMNS, (list(map(plain, cost_cells(c))) for c in costs(result)))
    unfitted = problem.not_fitted(result)
    if unfitted:
        lines += ["", "## Base models that were not fitted", ""]
        lines += [f"- {plain(name)}: {plain(text)}" for name, text in unfitted]
        lines += ["", problem.NOT_FITTED]
    failed = answers.failed_cells(result)
    if failed:
        lines += ["", "## Failed", ""]
        lines += [f"- {plain(name)}: {plain(error)}" for name, error in failed]
    lines += ["", "## How to read this", ""]
    lines += [f"- **{term}:** {meaning}" for term, meaning in words.HOW_TO_READ.items()]
    found = answers.guarantees(result)
    lines += [f"- **{plain(name)}:** {words.guarantee_meaning(name)}" for name in found]
    return "\n".join(lines) + "\n"


def _who_proves_most(result: RunResult) -> list[str]:
    """The section that says over which r each cell leads; nothing where nothing is proved."""
    heads = ("threat", *front.LEADER_COLUMNS)
    rows = [
        [plain(text) for text in (threat, *row)]
        for threat in result.threats
        for row in front.leader_rows(front.front(result, threat))
    ]
    section = ["", f"## {words.WHO_PROVES_MOST}", "", words.FROM_THE_CURVES, ""]
    return [*section, *_markdown(heads, rows, texts=3)] if rows else []


def costs(result: RunResult) -> list[answers.Cost]:
    """What each cell that finished cost."""
    return [cost for cost in answers.costs(result) if not cost.failed]


def _bold_best(answer: ThreatAnswer, row: Row) -> list[str]:
    """The row's cells as Markdown, the best certified accuracies in bold."""
    texts = [plain(text) for text in cells(answer, row)]
    for i, r in enumerate(answer.r):
        if answer.is_best(row, r):
            texts[3 + i] = f"**{texts[3 + i]}**"
    return texts


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 2) -> list[str]:
    right = ["---" if i < texts else "---:" for i in range(len(heads))]
    return [f"| {' | '.join(row)} |" for row in (heads, right, *rows)]


def plain(text: str) -> str:
    """Text that Markdown shows as it is: in a table, and without any markup of its own."""
    escaped = words.one_line(text)
    for character in "\\`*_[]<>|#":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
