"""Reading votes of others: every layout gives the same arrays, and what is wrong gets one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.foreign.votes import read_votes

VOTES = np.array([[7, 2, 1], [0, 10, 0], [3, 3, 4]])
LABELS = np.array([0, 1, 1])
PUBLISHED = np.column_stack([VOTES, LABELS])
HEADER = "votes_0,votes_1,votes_2,label\n"


def lines(table: np.ndarray[Any, Any]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in table.tolist())


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode(encoding))


def npz(**arrays: Any) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


def npy(array: Any) -> Callable[[Path], object]:
    return lambda path: np.save(path, array)


def saved(save: Callable[..., object], array: Any) -> Callable[[Path], object]:
    """One array under the very name that is given: NumPy would append its own ending."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            save(file, **({"x": array} if save is np.savez else {"arr": array}))

    return write


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", npz(votes=VOTES, labels=LABELS)),
        ("a.npz", npz(votes=VOTES.astype(np.float32), labels=LABELS.astype(np.uint8))),
        ("a.npz", npz(x=PUBLISHED)),
        ("a.npz", npz(x=PUBLISHED.astype(float))),
        ("a.NPZ", saved(np.savez, PUBLISHED)),
        ("a.npy", npy(PUBLISHED)),
        ("a.csv", text(lines(PUBLISHED))),
        ("a.csv", text(lines(PUBLISHED.astype(float)))),
        ("a.csv", text(lines(PUBLISHED).replace("\n", "\r\n"))),
        ("a.csv", text(HEADER + lines(PUBLISHED))),
        ("a.csv", text(HEADER + lines(PUBLISHED), "utf-8-sig")),
        ("a.csv", text("label, votes_2,votes_1,votes_0\n" + lines(PUBLISHED[:, ::-1]))),
    ],
)
def test_every_layout_reads_the_same(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    found = read_votes(tmp_path / name)
    assert found.labels is not None
    assert found.arrays["votes"].dtype == found.labels.dtype == np.int64
    assert (found.arrays["votes"] == VOTES).all()
    assert (found.labels == LABELS).all()
    assert found.n_test == 3


def test_labels_need_not_be_known(tmp_path: Path) -> None:
    npz(votes=VOTES)(tmp_path / "a.npz")
    text("votes_0,votes_1,votes_2\n" + lines(VOTES))(tmp_path / "a.csv")
    for name in ("a.npz", "a.csv"):
        found = read_votes(tmp_path / name)
        assert found.labels is None
        assert (found.arrays["votes"] == VOTES).all()


def test_every_array_is_handed_over(tmp_path: Path) -> None:
    predictions = np.array([[0, 1, 1], [2, 1, 0]])
    npz(predictions=predictions, offsets=[0, 1], sigma=0.5)(tmp_path / "a.npz")
    found = read_votes(tmp_path / "a.npz")
    assert found.n_test == 3
    assert set(found.arrays) == {"predictions", "offsets", "sigma"}
    assert found.arrays["sigma"].item() == 0.5


def changed(where: tuple[int, int], value: float) -> np.ndarray[Any, Any]:
    votes = VOTES.astype(float)
    votes[where] = value
    return votes


BAD = [
    ("a.npz", npz(votes=changed((1, 1), -1)), "votes must be at least 0, found -1"),
    ("a.npz", npz(votes=changed((1, 1), 0.5)), "votes must be whole numbers, found 0.5"),
    ("a.npz", npz(votes=changed((1, 1), np.nan)), "votes holds nan"),
    ("a.npz", npz(votes=changed((1, 1), 1e300)), "votes must be whole numbers, found 1e+300"),
    ("a.npz", npz(votes=VOTES * 2**49), "must be counts of base models"),
    ("a.npz", npz(votes=VOTES.astype(np.uint64) * 2**60), "votes must be at most 2^53"),
    ("a.npz", npz(votes=changed((1, 1), 9)), "example 0 has 10, example 1 has 9"),
    ("a.npz", npz(votes=VOTES * 0), "there are no votes"),
    ("a.npz", npz(votes=VOTES[:, :1]), "votes must be (examples, labels >= 2), found (3, 1)"),
    ("a.npz", npz(votes=VOTES[0]), "votes must have 2 dimensions and not be empty, found shape"),
    ("a.npz", npz(votes=VOTES[:0]), "votes must have 2 dimensions and not be empty"),
    ("a.npz", npz(votes=VOTES.astype(str)), "votes must be numbers"),
    ("a.npz", npz(votes=VOTES.astype(object)), "cannot be read as arrays of numbers"),
    ("a.npz", npz(votes=VOTES, labels=LABELS[:2]), "different numbers of test examples (2, 3)"),
    ("a.npz", npz(votes=VOTES, labels=[0, 1, -1]), "labels must be at least 0, found -1"),
    ("a.npz", npz(votes=VOTES, labels=[0, 1, 0.5]), "labels must be whole numbers, found 0.5"),
    ("a.npz", npz(votes=VOTES, labels=PUBLISHED), "labels must have 1 dimension and"),
    ("a.npz", npz(votes=VOTES, predictions=[[0, 1]]), "different numbers of test examples (2, 3)"),
    ("a.npz", npz(predictions=[[0, -1]]), "predictions must be at least 0, found -1"),
    ("a.npz", npz(vote=VOTES), "neither votes nor predictions; found vote"),
    ("a.npz", npz(), "neither votes nor predictions; found nothing"),
    ("a.npz", npz(x=PUBLISHED, votes=VOTES), "both x and votes"),
    ("a.npz", npz(x=PUBLISHED[:, :2]), "found shape (3, 2)"),
    ("a.npz", saved(np.save, VOTES), "name it .npy"),
    ("a.npz", text("no archive"), "cannot be read as arrays of numbers"),
    ("a.npz", text(""), "cannot be read as arrays of numbers"),
    ("a.npy", saved(np.savez, VOTES), "name it .npz"),
    ("a.npy", npy(VOTES[0]), "found shape (3,)"),
    ("a.csv", text(""), "is not a table of numbers"),
    ("a.csv", text(HEADER), "is not a table of numbers"),
    ("a.csv", text("1,2,3\n1,2\n"), "labels holds nan"),
    ("a.csv", text("1,2\n1,2,3\n"), "is not a table of numbers"),
    ("a.csv", text("1,2,3\n1,two,3\n"), "column 2: not all of it is numbers"),
    ("a.csv", text(HEADER + lines(VOTES)), "has 4 names for 3 columns"),
    ("a.csv", text("a,b,c\n" + lines(VOTES)), "the columns must be votes_0 ... votes_2"),
    ("a.csv", text("votes_0,votes_0,label\n" + lines(VOTES)), "must be votes_0 ... votes_1"),
    ("a.csv", lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not a table of numbers"),
    ("a.txt", text(lines(PUBLISHED)), ".npz, .npy or .csv, found .txt"),
    ("a", text(lines(PUBLISHED)), ".npz, .npy or .csv"),
]


@pytest.mark.parametrize(("name", "write", "message"), BAD)
def test_what_is_wrong_gets_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_votes(tmp_path / name)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no.npz", "no.npy", "no.csv"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot read .*: No such file"):
        read_votes(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        read_votes(tmp_path / name)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "evil"),)

    evil = np.array([[Evil(), Evil(), Evil()]], dtype=object)
    np.save(tmp_path / "a.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "a.npz", votes=evil)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="cannot be read as arrays of numbers"):
            read_votes(tmp_path / name)
    assert not (tmp_path / "evil").exists()
