"""The examples in docstrings show what happens."""

import doctest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest


def modules_with_examples() -> list[str]:
    found = []
    for package in ("harness", "harness.datasets", "harness.defenses"):
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if ">>> " in path.read_text("utf-8"):
                found.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return found


MODULES = modules_with_examples()


def test_there_are_examples() -> None:
    assert {"harness.datasets.base", "harness.report.words"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str) -> None:
    failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed
