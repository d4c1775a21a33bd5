"""Reading what is committed: file by file, as one table, or in order a stretch at a time.

Rows that a later file withdrew are left out everywhere. All but `read_table` work in bounded
memory, however large the job. Report, exports, verification and `batchgen.read_metadata` share it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.errors import FolderError
from batchgen.ledger.contents import Contents, consistently, read_contents, refuse_no_job
from batchgen.ledger.records import as_type
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.sources import Source, row_groups
from batchgen.ledger.withdrawals import Withdrawals
from batchgen.plan.fingerprint import Hashes, image_keys, text_hashes
from batchgen.storage.folder import JobFolder

_compute: Any = pc

_STRETCH = 65536
"""Rows that are aimed at for a table, and read at once; none has more than twice as many."""

ORDER: Any = [("row_index", "ascending"), ("image_index", "ascending")]

_PLACE = ("row_key", "row_index", "image_index")
"""The columns that say which image a row is of, and where it stands."""

_Place = tuple[int, int]
"""Row index and image index."""


def live_tables(
    contents: Contents, columns: list[str] | None = None
) -> Iterator[tuple[Source, pa.Table]]:
    """Yield what is committed and not withdrawn, file by file, some ten thousand rows a table.

    Args:
        contents: What the folder holds.
        columns: Those to read, row key and image index among them; all where they are not given.
    """
    withdrawals = Withdrawals.of(contents)
    for source in contents.sources:
        for table in source.tables(columns, _STRETCH):
            yield source, _without(table, withdrawals, source)


def _without(table: pa.Table, withdrawals: Withdrawals, source: Source) -> pa.Table:
    """Return the rows of a source that no later one withdraws."""
    if not withdrawals.concern(source.sequence):
        return table
    return table.filter(~withdrawals.among(keys_of(table), source.sequence))


def keys_of(table: pa.Table) -> Hashes:
    """Return the keys of a table's images, as hashes."""
    return image_keys(
        text_hashes(table["row_key"]), table["image_index"].to_numpy().astype(np.int64)
    )


def n_committed(contents: Contents) -> int:
    """Return how many images are committed and not withdrawn."""
    if not any(source.voids for source in contents.sources):
        return sum(source.n_rows for source in contents.sources)
    columns = ["row_key", "image_index"]
    return sum(table.num_rows for _, table in live_tables(contents, columns))


def merged_schema(contents: Contents, carried: pa.Schema | None = None) -> pa.Schema:
    """Return the schema that holds every file's columns: ours first, then the tables' own.

    A column of a table that has one type in one file and another in the next is text.
    """
    schemas = [schema(METADATA, carried)]
    for source in contents.sources:
        if source.unsealed is not None:
            schemas.append(source.unsealed.schema)
        else:
            schemas.append(pq.read_schema(source.path).remove_metadata())
    fields: dict[str, Any] = {}
    for column in chain.from_iterable(schemas):
        known = fields.setdefault(column.name, column)
        if pa.types.is_null(known.type):
            fields[column.name] = column
        elif column.type != known.type and not pa.types.is_null(column.type):
            fields[column.name] = pa.field(column.name, pa.string())
    return pa.schema(list(fields.values()))


def read_table(folder: JobFolder) -> pa.Table:
    """Return all that is committed as one table in order; for jobs that fit in memory.

    Shards that lie in the folder are read as well; `file_name` begins with the shard's name there.
    Safe beside a running job. Raises `FolderError` for a folder that is not a job.
    """
    shards = folder.shards()
    if not shards or folder.is_job():
        refuse_no_job(folder)
    own = [folder] if folder.is_job() or not shards else []
    tables = [
        consistently(one, lambda one=one: _joined(read_contents(one)))  # type: ignore[misc]
        for one in (*own, *shards)
    ]
    for at, shard in enumerate(shards, start=len(own)):
        names = _compute.binary_join_element_wise(shard.root.name, tables[at]["file_name"], "/")
        column = tables[at].schema.get_field_index("file_name")
        tables[at] = tables[at].set_column(column, "file_name", names)
    if len(tables) == 1:
        return tables[0]
    return pa.concat_tables(tables, promote_options="permissive").sort_by(ORDER)


def _joined(contents: Contents) -> pa.Table:
    to_schema = merged_schema(contents)
    tables = [_fitted(table, to_schema) for _, table in live_tables(contents)]
    return pa.concat_tables([to_schema.empty_table(), *tables]).sort_by(ORDER)


def rows_in_order(folder: JobFolder, columns: Collection[str] | None = None) -> Iterator[pa.Table]:
    """Yield what is committed, in order, in tables of at most some hundred thousand rows.

    Safe beside a running job: each table is what is committed when its turn comes. The columns are
    those of all tables from the first to the last; one that a later start adds is not among them.

    Args:
        folder: The job's.
        columns: Ours and the table's own, by their names in the metadata. Row key, row index and
            image index always come with them. All columns where they are not given.

    Raises:
        FolderError: The folder is no job, or has no such column.
    """
    refuse_no_job(folder)
    to_schema = consistently(folder, lambda: merged_schema(read_contents(folder)))
    if columns is not None:
        to_schema = _chosen(folder, to_schema, columns)
    place = (0, 0)
    while True:
        table = consistently(folder, partial(_next_rows, folder, to_schema, place))
        if table is None:
            return
        yield table
        place = (table["row_index"][-1].as_py(), table["image_index"][-1].as_py() + 1)


