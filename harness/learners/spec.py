"""How a learner is named: ``ridge``, ``ridge(penalty=0.1)`` or a scikit-learn import path."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError, unknown

if TYPE_CHECKING:
    from harness.learners.base import Learner

_FORM = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_SCALARS = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Spec:
    """A learner's name and its parameters, each a plain Python value.

    ``str(spec)`` is the canonical text: parameters in alphabetical order, one spelling for a value.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{key}={value!r}" for key, value in sorted(self.kwargs.items()))
        return f"{self.name}({inside})" if inside else self.name


def parse_spec(text: str) -> Spec:
    """The learner that ``name`` or ``name(key=value, ...)`` describes; nothing is evaluated.

    Values are Python literals: numbers, strings, True, False, None, and tuples, lists and
    dictionaries of them. Raises UsageError for anything else.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"learner {text!r} is not a name; wanted name or name(key=value, ...)")
    name, inside = match.groups()
    kwargs: dict[str, Any] = {}
    for keyword in _keywords(text, inside or ""):
        if keyword.arg is None or keyword.arg in kwargs:
            raise UsageError(f"learner {text!r}: wanted each parameter once, as key=value")
        kwargs[keyword.arg] = _literal(text, keyword)
    return Spec(name, kwargs)


def _keywords(text: str, inside: str) -> list[ast.keyword]:
    # The line break ends a comment; what is not one call of f, as in "a=1)(b=2", is refused.
    try:
        call = ast.parse(f"f({inside}\n)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise UsageError(f"learner {text!r}: wanted name or name(key=value, ...)")
    return call.keywords


def _literal(text: str, keyword: ast.keyword) -> Any:
    try:
        value = ast.literal_eval(keyword.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        value = ...
    if not _is_plain(value):
        raise UsageError(
            f"learner {text!r}: {keyword.arg} is not a plain value; wanted a finite number, a "
            "string in quotes, True, False, None, or a tuple, list or dictionary of these"
        )
    return value


def _is_plain(value: object) -> bool:
    """Whether ``repr`` of the value reads back as the same value, in every process."""
    if isinstance(value, dict):
        return all(_is_plain(part) for item in value.items() for part in item)
    if isinstance(value, tuple | list):
        return all(_is_plain(part) for part in value)
    finite = not isinstance(value, float) or abs(value) != float("inf")
    return isinstance(value, _SCALARS) and finite


def resolve(text: str, registry: Mapping[str, type[Learner]]) -> Learner:
    """The learner that ``text`` names: one of ``registry``, else an estimator's import path.

    Raises UsageError for text that is no specification, for a name or path that does not exist, for
    a path that is no class with ``fit`` and ``predict`` or is a regressor, and for parameters that
    the learner does not have or refuses.
    """
    spec = parse_spec(text)
    made = _find(spec.name, registry)
    _check_parameters(spec, made)
    built = _build(spec, made)  # what it refuses is known before the first fit
    if spec.name in registry:
        learner: Learner = built
        return learner
    _refuse_regressor(spec, built)
    from harness.learners.estimator import EstimatorLearner

    return EstimatorLearner(partial(made, **spec.kwargs), str(spec))


def canonical(text: str, registry: Mapping[str, type[Learner]]) -> str:
    """The one spelling of all texts that mean the same learner.

    Parameters in alphabetical order, without those at their default: ``ridge`` for
    ``ridge( penalty = 2e-2 )``. Where the default of a registered learner is a float, 1 is 1.0.
    Raises UsageError for a name or path that does not exist.
    """
    spec = parse_spec(text)
    parameters = inspect.signature(_find(spec.name, registry)).parameters
    kwargs = {}
    for key, value in spec.kwargs.items():
        default = parameters[key].default if key in parameters else inspect.Parameter.empty
        number = spec.name in registry and type(value) is int and isinstance(default, float)
        kwargs[key] = float(value) if number else value
        if repr(kwargs[key]) == repr(default):
            del kwargs[key]
    return str(Spec(spec.name, kwargs))


def _find(name: str, registry: Mapping[str, type[Learner]]) -> Callable[..., Any]:
    if name in registry:
        return registry[name]
    if "." not in name:
        raise unknown("learner", name, registry)
    return _import_estimator(name)


def _import_estimator(path: str) -> Callable[..., Any]:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # an import runs the module's own code, which may raise anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"learner {path!r} cannot be imported: {reason[0]}") from error
    verbs = (getattr(found, verb, None) for verb in ("fit", "predict"))
    if not isinstance(found, type) or not all(callable(verb) for verb in verbs):
        raise UsageError(f"learner {path!r} is not a class with fit and predict")
    return found


def _check_parameters(spec: Spec, made: Callable[..., Any]) -> None:
    parameters = inspect.signature(made).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    allowed = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for key in spec.kwargs:
        if key not in allowed:
            raise unknown(f"parameter of learner {spec.name}:", key, allowed)


def _build(spec: Spec, made: Callable[..., Any]) -> Any:
    try:
        built = made(**spec.kwargs)
        if hasattr(built, "_validate_params") and hasattr(built, "_parameter_constraints"):
            built._validate_params()  # of scikit-learn, where it is the first thing that fit does
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"learner {str(spec)!r}: {' '.join(str(error).split())}") from error
    return built


def _refuse_regressor(spec: Spec, built: object) -> None:
    """What predicts no labels would vote for the fixed one, always."""
    from sklearn.base import BaseEstimator, is_regressor

    if isinstance(built, BaseEstimator) and is_regressor(built):
        raise UsageError(f"learner {str(spec)!r} is a regressor; wanted a classifier")
