"""Parquet: typed columns, read a batch at a time."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.config.decimals import as_written
from batchgen.errors import TableError
from batchgen.table.raw import RawRows, file_errors, shown

_compute: Any = pc

_BROKEN = (pa.ArrowException, ValueError, OverflowError)
"""What pyarrow raises for a broken file; its I/O errors are OSError and handled with the others."""


class ParquetFile:
    """A .parquet or .pq file. Plain types stay; nested values become JSON text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[str] = []
        self.has_quotes = False
        with self._open() as file:
            given = file.schema_arrow
        twice = [name for name, count in Counter(given.names).items() if count > 1]
        if twice:
            raise TableError(f"{path} has more than one column {shown(twice[0])}. Rename one.")
        # The file's own metadata (pandas, Arrow) describes types that are not these any more.
        self.schema = pa.schema([(field.name, plain_type(field.type)) for field in given])
        self._chosen = self.schema
        self.pictures = frozenset(x.name for x in given if _has_bytes_inside(_storage_type(x.type)))

    def choose(self, used: Collection[str], carried: Collection[str]) -> None:
        """Read these columns only; see `raw.Source`."""
        self._chosen = pa.schema([x for x in self.schema if x.name in used or x.name in carried])

    def settle(self) -> None:
        """Take note of nothing: the types were known before; see `raw.Source`."""

    def place(self, row_index: int) -> str:
        """Return where a row is; see `raw.Source`."""
        return f"{self._path}, row {row_index}"

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        with self._open() as file:
            groups, index = _groups_from(file.metadata, first_row)
            for batch in file.iter_batches(
                chunk_rows, row_groups=groups, columns=self._chosen.names
            ):
                skipped = max(0, first_row - index)
                wanted = batch.select(self._chosen.names).slice(skipped)
                if wanted.num_rows:
                    start = index + skipped
                    plain, nested = self._plain(wanted, start), _first_nested(wanted)
                    yield RawRows(self._path, start, plain, nested)
                index += batch.num_rows
            if index != file.metadata.num_rows:
                raise TableError(
                    f"{self._path} says it has {file.metadata.num_rows} rows, and {index} can be "
                    "read. Write it again."
                )

    def _open(self) -> _Opened:
        return _Opened(self._path)

    def _plain(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        columns: list[Any] = []
        for field, column in zip(self._chosen, batch.columns, strict=True):
            plain = plain_column(column, field.type)
            if pa.types.is_string(field.type):
                try:
                    plain.validate(full=True)
                except pa.ArrowInvalid as error:
                    raise _undecodable(self._path, first, field.name, plain) from error
            columns.append(plain)
        return pa.RecordBatch.from_arrays(columns, schema=self._chosen)


class _Opened:
    """A Parquet file as a context; what is broken in it becomes a TableError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> Any:
        with file_errors(self._path):
            try:
                # Read through a buffer: by default a whole row group is fetched ahead.
                self._file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=2**20)
            except _BROKEN as error:
                raise self._broken(error) from error
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, (*_BROKEN, OSError)):
            raise self._broken(error) from error

    def _broken(self, error: BaseException) -> TableError:
        reason = " ".join(str(error).split())
        return TableError(
            f"{self._path} cannot be read as Parquet: {reason.rstrip('.')}. Write it again."
        )


def _groups_from(metadata: Any, first_row: int) -> tuple[list[int], int]:
    """Return the row groups from `first_row` on, and the index of their first row."""
    index = 0
    for group in range(metadata.num_row_groups):
        n_rows = metadata.row_group(group).num_rows
        if index + n_rows > first_row:
            return list(range(group, metadata.num_row_groups)), index
        index += n_rows
    return [], index


def _storage_type(kind: pa.DataType) -> pa.DataType:
    """Return what a dictionary or extension type is made of."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def _is_bytes(kind: pa.DataType) -> bool:
    kind = _storage_type(kind)
    of_any_length = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return of_any_length or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)


def _parts(kind: pa.DataType) -> list[pa.DataType]:
    """Return the types of what a nested type holds."""
    if pa.types.is_map(kind):
        return [kind.key_type, kind.item_type]
    return [kind.field(n).type for n in range(kind.num_fields)] if pa.types.is_nested(kind) else []


def _has_bytes_inside(kind: pa.DataType) -> bool:
    parts = [_storage_type(part) for part in _parts(kind)]
    return any(_is_bytes(part) or _has_bytes_inside(part) for part in parts)


def _picture_field(kind: pa.DataType) -> str | None:
    """Return the one field of a struct that holds bytes, as that of a picture in `datasets`."""
    if not pa.types.is_struct(kind):
        return None
    names = [x.name for x in kind if _is_bytes(x.type) or _has_bytes_inside(_storage_type(x.type))]
    return names[0] if len(names) == 1 and _is_bytes(kind.field(names[0]).type) else None


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column of type `kind` is carried as."""
    kind = _storage_type(kind)
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or _picture_field(kind):
        return pa.binary()
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text or pa.types.is_nested(kind) else kind


def plain_column(column: Any, kind: pa.DataType) -> Any:
    """Return a column as its plain type `kind`: decoded, without views, nested values as JSON.

    Of a struct with one field of bytes, the bytes.
    """
    while column.type != _storage_type(column.type):
        is_dictionary = pa.types.is_dictionary(column.type)
        column = column.dictionary_decode() if is_dictionary else column.storage
    picture = _picture_field(column.type)
    if picture:
        column = _compute.struct_field(column, [picture])
    elif pa.types.is_nested(column.type):
        cells = (json_text(cell, column.type) for cell in column.to_pylist())
        return pa.array(cells, pa.string())
    return column if column.type == kind else column.cast(kind)


def json_text(cell: Any, kind: pa.DataType) -> str | None:
    """Return a value of an Arrow type as JSON: 7.1 of a float32 is 7.1, and bytes are Base64."""
    if cell is None:
        return None
    return json.dumps(_json_value(cell, kind), ensure_ascii=False, default=str)


def _json_value(cell: Any, kind: pa.DataType) -> Any:
    kind = _storage_type(kind)
    if isinstance(cell, float):
        return as_written(cell, np.float16) if pa.types.is_float16(kind) else as_written(cell)
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode()
    if pa.types.is_struct(kind):
        return {name: _json_value(value, kind.field(name).type) for name, value in cell.items()}
    if pa.types.is_map(kind):
        return [[_json_value(k, kind.key_type), _json_value(v, kind.item_type)] for k, v in cell]
    if isinstance(cell, list):
        return [_json_value(value, kind.field(0).type) for value in cell]
    return cell


def _first_nested(batch: pa.RecordBatch) -> dict[str, int]:
    """Return the columns that hold lists, structs or maps, with the position of the first."""
    first = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_nested(_storage_type(field.type)) and column.null_count < len(column):
            first[field.name] = column.is_valid().to_pylist().index(True)
    return first


def _undecodable(path: Path, first: int, name: str, column: Any) -> TableError:
    cells = [cell or b"" for cell in column.cast(pa.binary()).to_pylist()]
    # U+FFFD stands for what cannot be decoded; a cell that really holds it decodes to itself.
    bad = (i for i, cell in enumerate(cells) if cell.decode(errors="replace").encode() != cell)
    position = next(bad, None)
    if position is None:
        return TableError(f"{path}: column {name!r} is damaged. Write the file again.")
    text = cells[position].decode(errors="backslashreplace")
    return TableError(
        f"{path}, row {first + position}: column {name!r} has {shown(text)}, which is not UTF-8. "
        "Write the file again with decoded text."
    )