def _chosen(folder: JobFolder, to_schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    unknown = [name for name in columns if name not in to_schema.names]
    if unknown:
        raise FolderError(
            f"{folder.root} has no column {unknown[0]!r} in its metadata; "
            f"it has: {', '.join(to_schema.names)}."
        )
    return pa.schema([x for x in to_schema if x.name in columns or x.name in _PLACE])


def _next_rows(folder: JobFolder, to_schema: pa.Schema, first: _Place) -> pa.Table | None:
    tables = in_order(read_contents(folder), to_schema, first)
    return next((table for table in tables if table.num_rows), None)


def find_rows(folder: JobFolder, column: str, value: str) -> list[dict[str, Any]]:
    """Return the rows that have a text in a column, in order, with all columns.

    Safe beside a running job. Raises `FolderError` for a folder that is not a job.
    """
    found: list[dict[str, Any]] = []
    try:
        wanted = pa.scalar(value, pa.string())
    except UnicodeEncodeError:  # half a character, as of a damaged argument: in no table
        return found
    for table in rows_in_order(folder):
        is_wanted = pc.equal(table[column], wanted)
        found += table.filter(is_wanted).to_pylist()
    return found


def in_order(
    contents: Contents, to_schema: pa.Schema, first: _Place = (0, 0)
) -> Iterator[pa.Table]:
    """Yield what is committed by row index and image index, a stretch of rows at a time.

    Args:
        contents: What the folder holds.
        to_schema: The columns to read; null where a file does not have one.
        first: Row index and image index to begin with.
    """
    withdrawals = Withdrawals.of(contents)
    sources = [source for source in contents.sources if source.n_rows]
    spans = [_Span(source, *source.row_indexes(), withdrawals) for source in sources]
    if not spans:
        return
    last = max(span.high for span in spans)
    n_rows = sum(span.source.n_rows for span in spans)
    step = max(1, (last + 1) * _STRETCH // n_rows)
    while first[0] <= last:
        stretch = _Stretch(to_schema, first, (first[0] + step, 0))
        for span in spans:
            stretch.read(span)
        if stretch.tables:
            yield pa.concat_tables(stretch.tables).sort_by(ORDER)
        first = stretch.stop


@dataclass(frozen=True, slots=True)
class _Span:
    """A source that has rows, and where they lie."""

    source: Source
    low: int
    high: int
    """The least and the largest row index."""
    withdrawals: Withdrawals

    def live(self, table: pa.Table) -> pa.Table:
        """Return those of its rows that no later source withdraws."""
        return _without(table, self.withdrawals, self.source)


@dataclass(slots=True)
class _Stretch:
    """The rows of all sources from one place up to another, which comes nearer if they are many.

    How many rows a range of row indexes has is not known before they are read: rows may be missing
    in one half of a table, and one row may have a million images.
    """

    to_schema: pa.Schema
    first: _Place
    stop: _Place
    """Behind the last row."""
    tables: list[pa.Table] = field(default_factory=list)

    def read(self, span: _Span) -> None:
        """Take in the rows of a source that lie in the stretch."""
        if not self._meets(span.low, span.high):
            return
        if span.source.unsealed is not None:
            self._add(next(span.source.tables(None, _STRETCH)), span)
            return
        with pq.ParquetFile(span.source.path) as file:
            for group, statistics in row_groups(file.metadata):
                if self._meets(statistics.min, statistics.max):
                    for batch in file.iter_batches(
                        _STRETCH, row_groups=[group], columns=self.to_schema.names
                    ):
                        self._add(pa.Table.from_batches([batch]), span)

    def _meets(self, low: int, high: int) -> bool:
        return (low, 0) < self.stop and self.first[0] <= high

    def _add(self, table: pa.Table, span: _Span) -> None:
        table = span.live(self._cut(table))
        if table.num_rows:
            self.tables.append(_fitted(table, self.to_schema))
        if sum(table.num_rows for table in self.tables) > 2 * _STRETCH:
            joined = pa.concat_tables(self.tables)
            self.stop = _place_of(joined, _STRETCH)
            self.tables = [self._cut(joined)]

    def _cut(self, table: pa.Table) -> pa.Table:
        row, image = (table[name].to_numpy() for name in ("row_index", "image_index"))
        is_begun = (row > self.first[0]) | ((row == self.first[0]) & (image >= self.first[1]))
        is_ended = (row > self.stop[0]) | ((row == self.stop[0]) & (image >= self.stop[1]))
        return table.filter(is_begun & ~is_ended)


def _place_of(table: pa.Table, index: int) -> _Place:
    """Return the place of a row in the order of a table, and never that of its first row."""
    row, image = (table[name].to_numpy() for name in ("row_index", "image_index"))
    order = np.lexsort((image, row))
    first, place = ((int(row[at]), int(image[at])) for at in (order[0], order[index]))
    # Rows that were moved in the table may share a place; they stay together.
    return place if place > first else (first[0], first[1] + 1)


def _fitted(table: pa.Table, to_schema: pa.Schema) -> pa.Table:
    names = set(table.schema.names)
    arrays = [
        as_type(table[field.name], field.type)
        if field.name in names
        else pa.nulls(table.num_rows, field.type)
        for field in to_schema
    ]
    return pa.Table.from_arrays(arrays, schema=to_schema)
