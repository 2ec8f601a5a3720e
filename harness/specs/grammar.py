"""Reading ``name(key=value, ...)``: a learner or features, and their parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import UsageError

_NAME = r"[A-Za-z0-9_.-]+"
_FORM = re.compile(rf"\s*({_NAME})\s*(?:\((.*)\))?\s*", re.DOTALL)
_SCALARS = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Spec:
    """A name, its parameters, each a plain Python value, and the steps that stand before them.

    ``str(spec)`` is the canonical text: parameters in alphabetical order, one spelling for a value.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Spec, ...] = ()

    def __str__(self) -> str:
        named = (f"{key}={value!r}" for key, value in sorted(self.kwargs.items()))
        inside = ", ".join([*map(str, self.steps), *named])
        return f"{self.name}({inside})" if inside else self.name


def parse(kind: str, text: str) -> Spec:
    """What ``name``, ``name(key=value, ...)`` or ``name(STEP, ..., key=value)`` describes.

    Nothing is evaluated. Values are Python literals: numbers, strings, True, False, None, and
    tuples, lists and dictionaries of them. A step is a name with dots, with or without parameters
    of its own. Raises UsageError, beginning with ``kind``, for anything else.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"{kind} {text!r} is not a name; wanted name or name(key=value, ...)")
    name, inside = match.groups()
    return _Reader(kind, text).spec(name, _call(kind, text, inside or ""))


def _call(kind: str, text: str, inside: str) -> ast.Call:
    # The line break ends a comment; what is not one call of f, as in "a=1)(b=2", is refused.
    try:
        call = ast.parse(f"f({inside}\n)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise UsageError(f"{kind} {text!r}: wanted name or name(key=value, ...)")
    return call


@dataclass(frozen=True)
class _Reader:
    """Reads calls that stand in ``text``, which names something of that ``kind``."""

    kind: str
    text: str

    def spec(self, name: str, call: ast.Call) -> Spec:
        kwargs: dict[str, Any] = {}
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in kwargs:
                raise self._error("wanted each parameter once, as key=value")
            kwargs[keyword.arg] = self._literal(keyword.arg, keyword.value)
        return Spec(name, kwargs, tuple(self._step(node) for node in call.args))

    def _step(self, node: ast.expr) -> Spec:
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = _dotted(call.func)
        if name is None or not re.fullmatch(_NAME, name):
            raise self._error("wanted name or name(key=value, ...)")
        return self.spec(name, call)

    def _literal(self, key: str, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            value = ...
        if not _is_plain(value):
            raise self._error(
                f"{key} is not a plain value; wanted a finite number, a string in quotes, True, "
                "False, None, or a tuple, list or dictionary of these"
            )
        return value

    def _error(self, wrong: str) -> UsageError:
        return UsageError(f"{self.kind} {self.text!r}: {wrong}")


def _dotted(node: ast.expr) -> str | None:
    """The name that ``a.b.c`` spells; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _is_plain(value: object) -> bool:
    """Whether ``repr`` of the value reads back as the same value, in every process."""
    if isinstance(value, dict):
        return all(_is_plain(part) for item in value.items() for part in item)
    if isinstance(value, tuple | list):
        return all(_is_plain(part) for part in value)
    finite = not isinstance(value, float) or abs(value) != float("inf")
    return isinstance(value, _SCALARS) and finite
