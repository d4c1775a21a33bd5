"""Tables in memory: pandas, Arrow, `datasets`, lists of dicts; as Arrow and as Parquet."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.errors import TableError
from batchgen.table.raw import shown
from batchgen.table.text import is_text

_compute: Any = pc

_KINDS = "a path, a DataFrame, an Arrow table, a datasets.Dataset or a list of dicts"
_GROUP_ROWS = 65536
_MISFIT = (pa.ArrowException, ValueError, TypeError, OverflowError)
"""What pyarrow raises for values that it has no column for."""


def arrow_table(given: Any) -> pa.Table:
    """Return a table in memory as Arrow; an index is dropped, and NaN, NA and NaT are null.

    Args:
        given: A pandas DataFrame, a `datasets.Dataset`, a list of dicts, or whatever gives an Arrow
            stream, as the tables of pyarrow, polars and DuckDB do.

    Raises:
        TableError: It is none of these, or a column has no name, the name of another, or values of
            several kinds.
    """
    try:
        table = _as_arrow(given)
    except _MISFIT as error:
        raise TableError(f"table: it does not convert to Arrow: {_reason(error)}.") from error
    _refuse_other_names(table.schema.names)
    return pa.Table.from_arrays(
        [_without_nan(column) for column in table.columns], names=table.schema.names
    )


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet: the same bytes for the same content.

    Raises `TableError` for a column of a type that Parquet does not have.
    """
    whole = table.combine_chunks().replace_schema_metadata(None)
    try:
        pq.write_table(whole, path, row_group_size=_GROUP_ROWS, compression="zstd")
    except pa.ArrowException as error:
        raise TableError(
            f"table: {_unwritable(whole)} does not go into Parquet: {_reason(error)}. Convert it, "
            "or leave it out."
        ) from error


def _as_arrow(given: Any) -> pa.Table:
    if isinstance(given, (pa.Table, pa.RecordBatch)):
        return pa.Table.from_batches([given]) if isinstance(given, pa.RecordBatch) else given
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return _of_rows(given)
    if hasattr(given, "iloc") and hasattr(given, "columns"):
        return _of_pandas(given)
    if hasattr(given, "with_format") and hasattr(given, "column_names"):
        return _of_datasets(given)
    if hasattr(given, "__arrow_c_stream__"):
        return pa.table(given)
    raise TableError(f"table={type(given).__name__}(...) is none of: {_KINDS}.")


def _of_rows(rows: Sequence[Any]) -> pa.Table:
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TableError(f"table, row {index}: {row!r} is no dict of column names to values.")
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    _refuse_other_names(names)
    if not rows:
        raise TableError("table: it has no rows. Give a dict for each prompt.")
    return pa.table({name: _column(name, [_cell(row.get(name)) for row in rows]) for name in names})


def _of_pandas(frame: Any) -> pa.Table:
    _refuse_other_names(frame.columns)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except _MISFIT:
        for name in frame.columns:  # one of them has a row to name
            _column(name, frame[name].to_numpy())
        raise


def _of_datasets(dataset: Any) -> pa.Table:
    if isinstance(dataset.column_names, Mapping):
        splits = ", ".join(map(repr, dataset.column_names))
        raise TableError(f"table: it has the splits {splits}. Choose one, as in table=it['train'].")
    if not hasattr(dataset, "__len__"):
        raise TableError(
            "table: a streamed dataset is read once only, and a table more than once. Load it "
            "without streaming=True."
        )
    table: pa.Table = dataset.with_format("arrow")[:]
    return table


def _refuse_other_names(names: Any) -> None:
    for name, count in Counter(list(names)).items():
        if not isinstance(name, str):
            raise TableError(f"table: the column {name!r} has no text for a name. Rename it.")
        if count > 1:
            raise TableError(f"table: it has more than one column {name!r}. Rename one.")


def _cell(value: Any) -> Any:
    """Return a cell as pyarrow takes it: a path as text, a NaN of numpy as None in text, too."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return None if isinstance(value, np.floating) and np.isnan(value) else value


def _column(name: str, cells: Any) -> Any:
    """Return a column of Python values as Arrow; raises TableError for the first that cannot be."""
    try:
        return pa.array(cells, from_pandas=True)
    except _MISFIT as error:
        row = _first_misfit(cells)
        cell, reason = cells[row], f"does not fit its column: {_reason(error)}"
        cure = "Give the column values of one kind, or leave it out"
        if isinstance(cell, str) and not is_text(cell):
            reason, cure = "holds half of a surrogate pair", "Correct it"
        raise TableError(
            f"table, row {row}: column {name!r} has {shown(cell)}, which {reason}. {cure}."
        ) from error


def _first_misfit(cells: Any) -> int:
    """Return the index of the first cell with which a column stops being one."""
    good, bad = 0, len(cells)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array(cells[:middle], from_pandas=True)
        except _MISFIT:
            bad = middle
        else:
            good = middle
    return bad - 1


def _unwritable(table: pa.Table) -> str:
    """Return the column that Parquet has no type for, in words."""
    for field in table.schema:
        try:
            pq.write_table(table.select([field.name]), pa.BufferOutputStream())
        except pa.ArrowException:
            return f"column {field.name!r} of type {field.type}"
    return "it"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _without_nan(column: Any) -> Any:
    if not pa.types.is_floating(column.type):
        return column
    whole = column.combine_chunks()
    nan = _compute.fill_null(_compute.is_nan(whole), False)
    return _compute.replace_with_mask(whole, nan, pa.scalar(None, column.type))
