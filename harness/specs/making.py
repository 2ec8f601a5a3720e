"""From what a text names to the thing itself: its parameters checked, the thing built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from harness.errors import UsageError, unknown
from harness.specs.grammar import Spec


def make(kind: str, spec: Spec, made: Callable[..., Any]) -> Any:
    """``made`` called with the steps and the parameters of ``spec``.

    Raises UsageError, in which ``kind`` says what is made, for parameters that ``made`` does not
    have or refuses, and for steps where it takes none.
    """
    _check(kind, spec, inspect.signature(made).parameters.values())
    try:
        built = made(*spec.steps, **spec.kwargs)
        if hasattr(built, "_validate_params") and hasattr(built, "_parameter_constraints"):
            built._validate_params()  # of scikit-learn, where it is the first thing that fit does
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{kind} {str(spec)!r}: {' '.join(str(error).split())}") from error
    return built


def _check(kind: str, spec: Spec, parameters: Iterable[inspect.Parameter]) -> None:
    parameters = list(parameters)
    if spec.steps and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UsageError(f"{kind} {str(spec)!r}: wanted name or name(key=value, ...)")
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    allowed = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for key in spec.kwargs:
        if not allowed:
            raise UsageError(f"{kind} {spec.name} has no parameters; found {key!r}")
        if key not in allowed:
            raise unknown(f"parameter of {kind} {spec.name}:", key, allowed)


def plain(spec: Spec, made: Callable[..., Any], *, floats: bool) -> Spec:
    """The one spelling of all that mean the same: without parameters at their default.

    With ``floats``, 1 is 1.0 where the default is a float. Steps are left as they are.
    """
    parameters = inspect.signature(made).parameters
    kwargs = {}
    for key, value in spec.kwargs.items():
        default = parameters[key].default if key in parameters else inspect.Parameter.empty
        number = floats and type(value) is int and isinstance(default, float)
        kwargs[key] = float(value) if number else value
        if repr(kwargs[key]) == repr(default):
            del kwargs[key]
    return Spec(spec.name, kwargs, spec.steps)
