"""Which way the arrows point: a module is imported downwards only, and never in a circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import harness

FLOORS = (
    ("errors",),
    ("threats",),
    ("certificates",),
    ("proofs",),
    ("datasets",),
    ("specs",),
    ("features", "learners"),
    ("defense",),
    ("attacks",),
    ("hookspecs",),
    ("defenses",),
    ("plugins",),
    ("results",),
    ("running",),
    ("attacking",),
    ("foreign", "report", "scaffold"),
    ("comparing",),
    ("testing",),
    ("api",),
    ("cli",),
    ("__main__",),
)
"""From the ground up, what lies at the root and the rooms: each sees those below it and itself.

``harness`` itself is the door, through which :mod:`harness.api` is fetched when it is asked for.
"""
ROOT = {"__init__", "__main__", "api"}
ROOT |= {"certificates", "defense", "errors", "hookspecs", "threats"}
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("harness", "harness.datasets", "harness.defenses"):
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        folder = Path(spec.origin).parent
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(source: str, known: set[str]) -> set[str]:
    """The modules that it imports anywhere: in functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else name.rpartition(".")[0] for name in whole}
    return (found & known) - {"harness"}


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    found = modules()
    return {name: imports(path.read_text("utf-8"), set(found)) for name, path in found.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def upward(arrows: dict[str, set[str]]) -> list[str]:
    return [
        f"{module} -> {other}"
        for module in sorted(arrows.keys() - {"harness"})
        for other in sorted(arrows[module])
        if room(module) != room(other) and LEVEL[room(other)] >= LEVEL[room(module)]
    ]


def test_every_room_has_its_floor(arrows):
    assert {room(module) for module in arrows if module != "harness"} <= LEVEL.keys()


def test_no_arrow_points_up(arrows):
    assert upward(arrows) == []


def test_an_arrow_that_points_up_is_found(arrows):
    added = {**arrows, "harness.results.folder": {"harness.running.plan"}}
    assert upward(added) == ["harness.results.folder -> harness.running.plan"]


def test_no_import_goes_in_a_circle(arrows):
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_contributors_are_told_the_same_floors():
    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    (listed,) = re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert listed.splitlines() == [", ".join(floor) for floor in FLOORS]


def test_at_the_root_lies_only_what_users_and_authors_import():
    assert {path.stem for path in Path(harness.__file__).parent.glob("*.py")} <= ROOT
    assert len(ROOT) <= 9
