"""A finished image as a JSON record in the journal, its key, and many of them as an Arrow table."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from batchgen.config.decimals import as_written
from batchgen.ledger.schema import METADATA, carried_name

Record = dict[str, Any]
"""Column name to JSON value; the table's own columns are under `carried`."""

Key = tuple[str, int]
"""Row key and image index: what an image is known by."""


def key_of(record: Record) -> Key:
    """Return the key of the image that a row of metadata.parquet or failures.parquet is about."""
    return record["row_key"], record["image_index"]


def encode_carried(carried: dict[str, Any]) -> dict[str, Any]:
    """Return the table's own columns of a row as JSON values, under their names in the metadata.

    Types JSON has no exact form for (times, decimals, bytes) travel as an Arrow IPC stream.
    """
    return {carried_name(name): _encode(scalar) for name, scalar in carried.items()}


def records_to_table(records: Collection[Record], to_schema: pa.Schema) -> pa.Table:
    """Return records as a table; a column that a record does not have is null there."""
    ours = {column.name for column in METADATA}
    arrays = []
    for field in to_schema:
        if field.name in ours:
            arrays.append(pa.array([record.get(field.name) for record in records], field.type))
        else:
            values = [record["carried"].get(field.name) for record in records]
            arrays.append(_decode(values, field.type))
    return pa.Table.from_arrays(arrays, schema=to_schema)


def as_type(column: Any, kind: pa.DataType) -> Any:
    """Return an Arrow column as another type; what becomes text is written as JSON would have it.

    Raises `pa.ArrowException` where a value does not fit.
    """
    if column.type == kind:
        return column
    if not pa.types.is_string(kind):
        return column.cast(kind)
    if not pa.types.is_floating(column.type) and not pa.types.is_boolean(column.type):
        with contextlib.suppress(pa.ArrowException):
            return column.cast(kind)
    texts = [None if value is None else _text_of(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _text_of(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    value = as_written(value) if isinstance(value, float) else value
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_json(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
    )


def _encode(scalar: Any) -> Any:
    if not scalar.is_valid or _is_json(scalar.type):
        return scalar.as_py()
    batch = pa.record_batch([pa.repeat(scalar, 1)], names=["value"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue().to_pybytes()).decode()


def _decode(values: list[Any], kind: pa.DataType) -> Any:
    if _is_json(kind):
        return pa.array(values, kind)
    null = pa.array([None], kind)
    arrays = [null if value is None else _from_stream(value).cast(kind) for value in values]
    return pa.concat_arrays(arrays) if arrays else pa.array([], kind)


def _from_stream(text: str) -> Any:
    with pa.ipc.open_stream(base64.b64decode(text)) as reader:
        return reader.read_next_batch().column(0)
