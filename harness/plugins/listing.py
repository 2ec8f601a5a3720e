"""What is installed, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.plugins.registry import Catalogue, load_registry
from harness.plugins.suites import built_in, load_suite
from harness.threats import Threat

if TYPE_CHECKING:
    from harness.defense import Defense

_ALPHA = 0.001


def list_defenses() -> pd.DataFrame:
    """The installed defenses: ``name, title, threats, guarantee, paper, distribution``.

    Threats and guarantee are those of the default parameters; empty where some are required or the
    plugin fails to say.

    >>> import harness
    >>> "bagging" in set(harness.list_defenses()["name"])
    True
    """
    rows = [
        {
            "name": name,
            "title": entry.value.title,
            **_promises(entry.value),
            "paper": entry.value.paper,
            "distribution": entry.distribution,
        }
        for name, entry in load_registry().defenses.entries.items()
    ]
    columns = ["name", "title", "threats", "guarantee", "paper", "distribution"]
    return pd.DataFrame(rows, columns=columns)


def list_datasets() -> pd.DataFrame:
    """The installed data sets: ``name, summary, distribution``; ``npz:`` takes an argument."""
    rows = [
        (
            f"{name}:" if entry.value.takes_argument else name,
            entry.value.summary,
            entry.distribution,
        )
        for name, entry in load_registry().datasets.entries.items()
    ]
    return pd.DataFrame(rows, columns=["name", "summary", "distribution"])


def list_learners() -> pd.DataFrame:
    """The installed learners: ``name, summary, distribution``."""
    return _summaries(load_registry().learners)


def list_features() -> pd.DataFrame:
    """The installed features: ``name, summary, distribution``."""
    return _summaries(load_registry().features)


def list_attacks() -> pd.DataFrame:
    """The installed attacks: ``name, summary, distribution``. Defenses bring their own."""
    return _summaries(load_registry().attacks)


def list_suites() -> pd.DataFrame:
    """The suites that come with the harness: ``name, summary, dataset, cells``."""
    suites = [load_suite(name) for name in built_in()]
    rows = [(one.name, one.summary, one.dataset, len(one.cells)) for one in suites]
    return pd.DataFrame(rows, columns=["name", "summary", "dataset", "cells"])


def _summaries(catalogue: Catalogue[Any]) -> pd.DataFrame:
    rows = [(n, e.value.summary, e.distribution) for n, e in catalogue.entries.items()]
    return pd.DataFrame(rows, columns=["name", "summary", "distribution"])


def _promises(defense: type[Defense[Any]]) -> dict[str, str]:
    try:
        made = defense(defense.Params())
        threats = ", ".join(t.value for t in Threat if t in made.covers())
        return {"threats": threats, "guarantee": str(made.guarantee(_ALPHA))}
    except Exception:  # of a plugin, or for want of a parameter that it requires
        return {"threats": "", "guarantee": ""}
