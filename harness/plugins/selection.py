"""Reading ``bagging[k=20,features=hog]``: a defense's name and its parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import UsageError, unknown
from harness.plugins.values import plain_fields, plain_values, shown

if TYPE_CHECKING:
    from harness.defense import Defense, Parameters

_OPENING, _CLOSING = "([{", ")]}"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""The names that a defense can have: they are part of labels and of names of files."""
NAMED = "wanted letters, digits, dots, hyphens and underscores, at most 80, a letter or digit first"

SETTINGS = ("seed", "alpha")
"""What is no parameter of a defense and may be chosen for each cell."""


@dataclass(frozen=True)
class Selection:
    """What was asked for: the name of a defense and the parameters given, still as text.

    ``settings`` are the seed and the alpha of the cell itself, where they are given.
    """

    name: str
    parameters: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Reads ``name`` or ``name[key=value,...]``; values may hold brackets and quotes. Both may
        be followed by ``@seed=NUMBER``, ``@alpha=NUMBER`` or ``@seed=NUMBER,alpha=NUMBER``.

        Raises UsageError with one line for anything else.

        >>> Selection.parse("bagging[k=20,learner=ridge(penalty=1, x='a,b')]").parameters
        (('k', '20'), ('learner', "ridge(penalty=1, x='a,b')"))
        """
        body, settings = _cut_settings(text)
        name, bracket, rest = body.partition("[")
        name = name.strip()
        if not name:
            raise UsageError(f"no defense is named in {text!r}; wanted NAME or NAME[key=value,...]")
        if not bracket:
            return cls(name, (), settings)
        if not rest.endswith("]"):
            raise UsageError(f"{text!r} does not end with a bracket; wanted {name}[key=value,...]")
        return cls(name, _pairs(rest[:-1], text), settings)

    def settled(self, fields: Collection[str]) -> Selection:
        """The same with a seed and an alpha that stand in the brackets moved out of them, unless
        the defense has parameters of these names among its ``fields``.

        Raises UsageError for one that is given twice.
        """
        mine = tuple(
            pair for pair in self.parameters if pair[0] in SETTINGS and pair[0] not in fields
        )
        for key, _ in mine:
            if key in dict(self.settings):
                raise UsageError(f"{key} is given twice for {self.name}")
        rest = tuple(pair for pair in self.parameters if pair not in mine)
        return Selection(self.name, rest, self.settings + mine)

    @property
    def seed(self) -> int | None:
        """The cell's own seed. Raises UsageError for what is no whole number of at least 0."""
        text = dict(self.settings).get("seed")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()):
            raise UsageError(
                f"{self.name}: the seed must be a whole number of at least 0, found {text}"
            )
        return int(text)

    @property
    def alpha(self) -> float | None:
        """The cell's own alpha. Raises UsageError for what is no number."""
        text = dict(self.settings).get("alpha")
        try:
            return None if text is None else float(text)
        except ValueError:
            raise UsageError(f"{self.name}: alpha must be a number, found {text}") from None

    def build(self, defense: type[Defense[Any]]) -> Defense[Any]:
        """The defense with these parameters. Raises UsageError for what its model refuses."""
        fields = defense.Params.model_fields
        for key, _ in self.parameters:
            if key not in fields:
                if not fields:
                    raise UsageError(f"{self.name} has no parameters; found {key!r}")
                meant = defense.Params.symbols.get(key)
                raise unknown(f"parameter of {self.name}", key, fields, meant)
        try:
            params = defense.Params.model_validate(dict(self.parameters))
        except ValidationError as error:
            raise UsageError(_explain(self.name, error, defense.Params)) from None
        return defense(params)


def _cut_settings(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """``text`` without what follows an @ behind its name or its brackets, and that."""
    head, bracket, tail = text.strip().rpartition("]")
    outside = tail if bracket else text.strip()
    body, at, settings = outside.partition("@")
    if not at:
        return text.strip(), ()
    pairs = _pairs(settings, text)
    for key, _ in pairs:
        if key not in SETTINGS:
            raise unknown(f"setting in {text!r}", key, SETTINGS)
    if not pairs:
        raise UsageError(f"nothing follows the @ in {text!r}; wanted @seed=NUMBER or @alpha=NUMBER")
    return head + bracket + body.strip(), pairs


def _pairs(inside: str, text: str) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for part in split(inside, ",", text):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise UsageError(f"{part.strip()!r} in {text!r} is not of the form key=value")
        if key in pairs:
            raise UsageError(f"{key} is given twice in {text!r}")
        pairs[key] = value
    return tuple(pairs.items())


def label(name: str, params: Parameters) -> str:
    """The canonical name of a cell: the defense and every parameter that is not at its default.

    Reading it back with :meth:`Selection.parse` gives the same cell, and no two have the same name.
    Raises UsageError for a parameter whose value cannot be told in a label.
    """
    model = type(params)
    plain = plain_fields(name, params, model.model_fields)
    default = plain_values(
        name,
        {
            key: field.get_default(call_default_factory=True)
            for key, field in model.model_fields.items()
            if not field.is_required()
        },
    )
    changed = [key for key in plain if key not in default or plain[key] != default[key]]
    printed = params.model_dump(mode="json")
    texts = {key: f"{printed.get(key)}" for key in changed}
    if _means(name, model, texts) != plain:  # what pydantic prints is something else, or no text
        texts = {key: shown(getattr(params, key)) for key in changed}
        if _means(name, model, texts) not in (None, plain):
            raise UsageError(
                f"{name}: {', '.join(changed)} cannot be told in a label: there, "
                f"{','.join(f'{key}={text}' for key, text in texts.items())} is something else"
            )
    told = ",".join(f"{key}={text}" for key, text in texts.items())
    return f"{name}[{told}]" if changed else name


def _means(name: str, model: type[Parameters], texts: Mapping[str, str]) -> dict[str, Any] | None:
    """The parameters that are typed like that, by their values; None where they are refused."""
    try:
        return plain_fields(name, model.model_validate(dict(texts)), model.model_fields)
    except (ValueError, UsageError):  # pydantic's are ValueErrors
        return None


def split(text: str, separator: str, whole: str) -> Iterator[str]:
    """The parts of ``text`` between separators that are outside brackets and quotes.

    Raises UsageError, naming ``whole``, where these do not match.
    """
    depth, quote, start = 0, "", 0
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == separator and depth == 0:
            yield text[start:i]
            start = i + 1
        if depth < 0:
            break
    if depth != 0 or quote:
        raise UsageError(f"brackets or quotes do not match in {whole!r}")
    if text[start:].strip() or start:
        yield text[start:]


def _explain(name: str, error: ValidationError, model: type[Parameters]) -> str:
    """One line of a pydantic error: the value, what is allowed, what the parameter means."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return f"{name}: {first['msg']}"
    key = str(first["loc"][0])
    wanted = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    meaning = model.model_fields[key].description
    wrong = f"{key}={first['input']} is not allowed: {wanted}"
    if first["type"] == "missing":
        wrong = f"{key} is required: {name}[{key}=...]"
    return f"{name}: {wrong}" + (f" ({key}: {meaning})" if meaning else "")
