"""The commit of the code that ran, whatever folder one stands in and whatever it configures."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.defenses.bagging import Bagging
from harness.results import checkout, provenance
from harness.results.cells import Cell
from harness.results.checkout import Checkout, checkout_of

if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)

EXAMPLE = Path(__file__).parents[1] / "example_plugin" / "harness_parts.py"
UNKNOWN = Checkout(None, None)


@pytest.fixture(autouse=True)
def of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the configuration of whoever runs the tests, or of a hook that they run in."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    """Makes a repository of files: by path, their content."""

    def make(name: str = "checkout", **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        git(folder, "init", "--quiet")
        for file, content in {"module.py": "A = 1\n", **files}.items():
            (folder / file).write_text(content)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", "first")
        return folder

    return make


@pytest.fixture
def module(repository: Callable[..., Path]) -> Path:
    return repository() / "module.py"


def head(file: Path) -> str:
    return git(file.parent, "rev-parse", "HEAD")


def test_a_tracked_file_has_the_commit_of_its_checkout(module: Path) -> None:
    assert checkout_of(module) == Checkout(head(module), dirty=False)
    assert checkout_of(str(module)) == checkout_of(module)


@pytest.mark.parametrize("changed", ["module.py", "another.py"])
def test_a_change_anywhere_in_it_makes_it_dirty(module: Path, changed: str) -> None:
    (module.parent / changed).write_text("B = 2\n")
    assert checkout_of(module) == Checkout(head(module), dirty=True)


def test_an_installed_file_is_of_no_checkout_though_its_folder_is(module: Path) -> None:
    """Such as site-packages of an environment inside somebody's project."""
    site = module.parent / ".venv" / "site-packages"
    site.mkdir(parents=True)
    shutil.copy(module, site / "installed.py")
    assert checkout_of(site / "installed.py") == UNKNOWN


def test_a_link_leads_to_the_checkout(module: Path, tmp_path: Path) -> None:
    (tmp_path / "linked.py").symlink_to(module)
    assert checkout_of(tmp_path / "linked.py").commit == head(module)


def test_no_checkout_no_file_no_commit(tmp_path: Path) -> None:
    assert checkout_of(None) == UNKNOWN
    (tmp_path / "plain.py").write_text("")
    assert checkout_of(tmp_path / "plain.py") == UNKNOWN
    assert checkout_of(tmp_path / "no" / "such.py") == UNKNOWN
    assert checkout_of("<string>") == UNKNOWN
    assert checkout_of("a\0b") == UNKNOWN
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "plain.py")
    assert checkout_of(tmp_path / "plain.py") == UNKNOWN


def test_without_git_nothing_is_known(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(module.parent))
    assert checkout_of(module) == UNKNOWN


def test_a_repository_that_git_refuses(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another user, unless safe.directory names it."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    assert checkout_of(module).commit
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refuses = subprocess.run(["git", "status"], cwd=module.parent, capture_output=True, check=False)
    assert refuses.returncode
    environment = checkout._environment()
    monkeypatch.setattr(
        checkout, "_environment", lambda: environment | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    )
    assert checkout_of(module) == UNKNOWN


def test_a_git_that_hangs(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(checkout, "_TIMEOUT", 0.1)
    assert checkout_of(module) == UNKNOWN


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"])
def test_a_hook_that_runs_it_points_nowhere_else(
    name: str, module: Path, repository: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = checkout_of(module)
    other = repository("other", **{"another.py": ""})
    monkeypatch.setenv(name, str(other / ".git" if name == "GIT_DIR" else other))
    assert checkout_of(module) == wanted


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({"core.fsmonitor": "PROGRAM"}, True),
        ({"core.hooksPath": "HOOKS"}, True),
        ({"core.pager": "PROGRAM", "alias.status": "!PROGRAM", "core.editor": "PROGRAM"}, True),
        ({"filter.evil.clean": "PROGRAM"}, False),
        ({"filter.evil.process": "PROGRAM", "filter.evil.required": "true"}, False),
        ({"include.path": "INCLUDED"}, False),
    ],
)
def test_what_a_repository_configures_is_not_run(
    settings: dict[str, str], known: bool, repository: Callable[..., Path], tmp_path: Path
) -> None:
    folder = repository(**{".gitattributes": "*.py filter=evil\n"})
    ran = tmp_path / "ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    program = hooks / "post-index-change"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\ncat\n")
    program.chmod(0o755)
    included = tmp_path / "included"
    included.write_text(f'[filter "evil"]\n\tclean = {program}\n')
    places = {"PROGRAM": program, "HOOKS": hooks, "INCLUDED": included}
    for key, value in settings.items():
        kind = value.lstrip("!")
        git(folder, "config", key, value.replace(kind, str(places.get(kind, kind))))
    os.utime(folder / "module.py", (1, 1))  # so that status reads the file again
    found = checkout_of(folder / "module.py")
    assert not ran.exists()
    assert found == (Checkout(head(folder / "module.py"), dirty=False) if known else UNKNOWN)


