"""Code that is edited while the process lives: what memory holds is never taken for the file's."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import harness
from harness.certificates import DETERMINISTIC, PointwiseCertificate
from harness.datasets.base import Dataset
from harness.defense import Defense
from harness.errors import CellFailed, UsageError
from harness.running.code import code_digest
from harness.threats import Threat

CODE = "VALUE = 3\n\ndef told():\n    return VALUE\n\nclass Has:\n    def told(self): return 3\n"
EDITED = CODE.replace("3", "44")


def certificate(threat: Threat) -> PointwiseCertificate:
    zeros = np.zeros(30, int)
    return PointwiseCertificate("none", threat, DETERMINISTIC, zeros, zeros)


def defense(text: str, **names: Any) -> type[Any]:
    """A defense of a notebook whose ``gather`` is that line."""
    around = {"__name__": "a_notebook", "Defense": Defense, "Threat": Threat, "np": np}
    around |= names | {"certificate": certificate}
    exec(
        "class Live(Defense):\n"
        "    name = title = paper = 'live'\n"
        "    def covers(self): return frozenset({Threat.ANY})\n"
        f"    def gather(self, task):\n        {text}\n"
        "    def certify(self, evidence, threat, alpha): return certificate(threat)\n",
        around,
    )
    found: type[Any] = around["Live"]  # type: ignore[assignment]
    return found


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr("harness.api.write_report", lambda folder: None)
    path = tmp_path / "livemod.py"
    path.write_text(CODE)
    yield path
    sys.modules.pop("livemod", None)


def load() -> ModuleType:
    importlib.invalidate_caches()
    sys.modules.pop("livemod", None)
    return importlib.import_module("livemod")


def told(cls: type[Any], tiny: Dataset, folder: Path) -> int:
    harness.run(cls, dataset=tiny, output=folder, threats="any")
    (file,) = (folder / "evidence").glob("*.npz")
    with np.load(file) as archive:
        return int(archive["told"])


WAYS = {
    "constant": "return {'told': np.array(livemod.VALUE)}",
    "function": "return {'told': np.array(livemod.told())}",
    "method": "return {'told': np.array(livemod.Has().told())}",
    "lazy": "import livemod; return {'told': np.array(livemod.VALUE)}",
}


@pytest.mark.parametrize("way", WAYS)
def test_old_code_in_memory_is_kept_under_its_own_key(
    live: Path, tiny: Dataset, tmp_path: Path, way: str
) -> None:
    """Once: an edit, a run without reloading, and a new process had the old code's radius."""
    made = defense(WAYS[way], livemod=load())
    assert told(made, tiny, tmp_path / "before") == 3
    live.write_text(EDITED)
    assert told(made, tiny, tmp_path / "old") == 3
    made = defense(WAYS[way], livemod=load())
    assert told(made, tiny, tmp_path / "new") == 44
    live.write_text(CODE.replace("3", "555"))
    made = defense(WAYS[way], livemod=importlib.reload(sys.modules["livemod"]))
    assert told(made, tiny, tmp_path / "reloaded") == 555


@pytest.mark.parametrize("way", ["constant", "lazy"])
def test_a_constant_that_was_edited_before_anything_was_asked(
    live: Path, tiny: Dataset, tmp_path: Path, way: str
) -> None:
    live.write_text("VALUE = 3\n")
    made = defense(WAYS[way], livemod=load())
    live.write_text("VALUE = 44\n")
    assert told(made, tiny, tmp_path / "old") == 3
    assert told(defense(WAYS[way], livemod=load()), tiny, tmp_path / "new") == 44


@pytest.mark.parametrize("text", [EDITED, "def told(:\n"])
def test_code_that_is_no_longer_in_its_file_is_refused(
    live: Path, tiny: Dataset, text: str
) -> None:
    made = defense(WAYS["lazy"])
    load()
    live.write_text(text)
    with pytest.raises(UsageError, match=r"^livemod was edited after it was imported") as caught:
        harness.run(made, dataset=tiny)
    assert "\n" not in str(caught.value)
    load() if text == EDITED else sys.modules.pop("livemod")
    assert code_digest(made)


def test_a_comment_is_no_edit(live: Path) -> None:
    made = defense(WAYS["function"], livemod=load())
    live.write_text("# three\n\n" + CODE)
    before = code_digest(made)
    assert before == code_digest(defense(WAYS["function"], livemod=load()))


def test_a_function_of_before_a_reload_is_refused(live: Path) -> None:
    made = defense("return {'told': old().told()}", old=load().Has)
    assert code_digest(made)
    live.write_text(EDITED)
    importlib.reload(sys.modules["livemod"])
    lazy = defense(WAYS["lazy"])
    assert code_digest(lazy)
    with pytest.raises(UsageError, match="livemod was edited"):
        code_digest(made, lazy)


def test_what_is_imported_while_it_trains_counts_the_same_before_and_after(live: Path) -> None:
    sys.modules.pop("livemod", None)
    importlib.invalidate_caches()
    made = defense(WAYS["lazy"])
    before = code_digest(made)
    assert "livemod" not in sys.modules
    load()
    assert code_digest(made) == before


def test_a_block_of_a_module_that_was_edited_before_it_was_imported_is_not_kept(
    live: Path, tiny: Dataset, tmp_path: Path, store: Path
) -> None:
    sys.modules.pop("livemod", None)
    planned = harness.plan(defense(WAYS["lazy"]), dataset=tiny, threats="any")
    live.write_text(EDITED)
    importlib.invalidate_caches()
    kept = len(list(store.rglob("*.npz")))
    with pytest.raises(CellFailed, match="livemod was edited after this run was planned"):
        harness.api.carry_out(planned, [], on_error="raise")
    assert len(list(store.rglob("*.npz"))) == kept
