"""The hooks that a plugin may implement; the built-ins come through the same ones.

A plugin is a module or an object with functions marked ``@harness.hookimpl`` and named as below.
Advertise it under the entry-point group ``harness`` and it is found when it is installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from harness.attacks.base import Attack
    from harness.datasets.base import DatasetSource
    from harness.defense import Defense
    from harness.features.base import Features
    from harness.learners.base import Learner

hookspec = pluggy.HookspecMarker("harness")


@hookspec
def harness_register_defenses() -> Iterable[type[Defense[Any]]]:
    """Defenses, as classes; each is selected by its ``name``."""
    raise NotImplementedError


@hookspec
def harness_register_datasets() -> Iterable[DatasetSource]:
    """Data sets, as objects with a ``name`` that load themselves when asked."""
    raise NotImplementedError


@hookspec
def harness_register_learners() -> Iterable[type[Learner]]:
    """Learners, as classes; each is selected by its ``name`` in a defense's ``learner``."""
    raise NotImplementedError


@hookspec
def harness_register_features() -> Iterable[type[Features]]:
    """Features, as classes; each is selected by its ``name`` in a defense's ``features``."""
    raise NotImplementedError


@hookspec
def harness_register_attacks() -> Iterable[type[Attack]]:
    """Attacks that any defense can be put to, as classes; each is selected by its ``name``."""
    raise NotImplementedError


@hookspec
def harness_add_commands() -> Iterable[click.Command]:
    """Commands that the ``harness`` program offers beside its own."""
    raise NotImplementedError
