"""How numbers and guarantees are put into words; the same in every output."""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Container, Sequence

from harness.certificates import Kind
from harness.results.schema import NOT_COVERED
from harness.threats import Threat

NOTHING = "–"
"""Stands where there is no number."""

WHO_PROVES_MOST = "Who proves most, by r"
FROM_THE_CURVES = (
    "Every r at which a certificate reaches the highest certified accuracy of all, with the "
    "accuracy at the first and at the last of them. Only proofs about single examples are ranked: "
    "neither expected accuracy nor estimates."
)
OVER_SEEDS = "On average over the seeds"
SEEDS_APART = (
    "Each seed's certificate holds by itself: a mean over seeds is a summary, not a certificate."
)
IN_BRACKETS = "Numbers and curves are means over the seeds, with the lowest and the highest."
"""What a report says once whose cells were run with several seeds."""

EXPECTED_ACCURACY = "Expected accuracy, on average over training and not about single examples"
"""How the line begins that says what is proved about it."""
COLLECTIVE_ACCURACY = "Collective accuracy, of the whole test set after one attack"
"""The same of collective certificates."""

HOW_TO_READ = {
    "Certified accuracy at r": "the fraction of test examples that are predicted rightly, and stay "
    "so whatever r poisoned training examples the attacker chooses.",
    "Expected accuracy": "where the guarantee says so, certified accuracy at r bounds instead the "
    "accuracy that the defense has on average over its own randomness, as differential privacy "
    "does. It says nothing about any one example: the attacker may choose which are lost. So it "
    "has a line of its own, and is never ranked with proofs about single examples. Its median and "
    "largest r are the last at which the bound on that average is at least one half, and above 0 "
    "by however little; no example has such a radius.",
    "r": "how often the attacker may do what the threat allows. The threats are different "
    "attackers: numbers are compared within one threat, not across.",
    "Median radius": "the largest r with a certified accuracy of at least one half. The largest "
    "radius is the last r at which anything is proved.",
    "A lower bound": "a certificate says what no attack can do. A low value does not show that an "
    "attack succeeds, only that this certificate cannot exclude it.",
    "Not covered": "the certificate says nothing about this attacker, so there is no number, not "
    "even 0.",
    "Rounding": "percentages are rounded down, so that none claims more than was proved.",
}
"""Terms and what they mean, for the end of a report."""

_COLLECTIVE = {
    "Collective accuracy": "where the guarantee says so, certified accuracy at r bounds the "
    "accuracy on the whole test set after one attack of r poisonings, where elsewhere each test "
    "example is given an attack of its own. It does not say which examples stay right, so it is "
    "never ranked with proofs about single examples. It is computed at some r; in between, what "
    "holds farther out holds as well."
}
"""What reports say in addition that have such certificates."""

_GUARANTEES = {
    "deterministic": "holds without exception; nothing in it was sampled.",
    "probabilistic": "rests on sampled base models: with probability at most alpha one of the "
    "bounds on their votes is wrong, for all test examples and threats of that defense at once "
    "where it says per defense, for each test example on its own where it says per example. Every "
    "such defense of a report spends an alpha of its own.",
    "estimate": "a measured average was put where the theorem asks for the true one, or poisonings "
    "are counted as a publication counts them and its theorem does not. It proves nothing at a "
    "stated confidence, so it is never ranked best.",
    NOT_COVERED: "the certificate says nothing about this attacker.",
}


def how_to_read(kinds: Container[str]) -> dict[str, str]:
    """Terms and what they mean, for a report with certificates of those ``kinds``."""
    return HOW_TO_READ | (_COLLECTIVE if Kind.COLLECTIVE in kinds else {})


def percent(value: float, digits: int = 2) -> str:
    """A fraction in [0, 1] as a percentage, rounded down; NOTHING for NaN.

    >>> percent(0.99999), percent(0.985), percent(0.00001), percent(0.0), percent(1.0)
    ('99.99%', '98.50%', '<0.01%', '0', '100%')
    """
    if math.isnan(value):
        return NOTHING
    scale = 10**digits
    units = math.floor(value * 100 * scale + 1e-6)  # 0.985 * 10000 is a hair below 9850
    if units <= 0:
        return f"<{1 / scale:.{digits}f}%" if value > 0 else "0"
    return "100%" if units == 100 * scale else f"{units / scale:.{digits}f}%"


def seconds(value: float) -> str:
    """A duration, in a unit that keeps it short; NOTHING for NaN.

    >>> seconds(0.0), seconds(0.0002), seconds(0.042), seconds(3.14159), seconds(1234.5)
    ('0 s', '<1 ms', '42 ms', '3.1 s', '1,234 s')
    """
    if math.isnan(value):
        return NOTHING
    if value <= 0:
        return "0 s"
    if value < 0.001:
        return "<1 ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 99.95 else f"{value:,.0f} s"


def radius(value: float) -> str:
    """A certified poisoning size; NOTHING for NaN, "none" below 0 (not even r = 0 is proved).

    A mean is rounded down, as percentages are.
    """
    if math.isnan(value):
        return NOTHING
    return "none" if value < 0 else f"{math.floor(value + 1e-6):,}"


