"""What was trained before, for whatever run, is not trained again; what a folder holds stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness.datasets.base import Dataset
from harness.errors import NoSpaceError, RunFolderError, SchemaError, UsageError
from harness.running.quiet import Quiet

SMALL = "bagging[k=5,n_models=20,features=raw]"
MORE = "bagging[k=7,n_models=20,features=raw]"
DPA = "dpa[n_models=20,features=raw]"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the reports here, and they are what takes time."""
    monkeypatch.setattr("harness.api.write_report", lambda folder: None)


class Counting(Quiet):
    """How many base models each cell trained."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: dict[str, int] = {}

    def start(self, cell: str, total: int, done: int) -> None:
        self.trained[cell] = total - done


def run(cells: Any, tiny: Dataset, output: Path | None = None, **options: Any) -> harness.Run:
    given: dict[str, Any] = {"threats": ["any"], "output": output} | options
    return harness.run(cells, dataset=tiny, **given)


def trained(
    cells: Any, tiny: Dataset, output: Path | None = None, **options: Any
) -> dict[str, int]:
    told = Counting()
    run(cells, tiny, output, progress=told, **options)
    return told.trained


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("curves.csv", "certificates.npz")}


def test_a_second_folder_trains_nothing_and_holds_the_same(tiny: Dataset, tmp_path: Path) -> None:
    assert trained([SMALL, DPA], tiny, tmp_path / "one") == {SMALL: 20, DPA: 20}
    assert trained([SMALL, DPA], tiny, tmp_path / "two") == {SMALL: 0, DPA: 0}
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_a_folder_needs_no_store(tiny: Dataset, tmp_path: Path, store: Path) -> None:
    run([SMALL], tiny, tmp_path / "one")
    shutil.rmtree(store)
    before = bytes_of(tmp_path / "one")
    assert trained([SMALL], tiny, tmp_path / "one") == {SMALL: 0}
    assert bytes_of(tmp_path / "one") == before
    assert trained([SMALL], tiny, tmp_path / "two") == {SMALL: 20}


def test_only_what_is_new_is_trained(tiny: Dataset, tmp_path: Path) -> None:
    run("dp[n_models=20,features=raw]", tiny)
    for cells, options, expected in (
        (["dp[n_models=20,features=raw,certificate=gdp]"], {}, 0),
        (["dp[n_models=20,features=raw]"], {"alpha": 0.1}, 0),
        (["dp[n_models=20,features=raw]"], {"threats": ["insert", "label-flip"]}, 0),
        (["dp[n_models=20,features=raw]"], {"seed": 1}, 20),
        (["dp[n_models=20,features=raw,epsilon=0.2]"], {}, 20),
    ):
        assert list(trained(cells, tiny, **options).values()) == [expected], (cells, options)


@pytest.mark.parametrize("first", [600, 1500])
def test_few_base_models_are_the_beginning_of_many(tiny: Dataset, first: int) -> None:
    """Whichever is trained first; a block that the smaller number cut short is the other's own."""
    text = "dp[n_models={},features=raw]"
    alone = run(text.format(1500), tiny, store="off").curves
    told = trained(text.format(first), tiny) | trained(text.format(2100 - first), tiny)
    assert sum(told.values()) < 2100
    pd.testing.assert_frame_equal(run(text.format(1500), tiny).curves, alone)


def test_fresh_trains_again_whatever_is_stored(tiny: Dataset, tmp_path: Path) -> None:
    run([SMALL], tiny, tmp_path)
    before = bytes_of(tmp_path)
    assert trained([SMALL, DPA], tiny, tmp_path, fresh=True) == {SMALL: 20, DPA: 20}
    assert trained([SMALL], tiny) == {SMALL: 0}
    run([SMALL], tiny, tmp_path, fresh=True)
    assert bytes_of(tmp_path) == before


def test_without_a_store_the_folder_keeps_blocks(tiny: Dataset, tmp_path: Path) -> None:
    for _ in range(2):
        assert trained([SMALL], tiny, store="off") == {SMALL: 20}
    assert trained([SMALL], tiny, tmp_path / "x", store="off") == {SMALL: 20}
    assert trained([SMALL], tiny, tmp_path / "x", store="off") == {SMALL: 0}


def test_a_damaged_store_is_made_again_and_said(tiny: Dataset, tmp_path: Path, store: Path) -> None:
    run([SMALL], tiny)
    (block,) = store.rglob("*.npz")
    block.write_bytes(b"PK not an archive")
    told = Counting()
    run([SMALL], tiny, progress=told)
    assert told.trained == {SMALL: 20}
    assert told.notes[0] == f"{block} is damaged: what it held is trained again"
    assert trained([SMALL], tiny) == {SMALL: 0}


def test_a_store_that_cannot_be_used_is_said_and_the_folder_serves(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "file"))
    told = Counting()
    run([SMALL], tiny, tmp_path / "run", progress=told)
    assert told.trained == {SMALL: 20}
    (line,) = [note for note in told.notes if "store" in note]
    assert "cannot write" in line and "the run's own folder keeps what is trained" in line
    with pytest.raises(RunFolderError, match="cannot write"):
        run([SMALL], tiny, tmp_path / "other", store=tmp_path / "file")


