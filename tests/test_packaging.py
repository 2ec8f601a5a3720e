"""What the wheel and the source distribution hold, and what their settings promise."""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import harness

ROOT = Path(__file__).parents[1]
FOLDERS = {"harness": "harness", "datasets": "harness/datasets", "defenses": "harness/defenses"}
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The tree as a fresh clone has it, where a build leaves its traces and no other is found."""
    copy = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for folder in (*FOLDERS, ".ci"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=NOT_SHIPPED)
    (copy / "tests").mkdir()
    shutil.copy(__file__, copy / "tests")
    return copy


def build(source: Path, what: str) -> Path:
    """The file that setuptools makes of ``source``, without a network."""
    program = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])('dist')"
    subprocess.run([sys.executable, "-c", program, what], cwd=source, check=True)
    (built,) = (source / "dist").glob("*.whl" if what == "build_wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def sdist(source):
    with tarfile.open(build(source, "build_sdist")) as archive:
        yield archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the source distribution, so that one shows what the other lacks."""
    unpacked = tmp_path_factory.mktemp("sdist")
    sdist.extractall(unpacked, filter="data")
    (folder,) = unpacked.iterdir()
    with zipfile.ZipFile(build(folder, "build_wheel")) as archive:
        yield archive


@pytest.fixture(scope="module")
def names(wheel):
    return set(wheel.namelist())


@pytest.fixture(scope="module")
def info(wheel, names):
    (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(path).decode())


def test_the_only_import_package_is_harness(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"harness"}
    assert len(tops) == 2


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_in_the_wheel(folder, names):
    modules = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")]
    assert modules
    assert {f"{FOLDERS[folder]}/{module.as_posix()}" for module in modules} <= names


def test_every_package_is_listed(project):
    found = {
        Path(mapped, init.parent.relative_to(ROOT / folder)).as_posix().replace("/", ".")
        for folder, mapped in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_the_data_the_templates_and_the_type_marker_are_in_the_wheel(names):
    assert {"harness/py.typed", "harness/datasets/data/mnist17.npz"} <= names
    for folder in ("harness/report/templates", "harness/scaffold/templates"):
        templates = {path.name for path in (ROOT / folder).iterdir()} - {"__pycache__"}
        assert {f"{folder}/{name}" for name in templates} <= names


def test_the_licence_and_the_attribution_are_in_the_wheel(wheel, names, info):
    files = {n.split("/licenses/")[1]: wheel.read(n).decode() for n in names if "/licenses/" in n}
    assert set(files) == {"LICENSE", "NOTICE"}
    assert "Apache License" in files["LICENSE"]
    assert "END OF TERMS AND CONDITIONS" in files["LICENSE"]
    notice = " ".join(files["NOTICE"].split())
    for part in ("Yann LeCun and Corinna Cortes", "by-sa/3.0", "only the images of the digits"):
        assert part in notice
    assert info["License-Expression"] == "Apache-2.0 AND CC-BY-SA-3.0"


def test_the_console_script(wheel, names):
    (path,) = (name for name in names if name.endswith("entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(path).decode())
    assert points.sections() == ["console_scripts"]
    assert dict(points["console_scripts"]) == {"harness": "harness.cli.main:main"}


def test_requirements_have_no_upper_bound(info):
    needed = [Requirement(line) for line in info.get_all("Requires-Dist")]
    assert {"torch", "torchvision", "opacus", "pluggy", "pytest"} <= {r.name for r in needed}
    bounds = {r.name: [bound.operator for bound in r.specifier] for r in needed}
    del bounds["poisoning-harness"]  # the extra "dev" takes "test" along
    assert all(operators == [">="] for operators in bounds.values()), bounds
    assert info["Requires-Python"] == ">=3.11"


def test_the_source_distribution_can_be_built_and_tested(sdist):
    names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {
        *(path.name for path in ROOT.glob("*.md")),
        "LICENSE",
        "NOTICE",
        "pyproject.toml",
        "tox.ini",
        ".ci/run",
        "datasets/data/mnist17.npz",
        "harness/py.typed",
        f"tests/{Path(__file__).name}",
    }
    for folder in FOLDERS:
        wanted |= {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*.py")}
    assert wanted <= names


def test_the_version_is_that_of_the_distribution(project):
    assert harness.__version__ == metadata.version("poisoning-harness")
    assert harness.__version__ == project["project"]["version"]


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="only tox installs the wheel")
def test_tox_tests_the_installed_wheel():
    assert Path(harness.__file__).parents[1].name == "site-packages"


def test_ruff_has_one_version_everywhere():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "tox.ini")
    pinned = settings["testenv:lint"]["deps"].split("\n")[-1].strip()
    assert pinned.startswith("ruff==")
    lines = (ROOT / ".pre-commit-config.yaml").read_text("utf-8").splitlines()
    used = [line for line in lines if "ruff==" in line]
    assert len(used) == 2
    assert all(f'"{pinned}"' in line for line in used)
