"""What a parameter is, as text that no other value has, whatever it says when it is printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from harness.errors import UsageError

_NUMBERS: tuple[type[Any], ...] = (bool, int, float, complex, Decimal, Fraction)
_PLAIN = (*_NUMBERS, type(None), str, bytes, date, datetime, time, timedelta, UUID)


def plain_fields(name: str, params: BaseModel, fields: Iterable[str]) -> dict[str, Any]:
    """Those fields of a defense's parameters, each as something that JSON can hold: by its value,
    not by what pydantic would print. Different values have different ones.

    Raises UsageError, naming the field, for a value that is not made of numbers, texts, dates,
    enums, tuples, lists, sets, dicts and models of these: for a path, say, whose file may change.
    """
    return plain_values(name, {field: getattr(params, field) for field in fields})


def plain_values(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of values by their names."""
    return {key: _plain(f"{name}: {key}", value) for key, value in values.items()}


def _plain(where: str, value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return [kind.__name__, repr(value)]
    named = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, Enum):
        return [named, f"{value.name}"]
    if isinstance(value, BaseModel):
        parts = plain_fields(where, value, type(value).model_fields)
        more = (value.__pydantic_extra__ or {}, value.__pydantic_private__ or {})
        return [named, parts, *(_plain(where, one) for one in more)]
    if kind in (tuple, list):
        return [kind.__name__, *(_plain(where, one) for one in value)]
    if kind in (set, frozenset):
        return [kind.__name__, *sorted((_plain(where, one) for one in value), key=json.dumps)]
    if kind is dict:
        return [kind.__name__, *([_plain(where, part) for part in pair] for pair in value.items())]
    raise UsageError(
        f"{where} is a {kind.__qualname__}, by which evidence cannot be named; wanted numbers, "
        "texts, enums, or tuples, lists, dicts or models of these"
    )


def shown(value: Any, *, inside: bool = False) -> str:
    """A plain value as people read it: with its class where it has one of its own."""
    if isinstance(value, Enum | BaseModel):
        name = type(value).__qualname__
        if isinstance(value, Enum):
            return f"{name}.{value.name}"
        fields = type(value).model_fields
        parts = (f"{key}={shown(getattr(value, key), inside=True)}" for key in fields)
        return f"{name}({', '.join(parts)})"
    if isinstance(value, dict):
        pairs = [": ".join(shown(part, inside=True) for part in pair) for pair in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, tuple | list | set | frozenset):
        inner = [shown(part, inside=True) for part in value]
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(inner))}}}"
        text = ", ".join(inner)
        return f"({text})" if isinstance(value, tuple) else f"[{text}]"
    return value if isinstance(value, str) and not inside else repr(value)
