"""Tables of what a run found: Markdown for a file, a compact one for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.report import answers, front, words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from harness.report.answers import Row, ThreatAnswer
    from harness.report.load import RunResult


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
    return [row.name, row.guarantee, words.percent(row.clean_accuracy), *at, *radii]


COST_COLUMNS = ("defense", "models", "training", "predicting", "certifying", "peak memory")


def cost_cells(cost: answers.Cost) -> list[str]:
    """A row of the cost table, as COST_COLUMNS head it."""
    models = words.NOTHING if cost.n_models != cost.n_models else f"{cost.n_models:,.0f}"
    seconds = [words.seconds(s) for s in (cost.train, cost.predict, cost.certify)]
    return [cost.name, models, *seconds, words.megabytes(cost.peak_rss_mb)]


def summary_markdown(result: RunResult) -> str:
    """``summary.md``: what was run, a table for each threat, cost, failures, how to read it."""
    lines = [f"# {_plain(title(result))}", "", _plain(setting(result)) + "."]
    for answer in answers.threat_answers(result):
        lines += ["", f"## Threat: {_plain(answer.threat)}", ""]
        meaning = words.threat_meaning(answer.threat)
        if meaning:
            lines += [f"The attacker may, r times, {meaning}.", ""]
        lines += [_plain(answers.headline(answer)), ""]
        if answer.rows:
            lines += _markdown(columns(answer), (_bold_best(answer, row) for row in answer.rows))
        lines += [f"\nNot run: {_plain(words.listing(answer.not_run))}."] if answer.not_run else []
    lines += _who_proves_most(result)
    lines += ["", "## Cost", ""]
    lines += _markdown(COST_COLUMNS, (list(map(_plain, cost_cells(c))) for c in costs(result)))
    failed = answers.failed_cells(result)
    if failed:
        lines += ["", "## Failed", ""]
        lines += [f"- {_plain(name)}: {_plain(error)}" for name, error in failed]
    lines += ["", "## How to read this", ""]
    lines += [f"- **{term}:** {meaning}" for term, meaning in words.HOW_TO_READ.items()]
    found = answers.guarantees(result)
    lines += [f"- **{_plain(name)}:** {words.guarantee_meaning(name)}" for name in found]
    return "\n".join(lines) + "\n"


def _who_proves_most(result: RunResult) -> list[str]:
    """The section that says over which r each cell leads; nothing where nothing is proved."""
    heads = ("threat", *front.LEADER_COLUMNS)
    rows = [
        [_plain(text) for text in (threat, *row)]
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
    texts = [_plain(text) for text in cells(answer, row)]
    for i, r in enumerate(answer.r):
        if answer.is_best(row, r):
            texts[3 + i] = f"**{texts[3 + i]}**"
    return texts


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 2) -> list[str]:
    right = ["---" if i < texts else "---:" for i in range(len(heads))]
    return [f"| {' | '.join(row)} |" for row in (heads, right, *rows)]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: in a table, and without any markup of its own."""
    escaped = words.one_line(text)
    for character in "\\`*_[]<>|#":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped


def summary_table(result: RunResult) -> RenderableType:
    """The tables for the terminal, one for each threat, in 80 columns: the best in bold."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for answer in answers.threat_answers(result):
        meaning = words.threat_meaning(answer.threat)
        parts.append(Text(f"\n{answer.threat}: {meaning}, r times", style="bold"))
        if answer.covered:
            parts.append(_terminal(answer))
        if answer.not_covered:
            parts.append(Text(f"not covered: {words.listing(answer.not_covered)}"))
        parts.append(Text(answers.headline(answer)))
    return Group(*parts, Text())


def _terminal(answer: ThreatAnswer) -> Table:
    """Certified accuracies in percent, to one decimal, which is what fits."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("certified %", overflow="fold")
    at = [f"r={r}" if r == answer.r[0] else str(r) for r in answer.r]
    for head in ("clean", *at, "median r", "largest"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in answer.covered:
        name = row.name if row.proven else f"{row.name} (estimate)"
        values = [Text(words.percent(row.at[r], 1).rstrip("%")) for r in answer.r]
        for r, value in zip(answer.r, values, strict=True):
            value.stylize("bold" if answer.is_best(row, r) else "")
        radii = [words.radius(row.median_radius), words.radius(row.max_radius)]
        clean = words.percent(row.clean_accuracy, 1).rstrip("%")
        table.add_row(Text(name), clean, *values, *radii)
    return table
