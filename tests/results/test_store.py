"""The evidence store: many processes fill it, some are killed, and nothing is ever half there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import NoSpaceError, RunFolderError, UsageError
from harness.results.files import Stored
from harness.results.store import EvidenceStore, store_path

STEM = "bagging-" + "0" * 16
OTHER = "dp-a-" + "1" * 16
PART = Stored({"votes": np.arange(6)}, {"train": 1.5})

FILLER = """
import random, sys
import numpy as np
from pathlib import Path
from harness.results.files import Stored
from harness.results.store import EvidenceStore

store, seed = EvidenceStore(Path(sys.argv[1])).open(), int(sys.argv[2])
print("open", flush=True)
order = [(cell, index) for cell in range(3) for index in range(12)]
random.Random(seed).shuffle(order)
for cell, index in order:
    stem, models = f"cell-{cell:016x}", range(10 * index, 10 * index + 10)
    release = store.hold(stem, lambda: None)
    if store.get(stem, index, models) is None:
        votes = np.random.default_rng([cell, index]).integers(0, 9, (500, 10))
        store.put(stem, index, models, Stored({"votes": votes}, {"by": seed}))
    release()
"""


@pytest.fixture
def kept(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(tmp_path / "kept").open()


def test_a_block_comes_back_by_its_cell_place_and_models(kept: EvidenceStore) -> None:
    kept.put(STEM, 1, range(4, 8), PART)
    found = kept.get(STEM, 1, range(4, 8))
    assert found is not None
    assert (found.arrays["votes"].tolist(), found.meta) == ([0, 1, 2, 3, 4, 5], {"train": 1.5})
    for stem, index, models in (
        (OTHER, 1, range(4, 8)),
        (STEM, 0, range(4, 8)),
        (STEM, 1, range(4, 9)),
        (STEM, 1, range(3, 8)),
    ):
        assert kept.get(stem, index, models) is None


def test_twenty_processes_fill_it_at_once_and_half_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    words = [sys.executable, "-c", FILLER, str(path)]
    running = [
        subprocess.Popen([*words, str(seed)], stdout=subprocess.PIPE, text=True)
        for seed in range(20)
    ]
    for i, process in enumerate(running):
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        if i % 2:
            time.sleep(0.001 * i)  # at different points of its work
            process.kill()
    codes = [process.wait() for process in running]
    for process in running:
        assert process.stdout is not None
        process.stdout.close()
    assert codes[::2] == [0] * 10
    broken: list[Path] = []
    store = EvidenceStore(path, broken.append).open()
    for cell in range(3):
        for index in range(12):
            found = store.get(f"cell-{cell:016x}", index, range(10 * index, 10 * index + 10))
            assert found is not None
            votes = np.random.default_rng([cell, index]).integers(0, 9, (500, 10))
            assert found.arrays["votes"].tobytes() == votes.tobytes()
    assert broken == []
    assert [(entry.blocks, entry.name) for entry in store.entries()] == [(12, "cell")] * 3


def test_one_process_waits_for_another_and_says_so_once(kept: EvidenceStore) -> None:
    told: list[str] = []
    release = kept.hold(STEM, lambda: told.append("first"))
    code = (
        "import sys; from pathlib import Path; from harness.results.store import EvidenceStore\n"
        "store = EvidenceStore(Path(sys.argv[1]))\n"
        "store.hold(sys.argv[2], lambda: print('waiting', flush=True))\n"
        "print('inside', flush=True)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(kept.path), STEM], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "waiting\n"
    kept.hold(OTHER, lambda: told.append("another cell"))()
    release()
    assert other.communicate()[0] == "inside\n"
    assert told == []


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_block_is_told_of_and_counts_as_not_there(tmp_path: Path, keep: int) -> None:
    told: list[Path] = []
    store = EvidenceStore(tmp_path / "kept", told.append).open()
    store.put(STEM, 0, range(4), PART)
    (path,) = store.path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:keep])
    assert store.get(STEM, 0, range(4)) is None
    assert told == [path]
    store.put(STEM, 0, range(4), PART)
    assert store.get(STEM, 0, range(4)) is not None
    assert store.get(STEM, 1, range(4, 8)) is None
    assert told == [path], "what was never there is not damaged"


def test_a_folder_of_anything_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"is no evidence store \(found thesis\.tex\)"):
        EvidenceStore(tmp_path).open()
    assert EvidenceStore(tmp_path).clear() == []
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write"):
        EvidenceStore(tmp_path / "file").open()


def test_a_full_disk_leaves_nothing_half_written(
    kept: EvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(NoSpaceError):
        kept.put(STEM, 0, range(4), PART)
    assert list((kept.path / STEM).iterdir()) == []


def aged(store: EvidenceStore, stem: str, days: float) -> None:
    for path in (store.path / stem).glob("*.npz"):
        os.utime(path, (time.time() - 86400 * days,) * 2)


def test_what_was_not_wanted_for_long_is_pruned_first(kept: EvidenceStore) -> None:
    for stem, days in ((STEM, 40), (OTHER, 2)):
        kept.put(stem, 0, range(4), PART)
        aged(kept, stem, days)
    (kept.path / "my-notes.txt").write_text("mine")
    assert [entry.name for entry in kept.entries()] == ["dp-a", "bagging"]
    assert kept.prune(older_than=86400 * 50) == []
    gone = kept.prune(older_than=86400 * 30)
    assert [(entry.name, entry.blocks) for entry in gone] == [("bagging", 1)]
    assert kept.get(STEM, 0, range(4)) is None
    kept.put(STEM, 0, range(4), PART)  # wanted today
    size = kept.entries()[0].bytes
    assert [entry.name for entry in kept.prune(most=size)] == ["dp-a"]
    assert [entry.name for entry in kept.clear()] == ["bagging"]
    assert kept.entries() == []
    assert (kept.path / "my-notes.txt").read_text() == "mine"


def test_reading_a_block_makes_it_one_that_is_wanted(kept: EvidenceStore) -> None:
    kept.put(STEM, 0, range(4), PART)
    aged(kept, STEM, 40)
    kept.get(STEM, 0, range(4))
    assert kept.prune(older_than=86400 * 30) == []


def test_what_killed_writers_left_is_removed_once_it_is_old(kept: EvidenceStore) -> None:
    kept.put(STEM, 0, range(4), PART)
    old, new = (kept.path / STEM / f".{n}.npz.1.tmp" for n in (1, 2))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 10 * 86400,) * 2)
    kept.prune(older_than=86400 * 30)
    assert (old.exists(), new.exists()) == (False, True)
    assert kept.get(STEM, 0, range(4)) is not None


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path))
    assert store_path() == tmp_path
    assert store_path("elsewhere") == Path("elsewhere")
    assert store_path("off") is None
    monkeypatch.setenv("HARNESS_STORE", "off")
    assert store_path() is None
    assert store_path(tmp_path) == tmp_path
    monkeypatch.setenv("HARNESS_STORE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    default = store_path()
    assert default is not None and default.name == "evidence"
    if sys.platform == "linux":
        assert default == tmp_path / "cache" / "poisoning-harness" / "evidence"


def test_what_lies_in_a_folder_that_looks_like_a_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    precious = tmp_path / f"precious-{'0' * 16}"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is no evidence store \(found \.git\)"):
        EvidenceStore(tmp_path).open()
    (tmp_path / ".git").rmdir()
    precious.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path.parent / "away")
    store = EvidenceStore(tmp_path).open()
    (tmp_path.parent / "away").rename(precious)
    store.put(STEM, 0, range(4), PART)
    store.clear()
    assert store.entries() == []
    assert (precious / "thesis.txt").read_text() == "mine"


def test_a_cell_that_is_being_trained_is_not_cleared(kept: EvidenceStore) -> None:
    kept.put(STEM, 0, range(4), PART)
    kept.put(OTHER, 0, range(4), PART)
    release = kept.hold(STEM, lambda: None)
    assert [entry.name for entry in EvidenceStore(kept.path).clear()] == ["dp-a"]
    release()
    assert [entry.name for entry in kept.entries()] == ["bagging"]
    assert [entry.name for entry in kept.clear()] == ["bagging"]
    assert not (kept.path / STEM).exists()


def test_a_store_that_is_cleared_all_the_time_can_be_filled(kept: EvidenceStore) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.results.store import EvidenceStore\n"
        "store = EvidenceStore(Path(sys.argv[1]))\n"
        "while True: store.clear()"
    )
    clearing = subprocess.Popen([sys.executable, "-c", code, str(kept.path)])
    try:
        for i in range(300):
            release = kept.hold(STEM, lambda: None)
            kept.put(STEM, i, range(4), PART)
            release()
            kept.entries()
    finally:
        clearing.kill()
        clearing.wait()
