"""Evidence of base models that somebody else trained: all of it told, nothing assumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.defense import Arrays, Defense, Evidence
from harness.errors import DataError, UsageError, unknown
from harness.foreign.votes import ForeignEvidence
from harness.plugins.registry import Registry
from harness.plugins.selection import Selection, label
from harness.results.cells import Cell

_MOST_LABELS = 100_000


@dataclass(frozen=True)
class Choice:
    """A defense that can work from other people's models, and what was said of its parameters."""

    name: str
    distribution: str
    defense: type[Defense[Any]]
    given: Mapping[str, str]

    @property
    def told(self) -> set[str]:
        """The names that the defense's ``certify`` reads."""
        return {*self.defense.needs, *self.defense.takes}


@dataclass(frozen=True)
class Case:
    """A defense and the evidence that it is to certify, complete and checked."""

    cell: Cell
    defense: Defense[Any]
    evidence: Evidence
    labels: NDArray[np.int64] | None
    n_test: int
    n_models: int
    """N, the number of base models that voted."""
    file: Path
    stated: frozenset[str]
    """The parameters that were told or that ``certify`` reads; the others describe no one."""
    ignored: tuple[str, ...]
    """Arrays of the file that this defense's ``certify`` does not read."""


def choose(registry: Registry, text: str, settings: Sequence[str]) -> Choice:
    """The defense ``NAME`` or ``NAME[key=value]`` with further ``key=value``.

    Raises UsageError for an unknown name, a malformed or unknown setting, and for a defense that
    cannot work from other people's models.
    """
    selection = Selection.parse(text)
    if selection.settings:
        key, value = selection.settings[0]
        raise UsageError(f"{text!r}: @{key}={value} is for cells that are trained; leave it away")
    entry = registry.defenses[selection.name]
    needs, takes, fields = entry.value.needs, entry.value.takes, entry.value.Params.model_fields
    if not needs:
        able = [name for name, e in registry.defenses.entries.items() if e.value.needs]
        raise UsageError(
            f"{selection.name} cannot work from votes that somebody else trained; "
            f"these can: {', '.join(able)}"
        )
    given = dict(selection.parameters)
    for setting in settings:
        key, equals, value = (piece.strip() for piece in setting.partition("="))
        if not (key and equals and value):
            raise UsageError(f"{setting!r} is not of the form key=value")
        if key in given:
            raise UsageError(f"{key} is given twice")
        given[key] = value
    for key in given:
        if not any(key in known for known in (fields, needs, takes)):
            raise unknown(f"parameter of {selection.name}", key, {**fields, **takes})
        if key == "n_train":
            raise UsageError("n_train is given with --n-train")
    return Choice(selection.name, entry.distribution, entry.value, given)


def settle(
    choice: Choice,
    found: ForeignEvidence,
    file: Path,
    *,
    n_train: int | None,
    n_labels: int | None,
) -> Case:
    """Puts the defense and its evidence together; ``file`` is where ``found`` was read.

    Raises UsageError, DataError for what is missing or does not fit together.
    """
    if n_train is not None and n_train < 1:
        raise UsageError(f"n-train must be at least 1, found {n_train}")
    fields = choice.defense.Params.model_fields
    given = {**_told(choice, found, file), **choice.given}
    c, models = _labels(found, n_labels, file), _models(found)
    _agree(found, c, file)
    read = {name: array for name, array in found.arrays.items() if name in choice.told}
    arrays = {**read, **_numbers(choice, given)}
    if "votes" in choice.told and "votes" not in arrays:
        arrays["votes"] = _counted(found.arrays["predictions"], c)
    for name, meaning in choice.defense.needs.items():
        if name == "n_train" and n_train is None:
            raise UsageError(f"{choice.name} needs --n-train: {meaning}")
        if name != "n_train" and name not in given and name not in arrays:
            raise _lacking(choice, name, meaning, found, file)
    if "n_models" in fields:
        given.setdefault("n_models", str(models))
        if given["n_models"] != str(models):
            raise DataError(f"{file} holds {models} base models, not n_models={given['n_models']}")
    parameters = tuple((key, value) for key, value in given.items() if key in fields)
    defense = Selection(choice.name, parameters).build(choice.defense)
    evidence = Evidence(arrays, n_train or 0, c, int(arrays.get("dimension", 0)))
    named = label(choice.name, defense.params)
    told = {name: array for name, array in arrays.items() if name not in fields}
    key = _digest(told, found.labels, n_train)
    cell = Cell(named, choice.name, choice.distribution, defense, key)
    stated = frozenset(given) & fields.keys() | choice.defense.Params.certify_only()
    ignored = tuple(sorted(found.arrays.keys() - choice.told - {"votes", "predictions"}))
    return Case(cell, defense, evidence, found.labels, found.n_test, models, file, stated, ignored)


