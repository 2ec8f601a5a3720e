"""Reading tables: the text of a CSV file as it stands, a Parquet file with its columns' types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def read_csv(path: Path) -> pd.DataFrame:
    """All columns as text, and nothing of it taken for a missing value. Raises DataError."""
    import pandas as pd

    _refuse_missing(path, "a CSV file")
    try:
        rows = pd.read_csv(
            path,
            header=None,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; wanted a line with the columns' names") from None
    except (OSError, ValueError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise DataError(f"{path} cannot be read: {_line(error)}") from None
    table = rows.iloc[1:].reset_index(drop=True)
    table.columns = _names(path, [str(name) for name in rows.iloc[0]])
    return table


def numbers_of(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Each column of text as float64, by the text alone. Raises DataError that names the column."""
    import pandas as pd

    columns = {}
    for name in table.columns:
        try:
            columns[name] = table[name].to_numpy(dtype=object).astype(np.float64)
        except ValueError:
            row, text = next((i, t) for i, t in enumerate(table[name]) if not _is_number(t))
            raise DataError(
                f"{path}: column {name!r} holds {text!r} in example {row}; wanted numbers"
            ) from None
    return pd.DataFrame(columns, index=table.index)


def read_parquet(path: Path) -> pd.DataFrame:
    """The table with the types that its file declares. Raises DataError; UsageError without
    pyarrow.
    """
    import pandas as pd

    _refuse_missing(path, "a Parquet file")
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError(
            f"parquet: needs pyarrow ({error}): pip install 'poisoning-harness[parquet]'"
        ) from None
    try:
        names = _names(path, parquet.read_schema(path).names)
        table: pd.DataFrame = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {_line(error)}") from None
    kept = [name for name in names if name in table.columns]  # pandas may keep an index as one
    return table[kept].reset_index(drop=True)


def _refuse_missing(path: Path, wanted: str) -> None:
    if not path.exists():
        raise DataError(f"{path} does not exist; wanted {wanted}")
    if path.is_dir():
        raise DataError(f"{path} is a folder; wanted {wanted}")


def _names(path: Path, names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: two columns are called {name!r}")
        seen.add(name)
    return list(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
