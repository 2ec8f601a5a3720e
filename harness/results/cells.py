"""The nouns of a run: its cells, the plan that they make, and what became of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.defense import Shape

if TYPE_CHECKING:
    from harness.certificates import Certificate
    from harness.datasets.base import Dataset
    from harness.defense import Defense
    from harness.proofs.curves import Curve
    from harness.threats import Threat


@dataclass(frozen=True)
class Cell:
    """One defense with its parameters, on the run's data set, with a seed and an alpha.

    ``label`` names it in the run; cells that differ in nothing but the seed are of one ``group``.
    ``key`` names its evidence, ``blocks_key`` its blocks, which cells with more or fewer base
    models share, ``code`` its code. ``defense`` is None where its plugin could not be loaded;
    ``error`` says why.
    """

    label: str
    name: str
    distribution: str
    defense: Defense[Any] | None
    key: str
    blocks_key: str = ""
    seed: int = 0
    alpha: float = 0.001
    group: str = ""
    error: str | None = None
    code: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.label)

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"{self.name}-{self.key}"

    @property
    def blocks_stem(self) -> str:
        """What its blocks are kept under."""
        return f"{self.name}-{self.blocks_key or self.key}"


@dataclass(frozen=True)
class Plan:
    """The cells of a run and what they have in common.

    ``seed`` and ``alpha`` are the run's first ones, which labels do not mention.
    """

    dataset: Dataset
    seed: int
    threats: tuple[Threat, ...]
    alpha: float
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...] = ()
    """Defenses of a suite that this data set does not suit, and why."""
    token: str = ""
    """What stands in the keys for whatever cannot be read: this plan's own."""
    suite: str | None = None
    """The name of the suite that the cells come from."""

    @cached_property
    def shape(self) -> Shape:
        """The sizes that defenses plan with."""
        return shape_of(self.dataset)

    def identity(self) -> dict[str, Any]:
        """What the run is called after; a folder may be widened by what another plan asks for."""
        return {
            "dataset": self.dataset.name,
            "digest": self.dataset.digest,
            "seed": self.seed,
            "alpha": self.alpha,
            "cells": sorted(cell.label for cell in self.cells),
        }

    def digest(self) -> str:
        """Eight hexadecimal digits for :meth:`identity`."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def folder_name(self) -> str:
        """The name of the folder that the run gets unless another is given."""
        return f"{file_name(self.dataset.name)}-{self.digest()}"


def file_name(dataset: str) -> str:
    """What a folder of results on that data set is called.

    >>> file_name("mnist17"), file_name("npz:some where/my data.npz")
    ('mnist17', 'npz-my-data')
    """
    source, _, argument = dataset.partition(":")
    texts = (source, Path(argument).stem)
    return "-".join(filter(None, (re.sub(r"[^A-Za-z0-9_-]+", "-", t).strip("-") for t in texts)))


def shape_of(dataset: Dataset) -> Shape:
    """The sizes of a data set."""
    return Shape(
        dataset.n_train,
        dataset.n_test,
        dataset.n_labels,
        tuple(dataset.x_train.shape[1:]),
        dataset.domain.n_public,
    )


@dataclass(frozen=True)
class Proved:
    """One certificate of a cell under one threat, and its curve; both None if not covered."""

    threat: Threat
    certificate: Certificate | None
    curve: Curve | None
    seconds: float


@dataclass(frozen=True)
class CellResult:
    """What became of a cell."""

    cell: Cell
    proved: tuple[Proved, ...] = ()
    n_models: int = 0
    train_s: float = 0.0
    predict_s: float = 0.0
    peak_rss_mb: float = 0.0
    calibration_s: float | None = None
    """What :mod:`harness.running.calibration` measured beside it; None for older evidence."""
    machine: str | None = None
    """The kind of machine that trained it; None where that is not known or blocks differ."""
    unfitted: Mapping[str, int] = field(default_factory=dict)
    """How many base models were not fitted as intended, by reason."""
    features: Mapping[str, float] = field(default_factory=dict)
    """Seconds that features took which it shares with other cells, by their name; not in train_s"""
    trusted: Mapping[str, str] = field(default_factory=dict)
    """What is trusted beyond the clean training set, by the features that ask for it."""
    error: str | None = None

    @property
    def certify_s(self) -> float:
        """Seconds to certify, under all threats."""
        return sum(one.seconds for one in self.proved)
