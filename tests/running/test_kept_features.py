"""Dear features in runs: computed once for all of them, trusted aloud, and never in the way."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import harness
from harness.cli.program import program
from harness.datasets.base import Dataset
from harness.datasets.npy import Npy
from harness.running.quiet import Quiet

NETS = Path(__file__).parents[1] / "features"
DPA = "dpa[n_models=5,features=pretrained(model='networks_of_a_user:tiny')]"
BAGGING = "bagging[k=5,n_models=20,features=pretrained(model='networks_of_a_user:tiny')]"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(NETS))
    yield
    sys.modules.pop("networks_of_a_user", None)


class Told(Quiet):
    """Hears how many examples dear features are computed of, and what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0

    def working(self, on: str, done: int, total: int) -> None:
        assert on == "pretrained(model='networks_of_a_user:tiny')" or "layer='0'" in on
        if done == total:
            self.computed += total


@pytest.fixture
def notes() -> Told:
    return Told()


def run(data: Dataset, cell: str, folder: Path, **more: Any) -> harness.Run:
    return harness.run([cell], dataset=data, threats="any", output=folder, **more)


def curves(result: harness.Run) -> str:
    return (result.folder / "curves.csv").read_text()


def test_rows_are_computed_once_for_all_runs_of_a_store(
    tiny: Dataset, tmp_path: Path, notes: Told
) -> None:
    store = tmp_path / "store"
    first = run(tiny, DPA, tmp_path / "1", store=store, progress=notes)
    # The same image twice is computed once.
    everything = len({one.tobytes() for one in [*tiny.x_train, *tiny.x_test]})
    assert 0 < notes.computed <= everything
    notes.computed = 0
    again = run(tiny, DPA, tmp_path / "2", store=store, fresh=True, progress=notes)
    run(tiny, BAGGING, tmp_path / "3", store=store, progress=notes)
    assert notes.computed == 0
    assert curves(again) == curves(first)
    without = run(tiny, DPA, tmp_path / "4", store="off", progress=notes)
    assert curves(without) == curves(first)
    assert any("no store keeps them" in text for text in notes.notes)


def test_rows_that_are_drawn_are_kept_as_well(
    tiny: Dataset, tiny_npy: Path, tmp_path: Path, notes: Told
) -> None:
    """Of a data set that stays in its files: no others are computed, and each once for all runs."""
    data, store = Npy().load(str(tiny_npy), None), tmp_path / "store"
    few = BAGGING.replace("n_models=20", "n_models=4")
    first = run(data, few, tmp_path / "1", store=store, progress=notes)
    assert tiny.n_test < notes.computed <= tiny.n_test + 4 * 5
    notes.computed = 0
    run(data, few, tmp_path / "2", store=store, fresh=True, progress=notes)
    assert notes.computed == 0
    assert curves(first) == curves(run(tiny, few, tmp_path / "3", store="off"))


def test_another_network_has_rows_of_its_own(tiny: Dataset, tmp_path: Path, notes: Told) -> None:
    run(tiny, DPA, tmp_path / "1", store=tmp_path / "store", progress=notes)
    notes.computed = 0
    run(
        tiny,
        DPA.replace(":tiny'", ":tiny',layer='0'"),
        tmp_path / "2",
        store=tmp_path / "store",
        progress=notes,
    )
    assert notes.computed > 0


def test_the_store_shows_and_clears_them(tiny: Dataset, tmp_path: Path, notes: Told) -> None:
    store = tmp_path / "store"
    run(tiny, DPA, tmp_path / "1", store=store, progress=notes)
    shown = CliRunner().invoke(program, ["cache", "show", "--store", str(store)])
    assert shown.exit_code == 0
    assert "pretrained  1 cell, 2 blocks" in shown.output
    cleared = CliRunner().invoke(program, ["cache", "clear", "--store", str(store)])
    assert cleared.exit_code == 0, cleared.output
    assert not list(store.rglob("rows-*.npz"))
    notes.computed = 0
    run(tiny, DPA, tmp_path / "2", store=store, fresh=True, progress=notes)
    assert notes.computed > 0


def test_a_damaged_file_costs_its_rows(tiny: Dataset, tmp_path: Path, notes: Told) -> None:
    store = tmp_path / "store"
    first = run(tiny, DPA, tmp_path / "1", store=store, progress=notes)
    for path in store.rglob("rows-*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    notes.computed = 0
    again = run(tiny, DPA, tmp_path / "2", store=store, fresh=True, progress=notes)
    assert notes.computed > 0
    assert curves(again) == curves(first)


def test_no_room_for_rows_and_the_run_goes_on(
    tiny: Dataset,
    tmp_path: Path,
    notes: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace = os.replace

    def full(source: object, target: object) -> None:
        if Path(str(target)).name.startswith("rows-"):
            raise OSError(28, "No space left on device")
        replace(str(source), str(target))

    monkeypatch.setattr(os, "replace", full)
    result = run(tiny, DPA, tmp_path / "1", store=tmp_path / "store", progress=notes)
    assert not result.failures
    assert any("rows from here on are not kept" in text for text in notes.notes)
    assert not list((tmp_path / "store").rglob("rows-*"))


def test_what_is_trusted_is_said_everywhere(tiny: Dataset, tmp_path: Path) -> None:
    result = run(tiny, DPA, tmp_path / "1", store=tmp_path / "store")
    said = "the data that networks_of_a_user:tiny() was pretrained on"
    (cell,) = result.manifest["cells"]
    assert [text for text in cell["trusted"].values() if said in text]
    assert said in (tmp_path / "1" / "report.html").read_text()
    assert said in (tmp_path / "1" / "summary.md").read_text().replace("\\_", "_")
    # What came out of the store was trusted as well.
    again = run(tiny, DPA, tmp_path / "2", store=tmp_path / "store")
    assert again.manifest["cells"][0]["trusted"] == cell["trusted"]


def test_rows_of_many_processes(tiny: Dataset, tmp_path: Path) -> None:
    """A process with a time limit reads and keeps the same rows."""
    store = tmp_path / "store"
    first = run(tiny, DPA, tmp_path / "1", store=store, timeout=300)
    (folder,) = {path.parent for path in store.rglob("rows-*.npz")}
    stamps = {path: path.read_bytes() for path in folder.glob("rows-*.npz")}
    again = run(tiny, BAGGING, tmp_path / "2", store=store)
    assert {path: path.read_bytes() for path in folder.glob("rows-*.npz")} == stamps
    assert not first.failures | again.failures
    assert np.isfinite(again.curves["certified_accuracy"]).all()