def _told(choice: Choice, found: ForeignEvidence, file: Path) -> dict[str, str]:
    """The parameters of the training that the file itself holds, each one number."""
    told = {}
    for name in choice.told & choice.defense.Params.model_fields.keys() & found.arrays.keys():
        array = found.arrays[name]
        if array.size != 1:
            raise DataError(f"{file}: {name} must be one number, found shape {array.shape}")
        told[name] = str(array.item())
    for name in choice.given.keys() & told.keys():
        if not _same_number(choice.given[name], told[name]):
            raise DataError(f"{file} holds {name}={told[name]}, not {choice.given[name]}")
    return told


def _same_number(text: str, other: str) -> bool:
    try:
        return float(text) == float(other)
    except ValueError:
        return False


def _agree(found: ForeignEvidence, c: int, file: Path) -> None:
    """Raises DataError where a file holds votes that are not those of its predictions."""
    if not {"votes", "predictions"} <= found.arrays.keys():
        return
    votes, counted = found.arrays["votes"], _counted(found.arrays["predictions"], c)
    for i in np.flatnonzero((votes != counted).any(axis=1)):
        raise DataError(
            f"{file}: votes and predictions disagree: test example {i} has votes {votes[i]}, "
            f"and its predictions make {counted[i]}"
        )


def _numbers(choice: Choice, given: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """What was given instead of an array of the file; a parameter may be one as well."""
    numbers = {}
    for key, value in given.items():
        try:
            number = np.array(float(value))
        except ValueError:
            if key in choice.defense.Params.model_fields:
                continue
            number = np.array(np.nan)
        if not np.isfinite(number):
            raise UsageError(f"{choice.name}: {key}={value} is not a number")
        if key in choice.told:
            numbers[key] = number
    return numbers


def _counted(predictions: NDArray[np.int64], c: int) -> NDArray[np.int64]:
    """Votes (e, c) from the predictions (m, e) of the base models."""
    return np.stack([np.count_nonzero(predictions == j, axis=0) for j in range(c)], axis=1)


def _lacking(
    choice: Choice, name: str, meaning: str, found: ForeignEvidence, file: Path
) -> UsageError | DataError:
    if name in choice.defense.Params.model_fields:
        return UsageError(f"{choice.name} needs --set {name}=...: {meaning}")
    held = [*found.arrays, *(["labels"] if found.labels is not None else [])]
    return DataError(
        f"{file} holds no {name}, which {choice.name} needs: {meaning}; "
        f"found {', '.join(held) or 'nothing'}"
    )


def _labels(found: ForeignEvidence, n_labels: int | None, file: Path) -> int:
    """c, the number of labels: as the votes have, as was said, or those that occur."""
    if n_labels is not None and n_labels < 2:
        raise UsageError(f"n-labels must be at least 2, found {n_labels}")
    named = {"predictions": found.arrays.get("predictions"), "labels": found.labels}
    highest = {name: int(labels.max()) for name, labels in named.items() if labels is not None}
    if "votes" in found.arrays:
        c = int(found.arrays["votes"].shape[1])
        if n_labels not in (None, c):
            raise UsageError(f"n-labels must be {c}, as the votes have, found {n_labels}")
    else:
        c = n_labels or max(1, *highest.values()) + 1
    for name, label_ in highest.items():
        if label_ >= min(c, _MOST_LABELS):
            raise DataError(
                f"{file}: {name} must be 0 to {min(c, _MOST_LABELS) - 1}, found {label_}"
            )
    return c


def _models(found: ForeignEvidence) -> int:
    """N, the number of base models; votes or predictions are always there."""
    if "votes" in found.arrays:
        return int(found.arrays["votes"][0].sum())
    return len(found.arrays["predictions"])


def _digest(arrays: Arrays, labels: NDArray[np.int64] | None, n_train: int | None) -> str:
    content = hashlib.sha256(str(n_train).encode())
    for name, array in sorted({**arrays, **({} if labels is None else {"labels": labels})}.items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()
