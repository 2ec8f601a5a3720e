"""``csv:PATH`` and ``parquet:PATH``: a row an example, a column of labels, all others numbers.

Nothing here is decided by what one example holds, for that is the attacker's to write. In a CSV
file everything is text: labels stay words, whether or not they look like numbers, and every other
column holds real numbers, whether or not they are whole. A Parquet file declares its types.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.datasets import arrays
from harness.datasets.base import Dataset, checked
from harness.datasets.domain import Declaration
from harness.datasets.split import split
from harness.datasets.table_files import numbers_of, read_csv, read_parquet
from harness.datasets.table_query import TableQuery
from harness.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


class _Table:
    """A table and, by the query, its column of labels and its test examples."""

    name: str
    takes_argument = True
    domain = (
        "labels and range, as the query declares them; else the labels of training and test set "
        "together, all that the type holds; n_public is the number of training examples"
    )

    def read(self, path: Path, label: str) -> tuple[pd.DataFrame, Any]:
        """The columns of numbers, and the labels."""
        raise NotImplementedError

    def load(self, argument: str | None, data_root: Path | None) -> Dataset:
        """The data set that the argument, a :class:`TableQuery`, names.

        Raises UsageError for the query, DataError for the tables, each in one line.
        """
        query = TableQuery.parse(self.name, argument or "")
        name = f"{self.name}:{argument}"
        x, y = self.read(query.path, query.label)
        if query.test is None:
            if len(x) < 2:
                raise DataError(f"{query.path} has {len(x)} examples; wanted two to split, or more")
            train, test = split(len(x), query.split, query.seed)
            tables = {"x_train": x.iloc[train], "x_test": x.iloc[test]}
            labels = {"y_train": y[train], "y_test": y[test]}
        else:
            x_test, y_test = self.read(query.test, query.label)
            tables = {"x_train": x, "x_test": x_test}
            labels = {"y_train": y, "y_test": y_test}
        arrays.same_columns(name, tables)
        examples = {key: arrays.features(name, key, one) for key, one in tables.items()}
        said = {key: arrays.label_array(name, key, one) for key, one in labels.items()}
        coded = arrays.labels(name, said, self.label_set(query, said["y_train"]))
        declared = Declaration(coded.label_set, query.range, None, coded.names)
        return checked(name, **examples, **coded.y, declared=declared)

    def label_set(self, query: TableQuery, y: Any) -> Any:
        """The labels that the query declares, as those of the table are written."""
        return None if query.labels is None else list(query.labels)


class Csv(_Table):
    """A CSV file in UTF-8 whose first line names the columns."""

    name = "csv"
    summary = "a table: csv:PATH?label=COLUMN; &test=PATH, or a fifth is split off for testing"

    def read(self, path: Path, label: str) -> tuple[pd.DataFrame, Any]:
        table = read_csv(path)
        columns = _without(path, table, label)
        y = table[label].to_numpy(dtype=object)
        _refuse_without(path, label, [not isinstance(one, str) or not one for one in y])
        return numbers_of(path, columns), y


class Parquet(_Table):
    """A Parquet file; whole numbers, words or truth values are labels by the column's type."""

    name = "parquet"
    summary = "a table with types: parquet:PATH?label=COLUMN, as csv; needs pyarrow"

    def read(self, path: Path, label: str) -> tuple[pd.DataFrame, Any]:
        table = read_parquet(path)
        columns = _without(path, table, label)
        for column, kind in columns.dtypes.items():
            if getattr(kind, "kind", "O") not in "biuf":
                raise DataError(f"{path}: column {column!r} holds {kind}; wanted numbers")
        y = table[label]
        _refuse_without(path, label, y.isna())
        numeric = getattr(y.dtype, "kind", "O") in "biuf"
        return columns, y.to_numpy() if numeric else y.astype(str).to_numpy(dtype=object)

    def label_set(self, query: TableQuery, y: Any) -> Any:
        if query.labels is None or y.dtype.kind == "O":
            return super().label_set(query, y)
        try:
            return [int(label) for label in query.labels]
        except ValueError:
            shown = ",".join(query.labels)
            raise DataError(
                f"{query.path}: column {query.label!r} holds numbers, and labels={shown}"
            ) from None


def _refuse_without(path: Path, label: str, missing: Any) -> None:
    if np.any(missing):
        raise DataError(f"{path}: example {int(np.argmax(missing))} has no {label}")


def _without(path: Path, table: pd.DataFrame, label: str) -> pd.DataFrame:
    if label not in table.columns:
        shown = ", ".join(map(str, table.columns[:10]))
        more = f" and {len(table.columns) - 10} more" if len(table.columns) > 10 else ""
        raise DataError(
            f"{path} has no column {label!r}; ?label=NAME says which holds the labels, "
            f"and there are {shown}{more}"
        )
    return table.drop(columns=label)
