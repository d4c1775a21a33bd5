"""Several files as one table: their rows one after another, under one row index."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchgen.config import shell
from batchgen.config.decimals import as_written
from batchgen.errors import TableError
from batchgen.table.raw import RawRows, Source


class Shards:
    """The files of a table as one source; a column that one of them lacks is null there."""

    def __init__(self, sources: Mapping[Path, Source]) -> None:
        self._sources = sources
        self._n_rows: dict[Path, int] = {}
        """Of the files that were read to their end."""
        self._left_out: frozenset[str] = frozenset()
        self._schemas = {path: source.schema for path, source in sources.items()}
        self.schema = _union(self._schemas.values())

    @property
    def notes(self) -> list[str]:
        """Sentences about the files that their user should read."""
        return [f"{p.name}: {note}" for p, one in self._sources.items() for note in one.notes]

    @property
    def pictures(self) -> frozenset[str]:
        """Columns with bytes inside nested values; see `raw.Source`."""
        return frozenset().union(*(source.pictures for source in self._sources.values()))

    @property
    def has_quotes(self) -> bool:
        """Whether cells may be quoted; see `raw.Source`."""
        return any(source.has_quotes for source in self._sources.values())

    def choose(self, used: Collection[str], carried: Collection[str]) -> None:
        """Choose the columns of every file; see `raw.Source`."""
        self._left_out = frozenset(self.schema.names) - {*used, *carried}
        for path, source in self._sources.items():
            source.choose(used, carried)
            self._schemas[path] = source.schema
        self.schema = _union(self._schemas.values())

    def settle(self) -> None:
        """Settle the types of every file; see `raw.Source`."""
        for path, source in self._sources.items():
            source.settle()
            self._schemas[path] = source.schema
        self.schema = _union(self._schemas.values())

    def place(self, row_index: int) -> str:
        """Return where a row is; see `raw.Source`."""
        for path, source in self._sources.items():
            if row_index < self._n_rows.get(path, row_index + 1):
                return source.place(row_index)
            row_index -= self._n_rows[path]
        raise IndexError(row_index)

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        n_before = 0
        for path, source in self._sources.items():
            first = max(0, first_row - n_before)
            n_rows = self._n_rows.get(path)
            if n_rows is None or first < n_rows:
                last = None
                for last in source.raw_rows(first if n_rows is not None else 0, chunk_rows):
                    self._learn(path, source)
                    yield from self._fitted(last, n_before, first)
                self._learn(path, source)
                n_rows = 0 if last is None else last.first_row + last.batch.num_rows
                self._n_rows[path] = n_rows
            n_before += n_rows

    def _learn(self, path: Path, source: Source) -> None:
        if source.schema != self._schemas[path]:
            self._schemas[path] = source.schema
            self.schema = _union(self._schemas.values())

    def _fitted(self, raw: RawRows, n_before: int, first: int) -> Iterator[RawRows]:
        """Yield rows of a file, from index `first` of it on, with the columns of all files."""
        skipped = max(0, first - raw.first_row)
        batch = raw.batch.slice(skipped)
        if not batch.num_rows:
            return
        fields = [field for field in self.schema if field.name not in self._left_out]
        columns = [_column(batch, field, raw.path) for field in fields]
        nested = {name: at - skipped for name, at in raw.nested.items() if at >= skipped}
        fitted = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
        row = raw.first_row + skipped
        yield replace(raw, first_row=row, batch=fitted, nested=nested, n_before=n_before)


def _column(batch: pa.RecordBatch, field: Any, path: Path) -> Any:
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    if column.type == field.type:
        return column
    if pa.types.is_string(field.type) and pa.types.is_floating(column.type):
        texts = (None if cell is None else repr(as_written(cell)) for cell in column.to_pylist())
        return pa.array(texts, pa.string())
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise TableError(
            f"{path}: column {field.name!r} of type {column.type} does not become {field.type}, as "
            f"it is with the other files ({error}). Write it as one type in all of them, or leave "
            f"it out: {shell.names('reading.drop', [field.name])}."
        ) from error


def _union(schemas: Collection[pa.Schema]) -> pa.Schema:
    """Return all columns, in the order of the files, of types that hold the values of all."""
    types: dict[str, Any] = {}
    for field in itertools.chain.from_iterable(schemas):
        known = types.setdefault(field.name, field.type)
        if known != field.type:
            types[field.name] = _common(known, field.type)
    return pa.schema(list(types.items()))


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    numbers = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)]
    if not all(numbers):
        return pa.string()
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        return pa.int64()
    return pa.float64()
