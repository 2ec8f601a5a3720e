"""Tables: nothing about an example follows from what another one holds."""

import sys

import numpy as np
import pandas as pd
import pytest

from harness.datasets.split import split
from harness.datasets.tables import Csv, Parquet
from harness.errors import DataError, UsageError

SOURCES = {"csv": Csv(), "parquet": Parquet()}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "width": rng.normal(size=40),
            "kind": rng.choice(["cat", "dog", "emu"], 40),
            "legs": rng.integers(0, 5, 40),
        }
    )


@pytest.fixture(params=["csv", "parquet"])
def kind(request):
    return request.param


def put(table, path, kind):
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    return path


def refused(kind, text, error=DataError):
    with pytest.raises(error) as found:
        SOURCES[kind].load(text, None)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_both_kinds_of_file_are_the_same_data(tmp_path, table):
    loaded = []
    for kind, source in SOURCES.items():
        path = put(table, tmp_path / f"table.{kind}", kind)
        loaded.append(source.load(f"{path}?label=kind&split=0.25&seed=3", None))
    csv, parquet = loaded
    assert csv.digest == parquet.digest
    train, test = split(40, 0.25, 3)
    assert len(test) == 10
    x = table[["width", "legs"]].to_numpy(np.float32)
    assert np.array_equal(csv.x_train, x[train])
    assert np.array_equal(csv.x_test, x[test])
    assert csv.label_names == ("cat", "dog", "emu")
    assert [csv.label_names[y] for y in csv.y_train] == table.kind.to_numpy()[train].tolist()
    assert csv.domain.assumed == ("label_set", "range", "n_public")


def test_a_table_of_test_examples(tmp_path, table, kind):
    train, test = put(table[:30], tmp_path / "a", kind), put(table[30:], tmp_path / "b", kind)
    data = SOURCES[kind].load(f"{train}?test={test}&label=kind&labels=dog,cat,emu", None)
    assert (data.n_train, len(data.x_test)) == (30, 10)
    assert data.label_names == ("dog", "cat", "emu")
    assert "label_set" not in data.domain.assumed


def test_one_row_changes_nothing_about_another(tmp_path, table, kind):
    """Neither type, scale, order nor coding, whatever it holds."""
    test = put(table[30:], tmp_path / "test", kind)
    query = f"?label=kind&labels=cat,dog,emu,fox&test={test}"
    clean = put(table[:30], tmp_path / "clean", kind)
    before = SOURCES[kind].load(f"{clean}{query}", None)
    for row in ({"legs": 2**31}, {"width": -3e38}, {"kind": "fox"}, {"legs": 0, "width": 0}):
        table.loc[7, list(row)] = list(row.values())
        after = SOURCES[kind].load(f"{put(table[:30], tmp_path / 'dirty', kind)}{query}", None)
        assert after.x_train.dtype == before.x_train.dtype
        others = np.arange(30) != 7
        assert np.array_equal(after.x_train[others], before.x_train[others])
        assert np.array_equal(after.y_train[others], before.y_train[others])
        assert np.array_equal(after.y_test, before.y_test)
        assert after.domain == before.domain


def test_whole_numbers_are_labels_by_the_columns_type(tmp_path, table):
    table = table.drop(columns="kind")
    path = put(table, tmp_path / "t.parquet", "parquet")
    data = Parquet().load(f"{path}?label=legs&labels=0,1,2,3,4,10", None)
    assert data.label_names == ("0", "1", "2", "3", "4", "10")
    csv = Csv().load(f"{put(table, tmp_path / 't.csv', 'csv')}?label=legs", None)
    assert csv.label_names == ("0", "1", "2", "3", "4")  # words


def test_a_range_may_be_declared(tmp_path, table, kind):
    path = put(table, tmp_path / "t", kind)
    data = SOURCES[kind].load(f"{path}?label=kind&range=-9,9", None)
    assert (data.domain.lowest, data.domain.highest) == (-9, 9)
    assert "the range is -1 to 1" in refused(kind, f"{path}?label=kind&range=-1,1")