def test_a_store_that_is_full_is_said_unless_it_was_named(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise NoSpaceError("no space left for the store")

    monkeypatch.setattr("harness.results.store.EvidenceStore.put", full, raising=False)
    told = Counting()
    run([SMALL], tiny, tmp_path / "run", progress=told)
    assert sum("no space left for the store" in note for note in told.notes) == 1
    with pytest.raises(NoSpaceError):
        run([SMALL], tiny, tmp_path / "other", store=tmp_path / "named")


def test_a_folder_is_widened_and_what_is_left_out_stays(tiny: Dataset, tmp_path: Path) -> None:
    first = run([SMALL], tiny, tmp_path)
    told = Counting()
    second = run([DPA], tiny, tmp_path, threats=["modify"], progress=told)
    assert told.trained == {DPA: 20}
    assert f"kept from an earlier run in {tmp_path}: {SMALL}" in told.notes
    assert second.defenses == [SMALL, DPA]
    assert second.threats == ["any", "modify"]
    for frame in ("curves", "summary"):
        before, after = getattr(first, frame), getattr(second, frame)
        kept = after[after["defense"] == SMALL].reset_index(drop=True)
        shared = [column for column in before.columns if column in kept.columns]
        pd.testing.assert_frame_equal(kept[shared], before[shared], check_dtype=False)
    pd.testing.assert_frame_equal(
        second.certificates(SMALL, "any"), first.certificates(SMALL, "any")
    )
    alone = run([DPA], tiny, threats=["any", "modify"])
    for threat in ("any", "modify"):
        pd.testing.assert_frame_equal(
            second.certificates(DPA, threat), alone.certificates(DPA, threat)
        )
    assert second.report().exists()


def test_cells_keep_their_order_and_are_there_once(tiny: Dataset, tmp_path: Path) -> None:
    run([SMALL, DPA], tiny, tmp_path)
    before = bytes_of(tmp_path)
    assert run([DPA, MORE], tiny, tmp_path).defenses == [SMALL, DPA, MORE]
    assert run([SMALL, MORE, DPA], tiny, tmp_path).defenses == [SMALL, DPA, MORE]
    assert run([SMALL, DPA], tiny, tmp_path, fresh=True).defenses == [SMALL, DPA]
    assert bytes_of(tmp_path) == before


def test_a_threat_that_was_asked_about_before_is_proved_again(
    tiny: Dataset, tmp_path: Path
) -> None:
    run([SMALL], tiny, tmp_path, threats=["insert"])
    again = run([SMALL], tiny, tmp_path, threats=["any"])
    assert again.threats == ["insert", "any"]
    assert len(again.certificates(SMALL, "insert")) == tiny.n_test


def test_seeds_and_alphas_are_cells_of_their_own(tiny: Dataset, tmp_path: Path) -> None:
    run([SMALL], tiny, tmp_path)
    wide = run([SMALL, DPA], tiny, tmp_path, seed=[0, 1], alpha=[0.001, 0.01])
    # dpa proves the same at every alpha.
    assert wide.defenses == [
        SMALL,
        f"{SMALL}@seed=1",
        f"{SMALL}@alpha=0.01",
        f"{SMALL}@seed=1,alpha=0.01",
        DPA,
        f"{DPA}@seed=1",
    ]
    cells = {cell["label"]: cell for cell in wide.manifest["cells"]}
    assert [cells[label]["seed"] for label in wide.defenses] == [0, 1, 0, 1, 0, 1]
    assert cells[f"{SMALL}@seed=1,alpha=0.01"]["group"] == f"{SMALL}@alpha=0.01"
    one = run([SMALL], tiny, seed=1)
    pd.testing.assert_frame_equal(
        wide.certificates(f"{SMALL}@seed=1", "any"), one.certificates(SMALL, "any")
    )
    loose = run([SMALL], tiny, alpha=0.01)
    pd.testing.assert_frame_equal(
        wide.certificates(f"{SMALL}@alpha=0.01", "any"), loose.certificates(SMALL, "any")
    )


def test_labels_follow_the_first_seed_of_the_folder(tiny: Dataset, tmp_path: Path) -> None:
    run([SMALL], tiny, tmp_path, seed=3)
    assert run([SMALL], tiny, tmp_path, seed=0).defenses == [SMALL, f"{SMALL}@seed=0"]
    assert trained([f"{SMALL}@seed=0"], tiny, tmp_path) == {f"{SMALL}@seed=0": 0}


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ([SMALL], {"seed": [0, 0]}, "seed 0 is given twice"),
        ([SMALL], {"seed": -1}, "the seed must be a whole number of at least 0, found -1"),
        ([SMALL], {"seed": 1.5}, "the seed must be a whole number of at least 0, found 1.5"),
        ([SMALL], {"alpha": 1}, "alpha must be above 0 and below 1, found 1"),
        ([SMALL], {"alpha": []}, "no alpha is given"),
        ([SMALL, f"{SMALL}@seed=0"], {}, "is selected twice"),
        ([f"{SMALL}@sed=0"], {}, "unknown setting"),
        ([f"{SMALL}@seed=x"], {}, "the seed must be a whole number of at least 0, found x"),
        ([f"{SMALL}@alpha=2"], {}, "alpha must be above 0 and below 1, found 2"),
        ([f"{SMALL}@"], {}, "nothing follows the @"),
        (["bagging[seed=1]@seed=2"], {}, "seed is given twice"),
    ],
)
def test_seeds_and_alphas_that_are_none(
    tiny: Dataset, cells: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(cells, tiny, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interrupted_run_keeps_what_the_folder_held(tiny: Dataset, tmp_path: Path) -> None:
    run([SMALL], tiny, tmp_path)

    class Impatient(Quiet):
        def start(self, cell: str, total: int, done: int) -> None:
            if cell == DPA:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([SMALL, DPA], tiny, tmp_path, progress=Impatient())
    left = harness.load(tmp_path)
    assert (left.defenses, left.unfinished) == ([SMALL], [DPA])
    again = run([MORE], tiny, tmp_path)
    assert again.defenses == [SMALL, MORE]
    assert len(again.certificates(SMALL, "any")) == tiny.n_test


def test_a_folder_of_another_version_or_that_is_damaged_is_refused(
    tiny: Dataset, tmp_path: Path
) -> None:
    run([SMALL], tiny, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"schema": 2}))
    with pytest.raises(SchemaError, match=r"holds a run of schema 2, .* --fresh"):
        run([DPA], tiny, tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "summary.csv").write_text("defense,threat\nx\n")
    with pytest.raises(RunFolderError, match=r"summary.csv is damaged, .* --fresh"):
        run([DPA], tiny, tmp_path)
    assert run([DPA], tiny, tmp_path, fresh=True).defenses == [DPA]


