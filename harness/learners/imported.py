"""Estimators and transformers by their import path: found, checked, and built once to be sure."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, cast

from harness.errors import UsageError
from harness.specs.grammar import Spec
from harness.specs.making import make


def imported(path: str, *verbs: str) -> type[Any]:
    """The class at ``path`` that has these methods. Raises UsageError for anything else."""
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # an import runs the module's own code, which may raise anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"learner {path!r} cannot be imported: {reason[0]}") from error
    has = (callable(getattr(found, verb, None)) for verb in verbs)
    if not isinstance(found, type) or not all(has):
        raise UsageError(f"learner {path!r} is not a class with {' and '.join(verbs)}")
    return found


def factory_at(path: object) -> Callable[..., Any]:
    """The class or function at ``package.module:name``, or with a dot for the colon.

    Raises UsageError for anything else, and for what is defined in ``__main__``, which other
    processes cannot import.
    """
    wanted = "wanted 'package.module:function'"
    if not isinstance(path, str) or not path:
        raise UsageError(f"learner torch: module={path!r} is not allowed; {wanted}")
    module_name, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # an import runs the module's own code, which may raise anything
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"learner torch: module={path!r} cannot be imported: {text[0]}; {wanted}"
        ) from error
    module = getattr(found, "__module__", None)
    if not callable(found) or module not in sys.modules:
        raise UsageError(f"learner torch: module={path!r} is no class or function; {wanted}")
    if module == "__main__":
        raise UsageError(
            f"learner torch: module={path!r} is defined in __main__, which other processes cannot "
            "import; put it into a file of its own"
        )
    return cast("Callable[..., Any]", found)


def classifier(spec: Spec) -> type[Any]:
    """The classifier's class that ``spec`` names with parameters that it does not refuse.

    Raises UsageError for what is none: no class with ``fit`` and ``predict``, or a regressor.
    """
    made = imported(spec.name, "fit", "predict")
    _refuse_regressor(spec, _made(spec, made))
    return made


def transformer(spec: Spec) -> type[Any]:
    """The transformer's class that ``spec`` names. Raises UsageError as :func:`classifier`."""
    made = imported(spec.name, "fit", "transform")
    _made(spec, made)
    return made


def _made(spec: Spec, made: type[Any]) -> Any:
    if spec.steps:
        raise UsageError(f"learner {str(spec)!r}: {spec.name} takes parameters as key=value alone")
    return make("learner", spec, made)  # what it refuses is known before the first fit


def _refuse_regressor(spec: Spec, built: object) -> None:
    """What predicts no labels would vote for the fixed one, always."""
    from sklearn.base import BaseEstimator, is_regressor

    if isinstance(built, BaseEstimator) and is_regressor(built):
        raise UsageError(f"learner {str(spec)!r} is a regressor; wanted a classifier")
