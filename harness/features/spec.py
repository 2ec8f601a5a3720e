"""How features are named: ``raw``, ``hog(cells=7)``, or ``auto`` for those that fit the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.errors import UsageError, unknown
from harness.features.base import AUTO
from harness.features.tensors import is_image
from harness.specs.grammar import Spec, parse
from harness.specs.making import make, plain

if TYPE_CHECKING:
    from harness.features.base import Features


FITTING = ("hog", "raw")
"""What ``auto`` may stand for."""


def parse_spec(text: str) -> Spec:
    """The features that ``text`` describes; nothing is evaluated. Raises UsageError."""
    return parse("features", text)


def resolve(text: str, registry: Mapping[str, type[Features]]) -> Features:
    """The features of ``registry`` that ``text`` names, with its parameters.

    Raises UsageError for text that is no specification, for a name that does not exist, and for
    parameters that the features do not have or refuse.
    """
    spec = parse_spec(text)
    features: Features = make("features", spec, _find(spec.name, registry))
    return features


def canonical(text: str, registry: Mapping[str, type[Features]]) -> str:
    """The one spelling of all texts that mean the same features: ``hog`` for ``hog(cells = 4)``.

    Raises UsageError as :func:`resolve` for a name that does not exist.
    """
    spec = parse_spec(text)
    return str(plain(spec, _find(spec.name, registry), floats=True))


def is_auto(text: str) -> bool:
    """Whether ``text`` is ``auto``, for which :func:`chosen` decides. Raises UsageError."""
    spec = parse_spec(text)
    if spec.name == AUTO and str(spec) != AUTO:
        raise UsageError(f"features {AUTO} has no parameters; found {str(spec)!r}")
    return spec.name == AUTO


def chosen(example: tuple[int, ...]) -> str:
    """What ``auto`` stands for where examples have that shape: hog for images, else raw."""
    return "hog" if is_image(example) else "raw"


def _find(name: str, registry: Mapping[str, type[Features]]) -> type[Features]:
    if name not in registry:
        raise unknown("features", name, [AUTO, *registry])
    return registry[name]
