"""What a report says of the problem itself: which examples there can be, and who answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report import words
from harness.results.reader import RunResult

NOT_FITTED = (
    "A base model whose examples have one label alone predicts that one; one that has none, or "
    "that its examples keep from being fitted or from predicting, predicts the first label of the "
    "domain. All of them count as votes."
)
"""What such base models do: said once, below their numbers."""

UNLABELLED = "certified predictions, right or wrong"
"""What stands where the true labels are not known, in place of certified accuracy."""

_ASSUMED = {
    "label_set": "the labels are those of training and test set together",
    "range": "the values are all that their type holds",
    "n_public": "n_public is the size of this training set",
}


def unlabelled(result: RunResult) -> str:
    """What the numbers are about where the true labels are not known; empty where they are."""
    if result.labelled:
        return ""
    return (
        "The true labels are not known. Wherever certified accuracy is spoken of, it is the share "
        "of test examples whose prediction is certified at r, right or wrong: a certificate of a "
        "wrong prediction counts as well."
    )


def domain(result: RunResult) -> str:
    """The domain that the attacker writes examples of, and what of it nobody declared.

    Empty where the manifest does not tell.
    """
    found = result.manifest["dataset"].get("domain")
    if not isinstance(found, Mapping):
        return ""
    text = f"The attacker writes examples of the data set's domain: {found.get('text', '')}."
    assumed = [_ASSUMED[name] for name in found.get("assumed", []) if name in _ASSUMED]
    return f"{text} Not declared: {words.listing(assumed)}." if assumed else text


def trusted(result: RunResult) -> list[tuple[str, str]]:
    """What certificates trust beyond the clean training set: which features, and what."""
    found: dict[str, str] = {}
    for cell in result.by_seed.cells:
        found.update(cell.get("trusted") or {})
    return sorted((f"features {name}", text) for name, text in found.items())


def not_fitted(result: RunResult) -> list[tuple[str, str]]:
    """For each cell with such base models, each seed for itself: its label, how many, and why."""
    rows = []
    for cell in result.by_seed.cells:
        reasons: Mapping[str, Any] = cell.get("unfitted") or {}
        if reasons:
            counts = [f"{why} ({int(models):,})" for why, models in reasons.items()]
            of = f"{sum(map(int, reasons.values())):,} of {int(cell['n_models']):,} base models"
            rows.append((str(cell["label"]), f"{of}: {'; '.join(counts)}"))
    return rows
