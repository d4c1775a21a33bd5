"""Tables in memory: pandas, Arrow, `datasets`, lists of dicts; as Arrow and as Parquet."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.errors import TableError

_compute: Any = pc

_KINDS = "a path, a DataFrame, an Arrow table, a datasets.Dataset or a list of dicts"
_GROUP_ROWS = 65536


def arrow_table(given: Any) -> pa.Table:
    """Return a table in memory as Arrow; an index is dropped, and NaN is null.

    Args:
        given: A pandas DataFrame, a `datasets.Dataset`, a list of dicts, or whatever gives an Arrow
            stream, as the tables of pyarrow, polars and DuckDB do.

    Raises:
        TableError: It is none of these, or a column has no name, the name of another, or values of
            several kinds.
    """
    try:
        table = _as_arrow(given)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"table: it does not convert to Arrow: {reason.rstrip('.')}.") from error
    twice = [name for name, count in Counter(table.schema.names).items() if count > 1]
    if twice:
        raise TableError(f"table: it has more than one column {twice[0]!r}. Rename one.")
    return pa.Table.from_arrays(
        [_without_nan(column) for column in table.columns], names=table.schema.names
    )


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet: the same bytes for the same content."""
    whole = table.combine_chunks().replace_schema_metadata(None)
    pq.write_table(whole, path, row_group_size=_GROUP_ROWS, compression="zstd")


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
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())
            raise TableError(
                f"table: column {name!r} holds values of several kinds ({reason})."
            ) from error
    if not columns:
        raise TableError("table: it has no rows. Give a dict for each prompt.")
    return pa.table(columns)


def _of_pandas(frame: Any) -> pa.Table:
    _refuse_other_names(frame.columns)
    return pa.Table.from_pandas(frame, preserve_index=False)


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
    other = next((name for name in names if not isinstance(name, str)), None)
    if other is not None:
        raise TableError(f"table: the column {other!r} has no text for a name. Rename it.")


def _without_nan(column: Any) -> Any:
    if not pa.types.is_floating(column.type):
        return column
    whole = column.combine_chunks()
    nan = _compute.fill_null(_compute.is_nan(whole), False)
    return _compute.replace_with_mask(whole, nan, pa.scalar(None, column.type))
