"""Certificates from base models that somebody else trained: nothing is trained, nothing assumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import machine
from harness.certificates import PointwiseCertificate
from harness.curves import curve
from harness.defense import Defense, Evidence
from harness.errors import DataError, UsageError, unknown
from harness.plan import Cell
from harness.plugins import Registry
from harness.results import curves_csv
from harness.runner import CellResult, Proved
from harness.selection import Selection, label
from harness.store import SCHEMA, open_run
from harness.threats import Threat
from harness.votes import ForeignEvidence


@dataclass(frozen=True)
class Choice:
    """A defense that can work from other people's models, and what was said of its parameters."""

    name: str
    distribution: str
    defense: type[Defense[Any]]
    given: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """A defense and the evidence that it is to certify, complete and checked."""

    cell: Cell
    defense: Defense[Any]
    evidence: Evidence
    labels: NDArray[np.int64] | None
    n_test: int
    file: Path


@dataclass(frozen=True)
class Certified:
    """What was proved, threat by threat; ``certificate`` and ``curve`` are None if not covered.

    Without labels the curve says for how many test examples r is certified, right or wrong.
    """

    case: Case
    alpha: float
    proved: tuple[Proved, ...]


def choose(registry: Registry, text: str, settings: Sequence[str]) -> Choice:
    """The defense ``NAME`` or ``NAME[key=value]`` with further ``key=value``.

    Raises UsageError for an unknown name, a malformed or unknown setting, and for a defense that
    cannot work from other people's models.
    """
    selection = Selection.parse(text)
    entry = registry.defenses[selection.name]
    needs, fields = entry.value.needs, entry.value.Params.model_fields
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
        if key not in fields and key not in needs:
            raise unknown(f"parameter of {selection.name}", key, fields)
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
    given = {
        name: str(array.item())
        for name, array in found.arrays.items()
        if array.ndim == 0 and name in fields and name in choice.defense.needs
    } | dict(choice.given)
    arrays = {**found.arrays, **_numbers(choice, given)}
    for name, meaning in choice.defense.needs.items():
        if name == "n_train" and n_train is None:
            raise UsageError(f"{choice.name} needs --n-train: {meaning}")
        if name != "n_train" and name not in given and name not in arrays:
            raise _lacking(choice, name, meaning, found, file)
    c, models = _labels(found, n_labels, file), _models(found)
    if "n_models" in fields and models is not None:
        given.setdefault("n_models", str(models))
        if given["n_models"] != str(models):
            raise DataError(f"{file} holds {models} base models, not n_models={given['n_models']}")
    parameters = tuple((key, value) for key, value in given.items() if key in fields)
    defense = Selection(choice.name, parameters).build(choice.defense)
    evidence = Evidence(arrays, n_train or 0, c, int(arrays.get("dimension", 0)))
    named = label(choice.name, defense.params)
    cell = Cell(named, choice.name, choice.distribution, defense, _digest(found, n_train))
    return Case(cell, defense, evidence, found.labels, found.n_test, file)


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
        if key in choice.defense.needs:
            numbers[key] = number
    return numbers


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
    """c; every label that occurs is below it."""
    votes = found.arrays.get("votes")
    c = n_labels if votes is None else votes.shape[1]
    if c is None:
        raise UsageError(f"{file} has no votes that show how many labels there are: --n-labels C")
    if c < 2 or n_labels not in (None, c):
        raise UsageError(
            f"n-labels must be {max(c, 2) if votes is not None else 'at least 2'}, found {n_labels}"
        )
    for name, labels in (
        ("predictions", found.arrays.get("predictions")),
        ("labels", found.labels),
    ):
        if labels is not None and labels.max() >= c:
            raise DataError(f"{file}: {name} must be 0 to {c - 1}, found {labels.max()}")
    return c


def _models(found: ForeignEvidence) -> int | None:
    """N, the number of base models."""
    if "votes" in found.arrays:
        return int(found.arrays["votes"][0].sum())
    return len(found.arrays["predictions"]) if "predictions" in found.arrays else None


