"""Tables of what a run found, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.report import answers, front, problem, reached_tables, words
from harness.report.costs import Cost, costs, features, together
from harness.report.reached import attacks
from harness.results.seeds import over_seeds

if TYPE_CHECKING:
    from harness.report.answers import Row, ThreatAnswer
    from harness.report.reached import Attacks
    from harness.results.reader import RunResult


def title(result: RunResult) -> str:
    """What the report is about, in a line."""
    return f"Certified defenses on {result.manifest['dataset'].get('name', 'a data set')}"


def setting(result: RunResult) -> str:
    """What was run, in a sentence."""
    data, manifest = result.manifest["dataset"], result.manifest
    n_train = data.get("n_train", 0)  # None where nobody had to tell
    parts = [
        (f"{n_train:,} training and " if n_train is not None else "")
        + f"{data.get('n_test', 0):,} test examples",
        f"{len(data.get('label_names', []))} labels",
    ]
    for key in ("alpha", "seed"):
        found = values(result.by_seed.cells, manifest, key)
        text = words.listing([f"{value:g}" for value in found])
        parts += [f"{key}{'s' * (len(found) > 1)} {text}"] if found else []
    return ", ".join(parts)


def values(cells: Iterable[Mapping[str, Any]], manifest: Mapping[str, Any], key: str) -> list[Any]:
    """The values of ``seed`` or ``alpha`` in a run: its cells', else the one that it names."""
    found = dict.fromkeys(cell[key] for cell in cells if cell.get(key) is not None)
    named = [] if manifest.get(key) is None else [manifest[key]]
    return list(found) or named


def columns(answer: ThreatAnswer) -> list[str]:
    """The headings of a threat's table."""
    at = [f"r = {r:,}" for r in answer.r]
    return ["defense", "guarantee", "clean", *at, "median r", "largest r"]


def cells(answer: ThreatAnswer, row: Row) -> list[str]:
    """A row of a threat's table, as :func:`columns` heads it.

    A mean over seeds is followed by the lowest and the highest, in brackets.
    """
    name = words.bracketed(row.name, row.seeds)
    if not row.covered:
        return [name, row.guarantee, *[words.NOTHING] * (len(answer.r) + 3)]

    def shown(form: Callable[[float], str], what: Callable[[Row], float]) -> str:
        return words.ranged(form, what(row), what(row.lowest), what(row.highest))

    return [
        name,
        ", ".join([row.guarantee, *words.not_pointwise(row.kind)]),
        shown(words.percent, lambda one: one.clean_accuracy),
        *(shown(words.percent, lambda one, r=r: one.at[r]) for r in answer.r),  # type: ignore[misc]
        shown(words.radius, lambda one: one.median_radius),
        shown(words.radius, lambda one: one.max_radius),
    ]


COST_COLUMNS = ("defense", "models", "training", "predicting", "certifying", "peak memory")


def cost_cells(cost: Cost) -> list[str]:
    """A row of the cost table, as COST_COLUMNS head it; several seeds as :func:`cells` has them."""

    def shown(form: Callable[[float], str], what: str) -> str:
        every = [getattr(one, what) for one in (cost, cost.lowest, cost.highest)]
        return words.ranged(form, *every)

    return [
        words.bracketed(cost.name, cost.seeds),
        shown(words.count, "n_models"),
        *(shown(words.seconds, phase) for phase in ("train", "predict", "certify")),
        shown(words.megabytes, "peak_rss_mb"),
    ]


def cost_rows(result: RunResult) -> list[list[str]]:
    """The cost table, as COST_COLUMNS head it: the cells that finished, then shared features."""
    rows = [cost_cells(cost) for cost in costs(result) if not cost.failed]
    nothing = words.NOTHING
    return rows + [
        [one.said, nothing, words.seconds(one.seconds), nothing, nothing, nothing]
        for one in features(result)
    ]


def summary_markdown(result: RunResult) -> str:
    """``summary.md``: what was run, a table for each threat, cost, failures, how to read it."""
    result = over_seeds(result)
    attacked = attacks(result)
    alarm = reached_tables.banner(attacked)
    lines = [f"> **{plain(alarm)}**", ""] if alarm else []
    lines += [f"# {plain(title(result))}", "", plain(setting(result)) + "."]
    lines += ["", seeds_note(result)] if seeds_note(result) else []
    about = [text for text in (problem.unlabelled(result), problem.domain(result)) if text]
    lines += [line for text in about for line in ("", plain(text))]
    for name, text in problem.trusted(result):
        lines += ["", f"Trusted: {plain(text)} ({plain(name)})."]
    for answer in answers.threat_answers(result):
        lines += ["", f"## Threat: {plain(answer.threat)}", ""]
        meaning = words.threat_meaning(answer.threat)
        if meaning:
            lines += [f"The attacker may, r times, {meaning}.", ""]
        lines += [line for text in answers.statements(answer) for line in (plain(text), "")]
        if answer.rows:
            lines += _markdown(columns(answer), (_bold_best(answer, row) for row in answer.rows))
        lines += [f"\nNot run: {plain(words.listing(answer.not_run))}."] if answer.not_run else []
    lines += _who_proves_most(result)
    lines += _proved_and_reached(attacked) if attacked else []
    lines += ["", "## Cost", ""]
    lines += _markdown(COST_COLUMNS, (list(map(plain, row)) for row in cost_rows(result)))
    lines += ["", plain(together(result))] if together(result) else []
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
    lines += [
        f"- **{term}:** {meaning}"
        for term, meaning in words.how_to_read(set(result.summary["kind"])).items()
    ]
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


def _proved_and_reached(found: Attacks) -> list[str]:
    """The section that says what attacks did."""
    lines = ["", f"## {reached_tables.TITLE}"]
    lines += ["", *(f"- **REFUTED** {plain(text)}" for text in reached_tables.refuted(found))]
    for about, heads, rows in (
        (reached_tables.WHAT_IT_IS, reached_tables.COLUMNS, reached_tables.rows(found)),
        (reached_tables.JOINT_IS, reached_tables.JOINT_COLUMNS, reached_tables.joint_rows(found)),
    ):
        if rows:
            texts = [list(map(plain, row)) for row in rows]
            lines += [*[""] * bool(lines[-1]), about, "", *_markdown(heads, texts)]
    return lines


def seeds_note(result: RunResult) -> str:
    """What the numbers of a run with several seeds are; empty for one seed."""
    averaged = over_seeds(result).spread is not None
    return f"{words.IN_BRACKETS} {words.SEEDS_APART}" if averaged else ""


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