def count(value: float) -> str:
    """A number of things; NOTHING for NaN."""
    return NOTHING if math.isnan(value) else f"{value:,.0f}"


def megabytes(value: float) -> str:
    """An amount of memory in MB; NOTHING for NaN."""
    return NOTHING if math.isnan(value) else f"{value:,.0f} MB"


def ranged(form: Callable[[float], str], mean: float, lowest: float, highest: float) -> str:
    """A mean over seeds as ``form`` writes it, with the lowest and the highest if they differ.

    >>> ranged(percent, 0.991, 0.989, 0.993), ranged(seconds, 2.0, 2.0, 2.01)
    ('99.10% (98.90–99.30%)', '2.0 s')
    """
    low, high = form(lowest), form(highest)
    if low == high:
        return form(mean)
    unit = re.search(r"\D*$", high)
    assert unit is not None
    return f"{form(mean)} ({low.removesuffix(unit[0])}–{high})"


def bracketed(name: str, *remarks: str) -> str:
    """
    >>> bracketed("dp", "estimate", ""), bracketed("dp", "")
    ('dp (estimate)', 'dp')
    """
    said = ", ".join(remark for remark in remarks if remark)
    return f"{name} ({said})" if said else name


def threat_meaning(threat: str) -> str:
    """What that attacker may do r times; empty for a name that is no threat."""
    return Threat(threat).meaning if threat in {t.value for t in Threat} else ""


def not_pointwise(kind: str) -> list[str]:
    """The kind of a certificate in words, where it is not about single examples.

    >>> not_pointwise("expected-accuracy"), not_pointwise("pointwise"), not_pointwise("")
    (['expected accuracy'], [], [])
    """
    return [kind.replace("-", " ")] if kind not in ("", Kind.POINTWISE) else []


def a(noun: str) -> str:
    """
    >>> a("expected accuracy"), a("collective accuracy")
    ('an expected accuracy', 'a collective accuracy')
    """
    return f"{'an' if noun[:1] in tuple('aeiou') else 'a'} {noun}"


def guarantee_kind(guarantee: str) -> str:
    """``deterministic``, ``probabilistic``, ``estimate`` or ``not covered``."""
    return guarantee.split(" (")[0]


def guarantee_meaning(guarantee: str) -> str:
    """What a guarantee, as the summary spells it, means in plain words."""
    return _GUARANTEES.get(guarantee_kind(guarantee), "")


def one_line(text: str) -> str:
    """Text without line breaks or control characters, which no picture or table can hold."""
    kept = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in str(text))
    return " ".join(kept.split())


def command(words: Sequence[object]) -> str:
    """The command of a manifest in a line: as a shell takes it, or a call in Python as it is.

    >>> command(["harness", "run", "-d", "dp[k=2]"]), command(["python", "harness.run(['dp'])"])
    ("harness run -d 'dp[k=2]'", "harness.run(['dp'])")
    """
    texts = [str(word) for word in words]
    return texts[1] if in_python(texts) else shlex.join(texts)


def in_python(words: Sequence[object]) -> bool:
    """Whether the command of a manifest is a call in Python."""
    return len(words) == 2 and words[0] == "python"


def listing(items: Sequence[str], last: str = "and") -> str:
    """
    >>> listing(["a"]), listing(["a", "b"]), listing(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def some(items: Sequence[str], most: int = 3) -> str:
    """The first ``most`` of the items, and how many more there are.

    >>> some(["a", "b", "c"]), some(["a", "b", "c", "d", "e"])
    ('a, b and c', 'a, b, c and 2 more')
    """
    rest = len(items) - most
    return listing([*items[:most], f"{rest} more"] if rest > 0 else items)


_SEPARATORS = (" ", ",", "[(:/.")
"""Where a line is broken: after the first of these if it can be, else after the next."""


_COUNT, _HELD = re.compile(r"(?<=\d) (?=of|seeds?\b)|(?<=of) (?=\d)"), "\N{NO-BREAK SPACE}"
"""A number of seeds, such as "2 of 3 seeds", stays on one line; one_line leaves no such space."""


def wrap_label(label: str, width: int) -> str:
    """Text in lines of at most ``width`` characters, at least 1, broken between words.

    A word that is longer than a line, such as a cell's label, is broken after a comma; what is
    still too long, inside a name.
    """
    lines = [""]
    _fill(lines, _COUNT.sub(_HELD, one_line(label)), width, 0)
    return "\n".join(line.strip() for line in lines if line.strip()).replace(_HELD, " ")


def _fill(lines: list[str], text: str, width: int, level: int) -> None:
    """Adds the text to the last line, or to new ones where that is full."""
    for piece in _pieces(text, level):
        if len(lines[-1]) + len(piece.rstrip()) <= width:
            lines[-1] += piece
        elif len(piece.rstrip()) <= width:
            lines.append(piece)
        else:
            _fill(lines, piece, width, level + 1)


def _pieces(text: str, level: int) -> list[str]:
    """The text cut after each separator of that level; beyond the last, after each character."""
    if level == len(_SEPARATORS):
        return list(text)
    pieces = [""]
    for character in text:
        pieces[-1] += character
        if character in _SEPARATORS[level]:
            pieces.append("")
    return pieces
