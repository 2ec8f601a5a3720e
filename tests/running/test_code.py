"""What a digest of code sees: every edit that could change a result, and nothing else."""

import importlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from harness.features import hog as features
from harness.running import code
from harness.running.code import code_digest, constants_given_to

PLUGIN = """
    from __future__ import annotations
    from typing import TYPE_CHECKING
    import typing as t
    import numpy as np
    from {name} import near
    if TYPE_CHECKING:
        import {name}.shown
    elif t.TYPE_CHECKING:
        from {name} import drawn

    class Base:
        pass

    class Plugin(Base):
        def gather(self):
            from .late import work
            return work(3) % 5
"""
FILES = {
    "__init__": "",
    "plugin": PLUGIN,
    "near": "from {name}.far import fall\n",
    "far": "def fall(): return 1\n",
    "late": "def work(n): return n\n",
    "shown": "text = 'one'\n",
    "drawn": "text = 'one'\n",
    "unread": "",
}


class Package:
    """A package of some files that can be edited; ``name`` is another in each test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self._edits = 0
        for file, text in FILES.items():
            self.write(file, text)

    def write(self, file: str, text: str) -> None:
        path = self.folder / f"{file}.py"
        path.write_text(dedent(text).replace("{name}", self.name))
        # Two edits of a test may fall into one tick of the file system's clock.
        self._edits += 1
        os.utime(path, ns=(self._edits * 10**9, self._edits * 10**9))

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.folder / f"{file}.py").read_text()
        assert old in text
        self.write(file, text.replace(old, new))

    def plugin(self) -> type[Any]:
        """Imported anew, as a process of its own would."""
        self.forget()
        found: type[Any] = importlib.import_module(f"{self.name}.plugin").Plugin
        return found

    def forget(self) -> None:
        importlib.invalidate_caches()
        for name in [one for one in sys.modules if one.partition(".")[0] == self.name]:
            del sys.modules[name]


@pytest.fixture
def package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    return Package(tmp_path, f"made_{abs(hash(request.node.name))}")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("plugin", "% 5", "% 3"),
        ("plugin", "class Base:\n    pass", "class Base:\n    size = 1"),
        ("near", "fall", "fall as fell"),
        ("far", "return 1", "return 2"),
        ("late", "return n", "return -n"),
    ],
)
def test_an_edit_anywhere_below_is_seen(package: Package, file: str, old: str, new: str) -> None:
    before = code_digest(package.plugin())
    package.replace(file, old, new)
    assert code_digest(package.plugin()) != before
    package.replace(file, new, old)
    assert code_digest(package.plugin()) == before


def test_the_code_of_a_package_is_seen(package: Package) -> None:
    before = code_digest(package.plugin())
    package.write("__init__", "import os\nos.environ['X'] = '1'\n")
    assert code_digest(package.plugin()) != before


def test_comments_and_formatting_are_not(package: Package) -> None:
    before = code_digest(package.plugin())
    package.replace("plugin", "return work(3) % 5", "# three\n        return (work( 3 ) %\n 5)")
    package.replace("far", "def", "\n\n\ndef")
    assert code_digest(package.plugin()) == before


@pytest.mark.parametrize("file", ["shown", "drawn", "unread"])
def test_what_is_only_for_type_checkers_or_not_imported_is_not(
    package: Package, file: str
) -> None:  # fmt: skip
    before = code_digest(package.plugin())
    package.write(file, "text = 'two'")
    assert code_digest(package.plugin()) == before


def test_nothing_is_imported_for_it(package: Package) -> None:
    code_digest(package.plugin())
    assert f"{package.name}.late" not in sys.modules


def test_a_base_of_another_module_counts(package: Package) -> None:
    digests = []
    for number in (1, 2):
        package.write("late", f"class Base:\n    def gather(self): return {number}")
        package.forget()
        base = importlib.import_module(f"{package.name}.late").Base
        digests.append(code_digest(type("Made", (base,), {"__module__": f"{package.name}.near"})))
    assert digests[0] != digests[1]


def test_an_extension_module_counts_by_its_bytes(package: Package) -> None:
    package.write("far", "def fall():\n    from . import fast")
    library = package.folder / "fast.abi3.so"
    library.write_bytes(b"\x7fELF one")
    before = code_digest(package.plugin())
    library.write_bytes(b"\x7fELF three")
    assert code_digest(package.plugin()) != before


def test_a_file_that_is_no_python_is_seen_all_the_same(package: Package) -> None:
    before = code_digest(package.plugin())
    plugin, digests = package.plugin(), {before}
    del sys.modules[f"{package.name}.far"]
    for text in ("print 'two'", "print 'three'"):
        package.write("far", text)
        digests.add(code_digest(plugin))
    assert len(digests) == 3


def test_an_installed_plugin_is_read_and_an_installed_library_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(site)
    plugin, library = Package(site, "installed_plugin"), Package(site, "installed_library")
    plugin.write("far", "def fall():\n    import installed_library.far")
    before = code_digest(plugin.plugin())
    library.replace("far", "return 1", "return 2")
    assert code_digest(plugin.plugin()) == before
    info = site / "other_name-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-name\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("installed_library\n")
    named = code_digest(plugin.plugin())
    assert named != before
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-name\nVersion: 1.1\n")
    assert code_digest(plugin.plugin()) not in (before, named)
    plugin.replace("late", "return n", "return -n")
    assert code_digest(plugin.plugin()) != before


@pytest.mark.parametrize("library", ["numpy", "scipy", "torch", "torchvision", "opacus",
                                     "scikit-learn"])  # fmt: skip
def test_another_version_of_a_library_that_computes_is_seen(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    before, real = code_digest(features), metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "0.0.1" if name == library else real(name)
    )
    assert code_digest(features) != before


def test_another_python_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest(features)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert code_digest(features) != before


def test_a_class_of_a_library_that_computes_is_not_read() -> None:
    from sklearn.tree import DecisionTreeClassifier

    assert code._Closure([DecisionTreeClassifier]).sources == {}
    assert code_digest(DecisionTreeClassifier) != code_digest()


def test_one_defense_of_the_harness_does_not_rest_on_another() -> None:
    from harness.defenses.bagging import Bagging

    sources = code._Closure([Bagging]).sources
    assert {"harness.defenses", "harness.defenses.bagging", "harness.defense"} <= sources.keys()
    assert not any(name.startswith("harness.defenses.dp") for name in sources)
    for later in (
        "harness.running.plan",
        "harness.running.runner",
        "harness.results.folder",
        "harness.report",
    ):
        assert later not in sources


NOTEBOOK = """
from functools import partial
import numpy as np

