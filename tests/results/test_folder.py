import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import NoSpaceError, RunFolderError
from harness.results.files import Stored, npz_bytes, read_npz, write_atomically
from harness.results.folder import RunFolder, open_run
from harness.results.store import Blocks

PLAN: dict[str, Any] = {"dataset": "d", "digest": "x", "seed": 0, "cells": ["a"]}
PART = Stored({"votes": np.arange(6).reshape(3, 2)}, {"train": 1.5})


def begin(path: Path, plan: dict[str, Any] = PLAN, **options: bool) -> None:
    with open_run(path, plan, **({"fresh": False} | options)) as folder:
        folder.write("manifest.json", json.dumps({"schema": 1, "plan": plan}))


def test_arrays_and_meta_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(PART.arrays, PART.meta))
    found = read_npz(path)
    assert found is not None
    assert found.meta == {"train": 1.5}
    assert found.arrays["votes"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert npz_bytes(PART.arrays, PART.meta) == path.read_bytes()


def test_nothing_is_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        npz_bytes({"x": np.array([object()])})
    np.savez(tmp_path / "evil.npz", x=np.array([{"a": 1}], dtype=object))
    assert read_npz(tmp_path / "evil.npz") is None


@pytest.mark.parametrize("keep", [0, 1, 30, 100])
def test_a_damaged_file_counts_as_not_there(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(PART.arrays, PART.meta)[:keep])
    assert read_npz(path) is None
    flipped = bytearray(npz_bytes({"x": np.zeros(1000)}))
    flipped[60] ^= 0xFF
    path.write_bytes(flipped)
    assert read_npz(path) is None


def test_evidence_is_kept(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", PLAN, fresh=False) as folder:
        assert folder.evidence("toy", "key") is None
        folder.save_evidence("toy", "key", PART)
        found = folder.evidence("toy", "key")
        assert found is not None
        assert found.meta == PART.meta


def test_the_same_plan_resumes_and_another_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run)
    begin(run)
    for change, message in (
        ({"dataset": "e", "digest": "y"}, "its dataset is d, not e"),
        ({"digest": "y"}, "its data have changed"),
        ({"cells": ["b"]}, "its defenses are a"),
        ({"cells": ["a", "b"]}, "its defenses are a"),
    ):
        with pytest.raises(RunFolderError, match=f"holds another run .*{message}") as caught:
            begin(run, PLAN | change)
        assert "--fresh" in str(caught.value)


def test_a_folder_may_be_widened_by_what_is_on_the_same_data(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run)
    begin(run, PLAN | {"seed": 1, "cells": ["b"]}, widen=True)
    begin(run, PLAN | {"dataset": "the same by another path"}, widen=True)
    for change in ({"digest": "y"}, {"dataset": "e", "digest": "y"}):
        with pytest.raises(RunFolderError, match="holds another run"):
            begin(run, PLAN | change, widen=True)


def test_a_run_of_version_0_1_0_is_resumed(tmp_path: Path) -> None:
    """It named keys beside the cells."""
    begin(tmp_path / "run", PLAN | {"cells": {"a": "key"}})
    begin(tmp_path / "run")


def left_by(folder: RunFolder, *stems: str) -> None:
    """What cells leave: finished evidence and a block, a failure and a log."""
    for stem in stems:
        name, key = stem.rsplit("-", 1)
        folder.save_evidence(name, key, PART)
        Blocks(folder.path / "evidence").put(stem, 0, range(4), PART)
        folder.write(f"failures/{stem}.txt", "failed")
        folder.write(f"logs/{stem}-2.txt", "said")


def stems_in(folder: RunFolder) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.path.glob("*/*")}


OLD, NEW, OTHER = "a-" + "0" * 16, "a-" + "1" * 16, "a-b-" + "2" * 16


def test_what_other_code_left_is_dropped(tmp_path: Path) -> None:
    with open_run(tmp_path, PLAN, fresh=False) as folder:
        left_by(folder, OLD, OTHER)
        (tmp_path / "evidence" / "my-notes.npz").write_bytes(b"mine")
        cells = [{"label": "a", "evidence": OLD}, {"label": "a-b", "evidence": OTHER}]
        cells.append({"label": "a[x=1]", "evidence": NEW})  # it had not been trained yet
        folder.write("manifest.json", json.dumps({"schema": 1, "plan": PLAN, "cells": cells}))
        wanted = {"a": NEW, "a-b": OTHER, "a[x=1]": NEW[:-1] + "9"}
        assert folder.drop_stale(wanted) == ["a"]
        assert stems_in(folder) == {OTHER, f"{OTHER}-2", "my-notes"}
        assert folder.drop_stale(wanted) == []


def test_a_cell_that_cannot_be_loaded_keeps_its_evidence_until_it_can(tmp_path: Path) -> None:
    with open_run(tmp_path, PLAN, fresh=False) as folder:
        left_by(folder, OLD)
        cells = [{"label": "a", "evidence": "a-"}]
        folder.write("manifest.json", json.dumps({"schema": 1, "plan": PLAN, "cells": cells}))
        folder.write("failures/a-.txt", "failed")
        assert folder.drop_stale({"a": "a-"}) == []
        assert stems_in(folder) == {OLD, "a-"}
        assert folder.drop_stale({"a": NEW}) == ["a"]
        assert stems_in(folder) == set()


def test_fresh_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run)
    (run / "evidence").mkdir()
    (run / "evidence" / "old.npz").write_bytes(b"")
    (run / "my-notes.txt").write_text("mine")
    begin(run, PLAN | {"seed": 5}, fresh=True)
    assert not (run / "evidence").exists()
    assert (run / "my-notes.txt").read_text() == "mine"


def test_a_folder_of_other_files_is_refused_even_with_fresh(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(RunFolderError, match=r"holds no run \(found thesis.tex\)"):
            begin(tmp_path, fresh=fresh)


def test_a_damaged_manifest_is_an_error_unless_the_run_starts_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run)
    (run / "manifest.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"cannot read .*manifest\.json"):
        begin(run)
    begin(run, fresh=True)


def test_the_manifest_of_another_program_is_no_run(tmp_path: Path) -> None:
    """Web applications, too, have a manifest.json; nothing of theirs is ever removed."""
    (tmp_path / "manifest.json").write_text('{"name": "app"}')
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    for fresh in (False, True):
        with pytest.raises(RunFolderError, match="holds no run"):
            begin(tmp_path, fresh=fresh)
    assert (tmp_path / "figures" / "mine.png").exists()


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with open_run(run, PLAN, fresh=False), pytest.raises(RunFolderError, match="in use"):
        begin(run)
    begin(run)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write"):
        begin(tmp_path / "file")
    with pytest.raises(RunFolderError, match="cannot write"):
        begin(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, NoSpaceError), (errno.EDQUOT, NoSpaceError), (errno.EACCES, RunFolderError)],
)
def test_a_failed_write_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected, match=str(path)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_says_how_to_go_on(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    code = (
        "import os, pathlib, harness.results.files as s\n"
        "s.os.replace = lambda a, b: open('/dev/full', 'wb').write(b'x' * 10**6)\n"
        f"s.write_atomically(pathlib.Path({str(tmp_path / 'x')!r}), b'y')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "NoSpaceError: no space left for" in done.stderr
    assert "run the same command again" in done.stderr


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run)
    (run / "evidence").mkdir()
    left = run / "evidence" / ".a.npz.123.tmp"
    left.write_bytes(b"half")
    begin(run)
    assert not left.exists()