def _digest(found: ForeignEvidence, n_train: int | None) -> str:
    content = hashlib.sha256(str(n_train).encode())
    labels = {} if found.labels is None else {"labels": found.labels}
    for name, array in sorted({**found.arrays, **labels}.items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def certify(case: Case, threats: Sequence[Threat], alpha: float) -> Certified:
    """What the evidence proves under each threat.

    Raises UsageError for an alpha outside (0, 1), where none of the threats is covered, and where
    the certificate says nothing about single test examples; DataError where the defense cannot make
    sense of the evidence.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must be above 0 and below 1, found {alpha:g}")
    covers = case.defense.covers()
    if not covers & set(threats):
        raise UsageError(
            f"{case.cell.label} covers {', '.join(t.value for t in Threat if t in covers)}; "
            f"not {', '.join(threats)}"
        )
    return Certified(case, alpha, tuple(_prove(case, t, alpha, t in covers) for t in threats))


def _prove(case: Case, threat: Threat, alpha: float, covered: bool) -> Proved:
    if not covered:
        return Proved(threat, None, None, 0.0)
    start = time.perf_counter()
    try:
        certificate = case.defense.certify(case.evidence, threat, alpha)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        text = " ".join(f"{error}".split())
        raise DataError(f"{case.cell.label} cannot certify {case.file}: {text}") from error
    seconds = time.perf_counter() - start
    if not isinstance(certificate, PointwiseCertificate):
        raise UsageError(
            f"{case.cell.label} ({certificate.method}) bounds the average accuracy and says "
            "nothing about single test examples; choose a certificate that does"
        )
    if certificate.predictions.size != case.n_test:
        raise DataError(
            f"{case.file}: {certificate.predictions.size} test examples were certified, "
            f"but there are {case.n_test}"
        )
    truth = certificate.predictions if case.labels is None else case.labels
    return Proved(threat, certificate, curve(certificate, truth), seconds)


def write(result: Certified, path: Path, command: Sequence[str], *, fresh: bool) -> None:
    """``certificates.csv``, ``manifest.json`` and, where the labels are known, ``curves.csv``.

    Raises RunFolderError for a folder that holds anything else, or certificates of other votes.
    """
    case = result.case
    identity = {
        "dataset": case.file.name,
        "digest": case.cell.key,
        "seed": None,
        "cells": {case.cell.label: case.cell.name},
    }
    with open_run(path, identity, fresh=fresh) as folder:
        folder.write("certificates.csv", certificates_csv(result.proved))
        if case.labels is not None:
            folder.write("curves.csv", curves_csv([CellResult(case.cell, result.proved)]))
        folder.write("manifest.json", _manifest(result, identity, command))


def certificates_csv(proved: Sequence[Proved]) -> str:
    """``[threat,]example,prediction,radius``: the threat is a column where there are several."""
    lines = [
        "threat,example,prediction,radius\n" if len(proved) > 1 else "example,prediction,radius\n"
    ]
    for one in proved:
        if not isinstance(one.certificate, PointwiseCertificate):
            continue
        head = f"{one.threat.value}," if len(proved) > 1 else ""
        rows = zip(
            one.certificate.predictions.tolist(), one.certificate.radii.tolist(), strict=True
        )
        lines += [f"{head}{i},{label},{radius}\n" for i, (label, radius) in enumerate(rows)]
    return "".join(lines)


def _manifest(result: Certified, identity: Mapping[str, Any], command: Sequence[str]) -> str:
    """Where the certificates come from, in the words of a run's manifest."""
    case = result.case
    content = {
        "schema": SCHEMA,
        "command": list(command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": identity,
        "dataset": {
            "name": case.file.name,
            "digest": case.cell.key,
            "n_train": case.evidence.n_train or None,
            "n_test": case.n_test,
            "label_names": [str(j) for j in range(case.evidence.n_labels)],
        },
        "alpha": result.alpha,
        "threats": [one.threat.value for one in result.proved],
        "cells": [
            {
                "label": case.cell.label,
                "defense": case.cell.name,
                "distribution": case.cell.distribution,
                "title": case.defense.title,
                "paper": case.defense.paper,
                "params": case.defense.params.model_dump(mode="json"),
                "status": "finished",
                "seconds": {"certify": sum(one.seconds for one in result.proved)},
            }
        ],
        "versions": machine.versions(),
        "machine": machine.machine(),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