# In a manifest


def test_the_harness_itself_wherever_one_stands(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = provenance.git()
    monkeypatch.chdir(module.parent)
    assert provenance.git() == wanted
    assert provenance.git()["commit"] != head(module)
    monkeypatch.setattr(harness, "__file__", str(module))
    assert provenance.git() == {"commit": head(module), "dirty": False}


def test_the_sources_of_defenses_and_learners(
    module: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = Cell("bagging", "bagging", "poisoning-harness 1", Bagging(Bagging.Params(k=5)), "")
    assert provenance.sources([own, replace(own, defense=None)]) == {}
    shutil.copy(EXAMPLE, module.parent)
    git(module.parent, "add", ".")
    git(module.parent, "commit", "--quiet", "-m", "second")
    theirs = replace(own, distribution="parts 1", defense=made(module.parent, monkeypatch))
    wanted = {"commit": head(module), "dirty": False}
    assert provenance.sources([own, theirs]) == {"parts 1": wanted}
    module.write_text("")
    assert provenance.sources([own, theirs]) == {"parts 1": wanted | {"dirty": True}}
    shutil.copy(EXAMPLE, tmp_path)
    installed = replace(theirs, defense=made(tmp_path, monkeypatch))
    assert provenance.sources([own, installed]) == {"parts 1": {"commit": None, "dirty": None}}


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, **params: Any) -> Any:
    """The defense of the example plugin that lies in that folder."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would be a change of the checkout
    spec = spec_from_file_location("harness_parts", folder / EXAMPLE.name)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "harness_parts", module)
    spec.loader.exec_module(module)
    return module.Parts(module.PartsParameters(**params))


def test_an_estimator_that_is_named_by_its_import_path() -> None:
    spec = "sklearn.tree.DecisionTreeClassifier(max_depth=3)"
    cell = Cell("b", "bagging", "poisoning-harness 1", Bagging(Bagging.Params(learner=spec)), "")
    (found,) = provenance.sources([cell]).items()
    assert found[0].startswith("scikit-learn ")
    assert found[1] == {"commit": None, "dirty": None}


def test_a_plugin_in_a_checkout_is_told_by_the_manifest_and_the_report(
    repository: Callable[..., Path], tiny_npz: Path, tmp_path: Path
) -> None:
    """As an editable install has it: the metadata are elsewhere."""
    files = {EXAMPLE.name: EXAMPLE.read_text(), ".gitignore": "__pycache__\n"}
    plugin = repository("plugin", **files)
    other = repository("other")
    metadata = tmp_path / "site" / "harness_parts-0.3.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: harness-parts\nVersion: 0.3.0")
    (metadata / "entry_points.txt").write_text("[harness]\nparts = harness_parts\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "harness", "run", "-d", "parts[n_models=5]",
            "--dataset", f"npz:{tiny_npz}", "--output", tmp_path / "run",
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(plugin), str(metadata.parent)])},
        cwd=other, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    commit = head(plugin / EXAMPLE.name)
    assert manifest["sources"] == {"harness-parts 0.3.0": {"commit": commit, "dirty": False}}
    assert manifest["git"]["commit"] != head(other / "module.py")
    assert f"harness-parts 0.3.0: {commit}" in (tmp_path / "run" / "report.html").read_text()
