"""What names evidence: the code that it rests on, the parameters, the data and the seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.features import tensors
from harness.features.base import AUTO
from harness.features.spec import FITTING, is_auto, parse_spec, resolve
from harness.plugins.lookup import classes_behind, learner_of
from harness.plugins.values import plain_fields, plain_values
from harness.results.store import FORMAT
from harness.running import task
from harness.running.code import code_digest, constants_given_to

if TYPE_CHECKING:
    from harness.datasets.base import Dataset
    from harness.defense import Defense
    from harness.plugins.registry import Registry


def code_of(defense: Defense[Any], registry: Registry) -> str:
    """The digest of the code that training rests on: of the defense, its learners, its features.

    These are the ones that it has as parameters and those that it asks for by a name that stands
    in its code, as in ``task.learner("ridge")`` or ``task.features("raw")``.
    """
    own = [type(defense), type(defense.params)]
    specs = constants_given_to("learner", *own)
    chosen = getattr(defense.params, "learner", None)
    if isinstance(chosen, str):
        specs.add(chosen)
    learners = [cls for spec in sorted(specs) for cls in _classes_of(registry, spec)]
    features = constants_given_to("features", *own)
    seen = getattr(defense.params, "features", None)
    if isinstance(seen, str) and seen != AUTO:  # where it is not resolved, nothing sees any
        features.add(seen)
    known = _features_of(registry, features)
    return code_digest(*own, *learners, *known, *_behind(registry, features), tensors, task)


def _classes_of(registry: Registry, spec: str) -> list[type[Any] | ModuleType]:
    try:
        return classes_behind(learner_of(registry, spec))
    except UsageError:  # a text that names no learner: the defense will say so when it trains
        return []


def _features_of(registry: Registry, specs: Iterable[str]) -> list[type[Any]]:
    """Their classes; of ``auto``, all that it may stand for."""
    found = {name: entry.value for name, entry in registry.features.entries.items()}
    names = set()
    for spec in specs:
        try:
            names |= set(FITTING) if is_auto(spec) else {parse_spec(spec).name}
        except UsageError:  # a text that names no features, as above
            continue
    return [found[name] for name in sorted(names & found.keys())]


def _behind(registry: Registry, specs: Iterable[str]) -> list[type[Any] | ModuleType]:
    """What else their rows rest on: the module of a user's function, say."""
    found: list[type[Any] | ModuleType] = []
    for spec in sorted(specs):
        try:
            if not is_auto(spec):
                found += resolve(spec, registry.features.values()).behind
        except UsageError:  # as above
            continue
    return found


def evidence_key(
    name: str,
    defense: Defense[Any],
    dataset: Dataset,
    seed: int,
    distribution: str,
    code: str,
    device: str = "cpu",
) -> tuple[str, str]:
    """Names what training leaves behind: cells with the same first key share their evidence, those
    with the same second key their blocks.

    Both cover the defense, its version, the learner's and the features', their code (see
    :func:`code_of`), the parameters that training reads, the data, the seed and the kind of device,
    which rounds in its own way, and the form of stored blocks; not the threat, alpha, or parameters
    that only certifying reads.
    How many base models are drawn is in the first key alone: :func:`~harness.defense.count_field`.
    Raises UsageError for a parameter that is no plain value.
    """
    params = defense.params
    unread = set(params.certify_only())
    hidden = plain_values(name, params.__pydantic_private__ or {})

    def digest(excluded: set[str]) -> str:
        read = [field for field in type(params).model_fields if field not in excluded]
        trained = [plain_fields(name, params, read), hidden]
        content = [FORMAT, name, distribution, trained, dataset.digest, seed, code, device]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    return digest(unread), digest(unread | params.counts())