def test_a_column_of_text_is_named(tmp_path, table, kind):
    path = put(table, tmp_path / "t", kind)
    assert f"{path}: column 'kind' holds " in refused(kind, f"{path}?label=legs")


def test_columns_that_differ(tmp_path, table, kind):
    train = put(table, tmp_path / "a", kind)
    test = put(table.rename(columns={"legs": "arms"}), tmp_path / "b", kind)
    assert "column 'legs' of x_train is 'arms' in x_test" in refused(
        kind, f"{train}?test={test}&label=kind"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "t is empty; wanted a line with the columns' names"),
        ("a,label\n1,x\n", "t has 1 examples; wanted two to split, or more"),
        ("a,a,label\n1,2,x\n3,4,y\n", "t: two columns are called 'a'"),
        ("a,label\n1,x\n,y\n", "t: column 'a' holds '' in example 1; wanted numbers"),
        ("a,label\n1,x\n1_0?,y\n", "t: column 'a' holds '1_0?' in example 1; wanted numbers"),
        ("a,label\n1,x\n2\n", "t: example 1 has no label"),
        ("a,label\n1,x\n2,y,z\n", "t cannot be read"),
        ("a,label\n1,x\n2,x\n", "one label only ('x')"),
        ("a,b\n1,2\n", "t has no column 'label'; ?label=NAME says which holds the labels, and"),
        (
            "a,label\n1,x\n1e39,y\n1,x\n1,y\n1,x\n1,x\n1,x\n1,x\n",
            "x_train holds 1e+39 in example 1",
        ),
    ],
)
def test_broken_tables(tmp_path, text, expected):
    path = tmp_path / "t"
    path.write_text(text)
    assert expected in refused("csv", str(path))


def test_missing_files_and_folders(tmp_path, kind):
    assert refused(kind, f"{tmp_path}/no").startswith(f"{tmp_path}/no does not exist; wanted a ")
    assert refused(kind, str(tmp_path)).startswith(f"{tmp_path} is a folder; wanted a ")


def test_bytes_that_are_no_table(tmp_path, kind):
    (tmp_path / "t").write_bytes(b"\xff\xfe\0PAR1 \x80")
    assert refused(kind, str(tmp_path / "t")).startswith(f"{tmp_path}/t cannot be read: ")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lable=x", "unknown key of csv:PATH?... 'lable'; did you mean label"),
        ("label", "label has no value"),
        ("label=a&label=b", "label is given twice"),
        ("test=x&seed=1", "test and seed exclude each other"),
        ("split=1", "split must be above 0 and below 1, found 1"),
        ("split=x", "split must be above 0 and below 1, found x"),
        ("seed=-1", "the seed of a split must be a whole number of at least 0, found -1"),
        ("range=1", "range must be LOW,HIGH, two numbers, found 1"),
    ],
)
def test_queries_that_are_refused(query, expected):
    assert expected in refused("csv", f"t.csv?{query}", UsageError)


def test_a_path_with_a_question_mark_ends_in_another(tmp_path, table):
    path = put(table, tmp_path / "what?.csv", "csv")
    data = Csv().load(f"{path}?label=kind", None)
    assert data.name == f"csv:{path}?label=kind"
    table = table.rename(columns={"kind": "label"})
    assert Csv().load(f"{put(table, path, 'csv')}?", None).n_train == 32


def test_names_with_signs_of_the_query_are_escaped(tmp_path, table):
    path = put(table.rename(columns={"kind": "a&b=50%"}), tmp_path / "t.csv", "csv")
    assert Csv().load(f"{path}?label=a%26b%3D50%25", None).n_train == 32


def test_without_pyarrow(tmp_path, table, monkeypatch):
    path = put(table, tmp_path / "t", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'poisoning-harness[parquet]'" in refused("parquet", str(path), UsageError)


@pytest.mark.parametrize(("n", "fraction", "size"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 2)])
def test_a_split_leaves_something_on_both_sides(n, fraction, size):
    train, test = split(n, fraction, 0)
    assert len(test) == size
    assert sorted([*train, *test]) == list(range(n))
