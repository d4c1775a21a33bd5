"""The ledger's many files as one: metadata.parquet, a table in memory, the set of what is done.

Rows that a later file withdrew are left out everywhere. Works a stretch of rows at a time, so
memory does not grow with the job, save for `load_finished`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchgen.errors import FolderError
from batchgen.ledger.contents import NOTES, Contents, Source, consistently, read_contents
from batchgen.ledger.records import records_to_table
from batchgen.ledger.schema import FAILURES, METADATA, schema
from batchgen.ledger.writer import remove_covered, sealed_parquet
from batchgen.plan.backlog import Finished, hashed_keys
from batchgen.plan.fingerprint import Hashes, from_hex, image_keys, text_hash, text_hashes
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder

VERSIONS = b"batchgen.versions"
"""Key of the software behind each environment, as JSON."""

_STRETCH = 65536
_ORDER: Any = [("row_index", "ascending"), ("image_index", "ascending")]


def live_tables(
    contents: Contents, columns: list[str] | None = None
) -> Iterator[tuple[Source, pa.Table]]:
    """Yield what is committed and not withdrawn, file by file, some ten thousand rows a table."""
    for source in contents.sources:
        dead = _withdrawn_after(contents, source.sequence)
        for table in _tables(source, columns):
            yield source, table if not len(dead) else table.filter(~np.isin(_keys(table), dead))


def _tables(source: Source, columns: list[str] | None) -> Iterator[pa.Table]:
    if source.unsealed is not None:
        table = records_to_table(source.unsealed.rows.values(), source.unsealed.schema)
        yield table if columns is None else table.select(columns)
    else:
        with pq.ParquetFile(source.path) as file:
            for batch in file.iter_batches(_STRETCH, columns=columns):
                yield pa.Table.from_batches([batch])


def _withdrawn_after(contents: Contents, sequence: int) -> Hashes:
    keys = [
        key for source in contents.sources if source.sequence > sequence for key in source.voids
    ]
    return hashed_keys(keys)


def _keys(table: pa.Table) -> Hashes:
    return image_keys(
        text_hashes(table["row_key"]), table["image_index"].to_numpy().astype(np.int64)
    )


def n_committed(contents: Contents) -> int:
    """Return how many images are committed and not withdrawn."""
    if not any(source.voids for source in contents.sources):
        return sum(source.n_rows for source in contents.sources)
    columns = ["row_key", "image_index"]
    return sum(table.num_rows for _, table in live_tables(contents, columns))


def load_finished(contents: Contents, same: Mapping[str, str] = MappingProxyType({})) -> Finished:
    """Return what is done as sorted columns: 20 bytes an image, 24 with long file names.

    Args:
        contents: What the folder holds.
        same: Environment of a row to the one it is as good as, where that is another.
    """
    n_most = sum(source.n_rows for source in contents.sources)
    key = np.empty(n_most, dtype=np.uint64)
    mark = np.empty(n_most, dtype=np.uint64)
    number: NDArray[Any] = np.empty(n_most, dtype=np.uint32)
    columns = ["row_key", "image_index", "row_index", "file_name", "fingerprint", "environment"]
    n = 0
    for source, table in live_tables(contents, columns):
        stretch = slice(n, n + table.num_rows)
        key[stretch] = _keys(table)
        mark[stretch] = from_hex(table["fingerprint"]) ^ _environments(table["environment"], same)
        numbers = _numbers(source.path, table)
        if len(numbers) and numbers.max() > np.iinfo(number.dtype).max:
            number = number.astype(np.int64)
        number[stretch] = numbers
        n += table.num_rows
    order = np.argsort(key[:n])
    return Finished(key=key[:n][order], mark=mark[:n][order], number=number[:n][order])


def _environments(column: Any, same: Mapping[str, str]) -> Hashes:
    encoded = column.combine_chunks().dictionary_encode()
    texts = [same.get(text, text) for text in encoded.dictionary.to_pylist()]
    hashes = np.array([text_hash(text) for text in texts], np.uint64)
    chosen: Hashes = hashes[encoded.indices.to_numpy()]
    return chosen


def _numbers(path: Path, table: pa.Table) -> NDArray[np.int64]:
    """Return the numbers in the file names; the row index, where the name is of usual length."""
    numbers = np.array(table["row_index"].to_numpy(), dtype=np.int64)
    separator = pc.utf8_slice_codeunits(table["file_name"], 12, 13).to_numpy()
    for position in np.flatnonzero(separator != "/"):
        name = table["file_name"][int(position)].as_py()
        number = JobFolder.image_number(name)
        if number is None:
            raise FolderError(
                f"{path} has a row whose image is {name!r}, which no job writes. Put the job's own "
                "metadata back, or choose another name=."
            )
        numbers[position] = number
    return numbers


def merged_schema(contents: Contents, carried: pa.Schema | None = None) -> pa.Schema:
    """Return the schema that holds every file's columns: ours first, then the tables' own.

    Raises `FolderError` where a column has one type in one file and another in the next.
    """
    schemas = [schema(METADATA, carried)]
    for source in contents.sources:
        if source.unsealed is not None:
            schemas.append(source.unsealed.schema)
        else:
            schemas.append(pq.read_schema(source.path).remove_metadata())
    try:
        return pa.unify_schemas(schemas)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise FolderError(
            f"A column of the table changed its type since images were made: {error}. "
            "Choose another name=, or give the column its old type back."
        ) from error


def read_table(folder: JobFolder) -> pa.Table:
    """Return all that is committed as one table in order; for jobs that fit in memory.

    Safe beside a running job. Raises `FolderError` for a folder that is no job.
    """
    if not folder.is_job():
        raise FolderError(f"{folder.root} is no job's folder: there is no job.json in it.")
    return consistently(folder, lambda: _joined(read_contents(folder)))


def _joined(contents: Contents) -> pa.Table:
    to_schema = merged_schema(contents)
    tables = [_fitted(table, to_schema) for _, table in live_tables(contents)]
    return pa.concat_tables([to_schema.empty_table(), *tables]).sort_by(_ORDER)


def rows_in_order(folder: JobFolder, columns: Collection[str]) -> Iterator[pa.Table]:
    """Yield some columns of all that is committed, in order, some ten thousand rows a table.

    Row key, row index and image index are always among them. Safe beside a running job: each table
    is what is committed when its turn comes. Raises `FolderError` for a folder that is no job.
    """
    if not folder.is_job():
        raise FolderError(f"{folder.root} is no job's folder: there is no job.json in it.")
    names = {"row_key", "row_index", "image_index", *columns}
    to_schema = pa.schema([field for field in schema(METADATA) if field.name in names])
    first = 0
    while True:
        table = consistently(folder, partial(_next_rows, folder, to_schema, first))
        if table is None:
            return
        yield table
        first = table["row_index"][-1].as_py() + 1


def _next_rows(folder: JobFolder, to_schema: pa.Schema, first: int) -> pa.Table | None:
    tables = _in_order(read_contents(folder), to_schema, first=first, columns=to_schema.names)
    return next((table for table in tables if table.num_rows), None)


def _fitted(table: pa.Table, to_schema: pa.Schema) -> pa.Table:
    names = set(table.schema.names)
    arrays = [
        table[field.name] if field.name in names else pa.nulls(table.num_rows, field.type)
        for field in to_schema
    ]
    return pa.Table.from_arrays(arrays, schema=to_schema)


def compact(folder: JobFolder, versions: dict[str, dict[str, str]]) -> None:
    """Merge all sealed files into metadata.parquet and failures.parquet.

    `versions` names the software behind each `environment` of the rows; earlier ones are kept.
    The caller holds the lock and has closed its journal.
    """
    contents = read_contents(folder)
    if any(source.path != folder.metadata for source in contents.sources):
        to_schema = merged_schema(contents)
        notes = {"covers": contents.last_sequence, "facts": contents.facts.as_json()}
        known = {**read_versions(folder), **versions}
        key_value = {NOTES: json.dumps(notes).encode(), VERSIONS: json.dumps(known).encode()}
        with sealed_parquet(folder.metadata, to_schema, key_value) as writer:
            for table in _in_order(contents, to_schema):
                writer.write_table(table)
    _write_failures(folder, contents)
    remove_covered(folder, contents.last_sequence)


def read_versions(folder: JobFolder) -> dict[str, dict[str, str]]:
    """Return the software behind each `environment` in metadata.parquet."""
    if not folder.metadata.exists():
        return {}
    notes = pq.read_metadata(folder.metadata).metadata or {}
    return dict(json.loads(notes.get(VERSIONS, b"{}")))


def _in_order(
    contents: Contents,
    to_schema: pa.Schema,
    *,
    first: int = 0,
    columns: list[str] | None = None,
) -> Iterator[pa.Table]:
    """Yield rows by row index and image index, a stretch of row indexes at a time.

    Begins with row index `first`, and reads only `columns` where they are given.
    """
    spans = [(source, *_span(source)) for source in contents.sources if source.n_rows]
    if not spans:
        return
    last = max(span[2] for span in spans)
    n_rows = sum(source.n_rows for source, *_ in spans)
    step = max(1, (last + 1) * _STRETCH // n_rows)
    dead = {id(s): _withdrawn_after(contents, s.sequence) for s, *_ in spans}
    for start in range(first, last + 1, step):
        tables = []
        for source, low, high in spans:
            if low < start + step and start <= high:
                table = _stretch(source, start, start + step, columns)
                if len(dead[id(source)]):
                    table = table.filter(~np.isin(_keys(table), dead[id(source)]))
                tables.append(_fitted(table, to_schema))
        if tables:
            yield pa.concat_tables(tables).sort_by(_ORDER)


def _span(source: Source) -> tuple[int, int]:
    """Return the least and the largest row index of a source that has rows."""
    if source.unsealed is not None:
        indexes = [row["row_index"] for row in source.unsealed.rows.values()]
        return min(indexes), max(indexes)
    statistics = [s for *_, s in _row_groups(pq.read_metadata(source.path))]
    return min(s.min for s in statistics), max(s.max for s in statistics)


def _row_groups(metadata: Any) -> Iterator[tuple[int, Any]]:
    at = metadata.schema.to_arrow_schema().get_field_index("row_index")
    for group in range(metadata.num_row_groups):
        if metadata.row_group(group).num_rows:
            yield group, metadata.row_group(group).column(at).statistics


def _stretch(source: Source, first: int, stop: int, columns: list[str] | None) -> pa.Table:
    """Return the rows of a source whose row index is in [first, stop)."""
    if source.unsealed is not None:
        table = next(_tables(source, None))
    else:
        with pq.ParquetFile(source.path) as file:
            groups = [
                group
                for group, statistics in _row_groups(file.metadata)
                if statistics.min < stop and first <= statistics.max
            ]
            table = file.read_row_groups(groups, columns)
    index = table["row_index"].to_numpy()
    return table.filter((index >= first) & (index < stop))


def _write_failures(folder: JobFolder, contents: Contents) -> None:
    failures = list(contents.facts.failures.values())
    if not failures:
        with storage_errors(folder.failures):
            folder.failures.unlink(missing_ok=True)
        return
    to_schema = schema(FAILURES)
    arrays = [pa.array([f.get(x.name) for f in failures], x.type) for x in to_schema]
    table = pa.Table.from_arrays(arrays, schema=to_schema).sort_by(_ORDER)
    with sealed_parquet(folder.failures, to_schema, {}) as writer:
        writer.write_table(table)
