"""The tables of what attacks reached: what is written is read, and what is damaged is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import RunFolderError
from harness.results.attacks import (
    ATTACK_COLUMNS,
    ATTACKS,
    JOINT,
    JOINT_COLUMNS,
    Attacked,
    JointAttacked,
    read_attacks,
    read_joint_attacks,
    write_attacks,
    write_joint_attacks,
)
from harness.results.folder import RunFolder, open_run

TURNED = Attacked(
    "dpa[n_models=10]", "votes", "insert", "copies", 7, "sampled", 3, 5, 8, 12, 0.25,
    "attacks/dpa-0-insert-7-copies.npz",
)  # fmt: skip
HELD = Attacked("dpa[n_models=10]", "votes", "insert", "nearest", 7, "weakest", 0, None, 64, 9, 2.0)
JOINT_ROW = JointAttacked("dp", "ma", "delete", "copies", 4, 1 / 3, 0.5, 3, 1.5, "attacks/a.npz")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_what_is_written_is_read(folder):
    write_attacks(folder, [TURNED, HELD])
    write_joint_attacks(folder, [JOINT_ROW])
    assert read_attacks(folder.path) == [TURNED, HELD]
    (found,) = read_joint_attacks(folder.path)
    assert found.certified_accuracy == pytest.approx(1 / 3, abs=1e-9)
    assert replace(found, certified_accuracy=1 / 3) == JOINT_ROW


def test_columns_stand_in_their_order_and_what_is_unknown_is_empty(folder):
    write_attacks(folder, [TURNED, HELD])
    heads, *lines = (folder.path / ATTACKS).read_text().splitlines()
    assert heads == ",".join(ATTACK_COLUMNS)
    assert lines == [
        f"dpa[n_models=10],votes,insert,copies,7,sampled,3,5,8,2,12,0.25,{TURNED.poisoning}",
        "dpa[n_models=10],votes,insert,nearest,7,weakest,0,,64,,9,2,",
    ]
    write_joint_attacks(folder, [JOINT_ROW])
    assert (folder.path / JOINT).read_text().splitlines()[0] == ",".join(JOINT_COLUMNS)


def test_a_run_that_was_not_attacked_has_no_rows_and_no_file(folder):
    assert read_attacks(folder.path) == read_joint_attacks(folder.path) == []
    write_attacks(folder, [TURNED])
    write_attacks(folder, [])
    assert list(folder.path.iterdir()) == []


def test_refuted_is_what_was_proved_impossible():
    assert (TURNED.proof_gap, TURNED.refuted) == (2, False)
    assert (HELD.proof_gap, HELD.refuted) == (None, False)
    assert [replace(TURNED, reached=r).refuted for r in (2, 3, 4)] == [True, True, False]
    assert not JOINT_ROW.refuted
    assert replace(JOINT_ROW, reached=0.33).refuted
    assert not replace(JOINT_ROW, reached=0.3333333333).refuted, "as it is stored"


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        (ATTACKS, ",7,sampled", ",seven,sampled", "line 2: example is 'seven'"),
        (ATTACKS, ",7,sampled", ",-7,sampled", "line 2: example is '-7'"),
        (ATTACKS, "sampled", "chosen", "line 2: chosen is 'chosen'"),
        (ATTACKS, ",3,5,8,2,", ",3,4,8,2,", "line 2: proof_gap is '2'"),
        (ATTACKS, ",3,5,8,2,", ",6,5,8,2,", "line 2: proof_gap is '2'"),
        (ATTACKS, ",3,5,8,2,", ",3,5,8,", "line 2: it has more or fewer values"),
        (ATTACKS, ",12,0.25,", ",12,0.25,,", "line 2: it has more or fewer values"),
        (ATTACKS, ",12,0.25,", ",12,nan,", "line 2: seconds is 'nan'"),
        (ATTACKS, "proved", "shown", "lacks the columns proved"),
        (ATTACKS, "dpa", "\xff", "cannot be read"),
        (JOINT, ",0.5,", ",1.5,", "line 2: reached is '1.5'"),
        (JOINT, ",0.5,", ",,", "line 2: reached is ''"),
    ],
)
def test_a_damaged_table_is_one_line_that_names_the_file(folder, name, before, after, said):
    write_attacks(folder, [TURNED, HELD])
    write_joint_attacks(folder, [JOINT_ROW])
    path = folder.path / name
    text = path.read_text()
    assert before in text
    path.write_bytes(text.replace(before, after, 1).encode("latin-1"))
    read = read_attacks if name == ATTACKS else read_joint_attacks
    with pytest.raises(RunFolderError) as caught:
        read(folder.path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_starts_over_was_not_attacked(tmp_path):
    identity = {"dataset": "d", "digest": "x", "seed": 0, "cells": ["a"]}
    with open_run(tmp_path / "run", identity, fresh=False) as folder:
        write_attacks(folder, [TURNED])
        write_joint_attacks(folder, [JOINT_ROW])
        folder.write("attacks/a.npz", b"rows")
    with open_run(tmp_path / "run", identity, fresh=True) as folder:
        assert [path.name for path in folder.path.iterdir()] == [".lock"]