def test_other_data_are_refused(tiny: Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    run([SMALL], tiny, tmp_path)
    other = replace(tiny, y_train=1 - tiny.y_train)
    with pytest.raises(RunFolderError, match="its data have changed"):
        run([SMALL], other, tmp_path)
    assert np.array_equal(other.x_train, tiny.x_train)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_store_that_cannot_be_used_leaves_the_folder_as_it_was(
    tiny: Dataset, tmp_path: Path, fresh: bool
) -> None:
    run([SMALL], tiny, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "run", tmp_path / "new"):
        with pytest.raises(RunFolderError, match="cannot write"):
            run([DPA], tiny, output, store=tmp_path / "file", fresh=fresh)
    assert not (tmp_path / "new").exists()
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before


def test_fresh_reads_no_block_of_before_even_of_the_same_place(tiny: Dataset, store: Path) -> None:
    few, many = "dp[n_models=600,features=raw]", "dp[n_models=1200,features=raw]"
    run(few, tiny)
    assert trained([many, few], tiny, fresh=True) == {many: 1200, few: 100}


def test_what_an_interrupted_run_finished_is_kept_and_named(tiny: Dataset, tmp_path: Path) -> None:
    class Impatient(Quiet):
        def start(self, cell: str, total: int, done: int) -> None:
            if cell == DPA:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([SMALL, DPA], tiny, tmp_path, store="off", progress=Impatient())
    told = Counting()
    wide = run([MORE], tiny, tmp_path, store="off", progress=told)
    assert wide.defenses == [MORE]
    assert wide.unfinished == [SMALL, DPA]
    assert f"begun by an earlier run and not finished: {SMALL}, {DPA}" in told.notes
    assert trained([SMALL], tiny, tmp_path, store="off") == {SMALL: 0}
    assert harness.load(tmp_path).defenses == [SMALL, MORE]


@pytest.mark.parametrize("stop", ["curves.csv", "summary.csv", "certificates.npz"])
def test_a_run_that_is_killed_while_it_writes_leaves_no_cell_half_known(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    from harness.results.folder import RunFolder

    run([SMALL, MORE], tiny, tmp_path)
    write = RunFolder.write

    def killed(self: RunFolder, name: str, content: bytes | str) -> None:
        write(self, name, content)
        if name == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run([SMALL], tiny, tmp_path, threats=["insert"])
    left = harness.load(tmp_path)
    assert (left.defenses, left.unfinished) == ([MORE], [SMALL])
    assert len(left.certificates(MORE, "any")) == tiny.n_test
    whole = run([SMALL], tiny, tmp_path)
    assert (whole.defenses, whole.unfinished) == ([SMALL, MORE], [])
    for threat in ("any", "insert"):
        assert len(whole.certificates(SMALL, threat)) == tiny.n_test


@pytest.mark.parametrize("name", ["../../esc", "/absolute", "nul\0x", "x" * 300, "a@b", " ", ".."])
def test_a_name_is_no_path(tiny: Dataset, name: str) -> None:
    from harness.defenses.bagging import Bagging

    named = type("Named", (Bagging,), {"name": name})
    with pytest.raises(UsageError, match="wanted letters, digits, dots"):
        run(named, tiny)
