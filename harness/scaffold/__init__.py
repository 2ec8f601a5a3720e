"""A new plugin project: a defense that works and passes its tests, to start from."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__
from harness.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

LONGEST = 30
"""Letters in a name: the class that is named after it fits on a line."""

RESERVED = frozenset({"conftest", "harness", "setup", "tests"})
"""Modules that pytest or setuptools would take for their own, or that would hide ours."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Name:
    """A defense's name, and what is named after it."""

    defense: str

    @property
    def module(self) -> str:
        """The module that holds it."""
        return self.defense.replace("-", "_")

    @property
    def stem(self) -> str:
        """What its classes' names begin with."""
        return "".join(
            word.capitalize() for word in self.defense.removesuffix("-defense").split("-")
        )

    def fill(self, template: str) -> str:
        """The text of a template, with this name in place of ``my-defense``."""
        ours = {
            "MyDefense": f"{self.stem}Defense",
            "MyParameters": f"{self.stem}Parameters",
            "my_defense": self.module,
            "my-defense": self.defense,
            "@VERSION@": __version__.partition("+")[0],
        }
        return re.sub("|".join(ours), lambda found: ours[found[0]], template)


def parse_name(text: str) -> Name:
    """The name as a defense, a module and a distribution may have it.

    Raises UsageError where it is not of that form, or where Python or an installed distribution
    uses it already.
    """
    allowed = (
        "allowed: small letters, digits and single dashes between them, a letter first, "
        f"{LONGEST} characters at most"
    )
    if not _NAME.fullmatch(text) or len(text) > LONGEST:
        raise UsageError(f"{text!r} is not a name for a defense; {allowed}")
    name = Name(text)
    if keyword.iskeyword(name.module) or keyword.issoftkeyword(name.module):
        raise UsageError(f"{text!r} is a keyword of Python; choose another name")
    if name.module in RESERVED:
        raise UsageError(f"{name.module}.py would hide another module; choose another name")
    if _is_module(name.module):
        raise UsageError(
            f"{text!r}: there is a Python module {name.module} already; choose another name"
        )
    if _is_distribution(text):
        raise UsageError(f"{text!r}: a distribution of that name is installed; choose another name")
    return name


def check_free(name: Name, registry: Registry, commands: list[str]) -> None:
    """Raises UsageError where the name means something on the command line already."""
    for catalogue in (registry.defenses, registry.datasets, registry.learners):
        if catalogue.claims(name.defense):
            raise UsageError(
                f"there is a {catalogue.kind} {name.defense} already; choose another name"
            )
    if name.defense in commands:
        raise UsageError(f"there is a command {name.defense} already; choose another name")


def write_project(name: Name, folder: Path) -> list[Path]:
    """Writes the project into ``folder``, which is made where it does not exist.

    Returns the files, relative to it. Raises RunFolderError where the folder is not empty or cannot
    be written.
    """
    files = {
        f"{name.module}.py": "my_defense.py",
        f"tests/test_{name.module}.py": "test_my_defense.py.in",
        "pyproject.toml": "pyproject.toml.in",
        "README.md": "README.md.in",
        ".gitignore": "gitignore.in",
    }
    templates = resources.files("harness.scaffold.templates")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunFolderError(f"{folder} is not empty; name another folder with --output")
        for path, template in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            text = name.fill((templates / template).read_text("utf-8"))
            (folder / path).write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise RunFolderError(f"cannot write {folder}: {error.strerror or error}") from None
    return [Path(path) for path in files]


def _is_module(name: str) -> bool:
    """Whether a module of that name can be imported; a mere folder of that name is none."""
    if name in sys.stdlib_module_names:
        return True
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def _is_distribution(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
