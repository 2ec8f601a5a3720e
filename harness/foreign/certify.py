"""Certificates from base models that somebody else trained, and the files that they go to."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.errors import DataError, UsageError
from harness.foreign.case import Case
from harness.proofs.curves import curve
from harness.results import provenance
from harness.results.cells import CellResult, Proved
from harness.results.folder import open_run
from harness.results.schema import SCHEMA
from harness.results.writer import write_tables
from harness.threats import Threat


@dataclass(frozen=True)
class Certified:
    """What was proved, threat by threat; ``certificate`` and ``curve`` are None if not covered.

    Without labels the curve says for how many test examples r is certified, right or wrong.
    """

    case: Case
    alpha: float
    proved: tuple[Proved, ...]

    @property
    def deterministic(self) -> bool:
        """Whether alpha plays no part in anything that was proved."""
        certificates = [one.certificate for one in self.proved if one.certificate is not None]
        return all(one.guarantee == DETERMINISTIC for one in certificates)


def certify(case: Case, threats: Sequence[Threat], alpha: float) -> Certified:
    """What the evidence proves under each threat.

    Raises UsageError for an alpha outside (0, 1), where none of the threats is covered, and where
    the certificate says nothing about single test examples; DataError where the defense cannot make
    sense of the evidence.
    """
    given: Any = alpha  # from Python, where it may be anything
    number = isinstance(given, int | float | np.integer | np.floating)
    if not (number and 0 < given < 1):
        shown = f"{given:g}" if isinstance(given, float) else f"{given}"
        raise UsageError(f"alpha must be above 0 and below 1, found {shown}")
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
    except DataError as error:  # of the defense, which does not know where its arrays are from
        raise DataError(f"{case.file}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError) as error:
        text = " ".join(f"{error}".split())
        raise DataError(f"{case.cell.label} cannot certify {case.file}: {text}") from error
    seconds = time.perf_counter() - start
    if not isinstance(certificate, PointwiseCertificate):
        raise UsageError(
            f"{case.cell.label} ({certificate.method}) bounds the average accuracy and says "
            f"nothing about single test examples; harness show {case.cell.name} lists certificates"
        )
    if certificate.predictions.size != case.n_test:
        raise DataError(
            f"{case.file}: {certificate.predictions.size} test examples were certified, "
            f"but there are {case.n_test}"
        )
    truth = certificate.predictions if case.labels is None else case.labels
    return Proved(threat, certificate, curve(certificate, truth), seconds)


def write(result: Certified, path: Path, command: Sequence[str], *, fresh: bool) -> None:
    """What a run leaves, but for the evidence and the report, and ``certificates.csv``, the text.

    Raises RunFolderError for a folder that holds anything else, or certificates of other votes.
    """
    case = result.case
    identity = {
        "dataset": case.file.name,
        "digest": case.cell.key,
        "seed": None,
        "cells": [case.cell.label],
    }
    with open_run(path, identity, fresh=fresh) as folder:
        folder.write("certificates.csv", certificates_csv(result.proved))
        found = CellResult(
            case.cell,
            result.proved,
            case.n_models,
            train_s=math.nan,
            predict_s=math.nan,
            peak_rss_mb=math.nan,
        )
        write_tables(folder, [found], case.labels)
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
    import torch

    case = result.case
    content = {
        "schema": SCHEMA,
        "command": list(command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": identity,
        "dataset": {
            "name": case.file.name,
            "digest": _digest(case),
            "votes": case.cell.key,
            "labelled": case.labels is not None,
            "n_train": case.evidence.n_train or None,
            "n_test": case.n_test,
            "label_names": [str(j) for j in range(case.evidence.n_labels)],
        },
        "seed": None,
        "alpha": None if result.deterministic else result.alpha,
        "threats": [one.threat.value for one in result.proved],
        "cells": [
            {
                "label": case.cell.label,
                "defense": case.cell.name,
                "distribution": case.cell.distribution,
                "title": case.defense.title,
                "paper": case.defense.paper,
                "params": case.defense.params.model_dump(mode="json", include=set(case.stated)),
                "told": {n: a.item() for n, a in case.evidence.items() if a.ndim == 0},
                "status": "finished",
                "error": None,
                "n_models": case.n_models,
                "seconds": {
                    "train": None,
                    "predict": None,
                    "certify": sum(one.seconds for one in result.proved),
                },
                "peak_rss_mb": None,
            }
        ],
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "fingerprint": provenance.fingerprint(torch.device("cpu")),
        "git": provenance.git(),
        "sources": provenance.sources([case.cell]),
    }
    return json.dumps(content, indent=2) + "\n"


def _digest(case: Case) -> str:
    """Names the data, as far as they were told: n, c and the true labels.

    Certificates of other votes can be compared where these are the same; where no label is known,
    nothing says that the test examples are, so there it names the votes.
    """
    if case.labels is None:
        return case.cell.key
    told = f"{case.evidence.n_train} {case.evidence.n_labels} {case.labels.size} "
    return hashlib.sha256(told.encode() + case.labels.astype("<i8").tobytes()).hexdigest()
