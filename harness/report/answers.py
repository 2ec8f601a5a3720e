"""What a run says, before it is put into any form: which defense proves most, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from harness.certificates import Kind
from harness.report import words
from harness.results.reader import RunResult
from harness.results.schema import NOT_COVERED
from harness.results.seeds import SEEDS, over_seeds


@dataclass(frozen=True)
class Row:
    """What one certificate proves under one threat.

    ``label``: the cell's; ``name``: the same, with the certificate if it has several. ``at``:
    certified accuracy in [0, 1] by r. Where the threat is not covered, all numbers are NaN and
    ``kind`` is empty. ``seeds``: how many the numbers are means over, such as "3 seeds"; empty
    where every cell of the run has one. ``spread``: the row with the lowest numbers of any seed,
    and the one with the highest.
    """

    label: str
    certificate: str
    name: str
    guarantee: str
    kind: str
    clean_accuracy: float
    abstained: float
    at: Mapping[int, float]
    median_radius: float
    max_radius: float
    seeds: str = ""
    spread: tuple[Row, Row] | None = None

    @property
    def lowest(self) -> Row:
        return self.spread[0] if self.spread else self

    @property
    def highest(self) -> Row:
        return self.spread[1] if self.spread else self

    @property
    def covered(self) -> bool:
        return self.guarantee != NOT_COVERED

    @property
    def proven(self) -> bool:
        """Whether it is a certificate and not an estimate."""
        return self.covered and words.guarantee_kind(self.guarantee) != "estimate"

    @property
    def ranked(self) -> bool:
        """Whether it is a proof about single examples: only these are ranked."""
        return self.proven and self.kind == Kind.POINTWISE

    @property
    def remark(self) -> str:
        """Why it is not ranked, for a place beside its name; empty where it is."""
        parts = ["estimate"] if self.covered and not self.proven else []
        return ", ".join([*parts, *words.not_pointwise(self.kind)])

    @property
    def marked(self) -> str:
        """Its name with the remark and the number of seeds, where there are any."""
        return words.bracketed(self.name, self.remark, self.seeds)


@dataclass(frozen=True)
class Best:
    """Who proves most at one r: the names that tie, and the certified accuracy that they reach.

    ``names`` is empty where nothing is proved.
    """

    r: int
    names: Sequence[str]
    accuracy: float


@dataclass(frozen=True)
class ThreatAnswer:
    """The answer for one threat: the rows, the r of the summary, and the best at each of them.

    ``best`` is among the proofs about single examples, ``expected`` among those about the expected
    accuracy, ``collective`` among those about the whole test set: one is never ranked with another.
    """

    threat: str
    rows: Sequence[Row]
    r: Sequence[int]
    best: Sequence[Best]
    expected: Sequence[Best]
    collective: Sequence[Best]
    not_run: Sequence[str]
    """Names that other threats have and this one has not: runs that were combined can differ."""

    @property
    def covered(self) -> list[Row]:
        return [row for row in self.rows if row.covered]

    @property
    def alive(self) -> list[int]:
        """The r at which anybody is above 0, for want of room; the smallest r where nobody is."""
        return [r for r in self.r if any(row.at[r] > 0 for row in self.rows)] or list(self.r[:1])

    @property
    def not_covered(self) -> list[str]:
        return [row.name for row in self.rows if not row.covered]

    @property
    def averaged(self) -> bool:
        """Whether its numbers are means over seeds."""
        return any(row.seeds for row in self.rows)

    def is_best(self, row: Row, r: int) -> bool:
        return any(best.r == r and row.name in best.names for best in self.best)


def names(result: RunResult) -> dict[tuple[str, str], str]:
    """What each (defense, certificate) of the summary is called.

    The cell's label, followed by the certificate where one threat has several of that cell.
    """
    keys = result.summary[["defense", "certificate", "threat"]].drop_duplicates()
    counts = Counter(zip(keys["defense"], keys["threat"], strict=True))
    several = {defense for (defense, _), count in counts.items() if count > 1}
    return {
        (defense, certificate): f"{defense}: {certificate}" if defense in several else defense
        for defense, certificate in zip(keys["defense"], keys["certificate"], strict=True)
    }


def threat_answer(result: RunResult, threat: str) -> ThreatAnswer:
    """What the run says about one threat."""
    result = over_seeds(result)
    called = names(result)
    tables = [result.summary, result.lowest.summary, result.highest.summary]
    records = [table[table["threat"] == threat].to_dict("records") for table in tables]
    rows = [_row(every, called, result.r_columns) for every in zip(*records, strict=True)]
    at = result.r_columns
    present = {row.name for row in rows}
    missing = [name for name in dict.fromkeys(called.values()) if name not in present]
    best, expected, collective = (
        [_best([row for row in rows if row.proven and row.kind == kind], r) for r in at]
        for kind in (Kind.POINTWISE, Kind.EXPECTED_ACCURACY, Kind.COLLECTIVE)
    )
    return ThreatAnswer(threat, rows, at, best, expected, collective, missing)


def threat_answers(result: RunResult) -> list[ThreatAnswer]:
    """What the run says about each threat, in the order of the plan."""
    result = over_seeds(result)
    return [threat_answer(result, threat) for threat in result.threats]


def headline(answer: ThreatAnswer) -> str:
    """The answer for one threat in a sentence or two, as plain text: proofs about single examples.

    What else is proved has sentences of its own: :func:`statements`.
    """
    if not answer.covered:
        return "No certificate in this run covers this attacker."
    claims = "; ".join(_claim(who, bests) for who, bests in _groups(answer.best))
    if not claims:
        about = " about single examples" if about_accuracy(answer) else ""
        return f"Nothing is proved{about} against this attacker."
    ranked = (row.highest for row in answer.rows if row.ranked)
    furthest = max(ranked, key=lambda row: row.max_radius)
    end = f"The largest radius of any example is {words.radius(furthest.max_radius)}"
    return f"{_over(answer)}{claims}. {end} ({furthest.name})."


def expected_accuracy(answer: ThreatAnswer) -> str:
    """The most that is proved about it at each r, in a sentence; empty where nothing is.

    Such as: dp proves 91.02% at r = 10 and 3.10% at r = 50.
    """
    return _most(answer, words.EXPECTED_ACCURACY, answer.expected)


def collective_accuracy(answer: ThreatAnswer) -> str:
    """The same of the accuracy on the whole test set after one attack."""
    return _most(answer, words.COLLECTIVE_ACCURACY, answer.collective)


def about_accuracy(answer: ThreatAnswer) -> list[str]:
    """A sentence for each kind of certificate that is about an accuracy and proves something."""
    return [text for text in (expected_accuracy(answer), collective_accuracy(answer)) if text]


def statements(answer: ThreatAnswer) -> list[str]:
    """All that is said about one threat: the headline, and what is proved about accuracies."""
    return [headline(answer), *about_accuracy(answer)]


def _most(answer: ThreatAnswer, about: str, found: Sequence[Best]) -> str:
    claims = []
    for who, bests in _groups(found):
        much = [f"{words.percent(best.accuracy)} at r = {best.r:,}" for best in bests]
        verb = "proves" if len(who) == 1 else "prove"
        claims.append(f"{words.some(who)} {verb} {words.listing(much)}")
    return f"{about}: {_over(answer)}{'; '.join(claims)}." if claims else ""


def _over(answer: ThreatAnswer) -> str:
    """How a claim begins that is about means; empty where it is not."""
    return f"{words.OVER_SEEDS}, " if answer.averaged else ""


def failed_cells(result: RunResult) -> list[tuple[str, str]]:
    """Label and error of each cell that failed, each seed for itself."""
    return [
        (str(cell["label"]), str(cell.get("error") or "no reason was recorded"))
        for cell in result.by_seed.cells
        if cell.get("status") == "failed"
    ]


def guarantees(result: RunResult) -> list[str]:
    """The guarantees that occur in the run, "not covered" last."""
    found = list(dict.fromkeys(result.summary["guarantee"]))
    return sorted(found, key=lambda guarantee: guarantee == NOT_COVERED)


def _row(
    records: Sequence[Mapping[Any, Any]],
    called: Mapping[tuple[str, str], str],
    at: Sequence[int],
) -> Row:
    """The row of a record of the summary, given with the lowest and the highest over seeds."""
    rows = [
        Row(
            label=record["defense"],
            certificate=record["certificate"],
            name=called[record["defense"], record["certificate"]],
            guarantee=record["guarantee"],
            kind=record["kind"],
            clean_accuracy=record["clean_accuracy"],
            abstained=record["abstained"],
            at={r: record[f"certified_accuracy@{r}"] for r in at},
            median_radius=record["median_radius"],
            max_radius=record["max_radius"],
            seeds=record.get(SEEDS, ""),
        )
        for record in records
    ]
    one, low, high = rows
    return replace(one, spread=(low, high)) if one.seeds else one


def _best(rows: Sequence[Row], r: int) -> Best:
    highest = max((row.at[r] for row in rows if row.at[r] > 0), default=0.0)
    return Best(r, [row.name for row in rows if row.at[r] == highest > 0], highest)


def _groups(found: Sequence[Best]) -> list[tuple[Sequence[str], list[Best]]]:
    """Who proves most at which r, neighbours put together; without those r where nobody does."""
    groups = groupby((best for best in found if best.names), key=lambda best: best.names)
    return [(who, list(bests)) for who, bests in groups]


def _claim(who: Sequence[str], bests: Sequence[Best]) -> str:
    """Such as: bagging proves most at r = 10 and 50 (98.90% and 97.61%)."""
    where = words.listing([f"{best.r:,}" for best in bests])
    much = words.listing([words.percent(best.accuracy) for best in bests])
    verb = "proves most" if len(who) == 1 else "prove equally much"
    return f"{words.some(who)} {verb} at r = {where} ({much})"