SIZE = (3, 4)
WEIGHTS = np.array([1.5, 2.5])
KNOWN = {7, 8}
POWER = partial(pow, 2)

def helper(x, *, by=2):
    return [x * by for _ in range(SIZE[0]) if x in {"a", "b", "c"}]

class Noted:
    rate = 0.5
    def gather(self):
        return helper(1), WEIGHTS, KNOWN, POWER(3)
    @staticmethod
    def fixed():
        return 7
    @property
    def shown(self):
        return 8
"""


def noted(text: str, **names: Any) -> type[Any]:
    exec(text, names)
    found: type[Any] = names["Noted"]
    return found


@pytest.mark.parametrize("names", [{"__name__": "a_notebook"}, {}])
def test_a_class_without_a_file_is_seen_by_its_code(names: dict[str, Any]) -> None:
    def digest(old: str, new: str) -> str:
        assert old in NOTEBOOK
        return code_digest(noted(NOTEBOOK.replace(old, new), **names))

    before = digest("", "")
    assert before == digest("", "") == digest("    return [", "    # more\n\n    return [")
    edits = [("helper(1)", "helper(2)"), ("by=2", "by=3"), ("rate = 0.5", "rate = 0.6")]
    edits += [("SIZE = (3", "SIZE = (5"), ('"b"', '"z"'), ("return 7", "return 9")]
    edits += [("return 8", "return 9"), ("x * by", "x + by"), ("2.5]", "2.75]")]
    edits += [("{7, 8}", "{7, 9}"), ("partial(pow, 2)", "partial(pow, 3)")]
    assert len({before, *(digest(*edit) for edit in edits)}) == 1 + len(edits)


def test_a_class_without_a_file_rests_on_what_it_imports(package: Package) -> None:
    text = f"from {package.name} import far\nclass Noted:\n    def f(self): far.fall()"
    before = code_digest(noted(text, __name__="a_notebook"))
    package.replace("far", "return 1", "return 2")
    package.forget()
    assert code_digest(noted(text, __name__="a_notebook")) != before


def test_every_process_finds_the_same_digest(package: Package) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(package.folder.parent)!r})\n"
        "from harness.running.code import code_digest\n"
        f"from {package.name}.plugin import Plugin\n"
        "from harness.defenses.bagging import Bagging\n"
        f"names = {{'__name__': 'a_notebook'}}\nexec({NOTEBOOK!r}, names)\n"
        "print(code_digest(Plugin, Bagging, Bagging.Params, names['Noted']))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_texts_that_a_method_is_given(package: Package) -> None:
    package.write(
        "late", "def work(task):\n    task.learner('mine'); task.learner(x); y.other('no')"
    )
    assert constants_given_to("learner", package.plugin()) == {"mine"}


def test_a_script_is_seen_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for size in (1, 22):
        script = ModuleType("a_script")
        script.__file__ = str(tmp_path / "script.py")
        script.__spec__ = None
        (tmp_path / "script.py").write_text(f"class Noted: size = {size}\n")
        monkeypatch.setitem(sys.modules, "a_script", script)
        digests.add(code_digest(noted("class Noted: pass", __name__="a_script")))
    assert len(digests) == 2
