"""Rows on their way to the metadata: the table's own columns come out as they went in."""

from __future__ import annotations

import json
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import RunJob

from batchgen.ledger.records import encode_carried, records_to_table
from batchgen.ledger.schema import METADATA, schema
from batchgen.storage.folder import JobFolder

COLUMNS: dict[str, Any] = {
    "words": pa.array(["a\n“猫”", "", None]),
    "yes": pa.array([True, False, None]),
    "int8": pa.array([-128, 127, None], pa.int8()),
    "int64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "uint32": pa.array([0, 2**32 - 1, None], pa.uint32()),
    "uint64": pa.array([0, 2**64 - 1, None], pa.uint64()),
    "float32": pa.array([0.1, float("inf"), None], pa.float32()),
    "float64": pa.array([0.1, -1e308, None], pa.float64()),
    "binary": pa.array([b"\x00\xff", b"", None], pa.binary()),
    "fixed": pa.array([b"\x00\xff", b"ab", None], pa.binary(2)),
    "decimal": pa.array([Decimal("1.10"), Decimal("-99999999.99"), None], pa.decimal128(10, 2)),
    "wide_decimal": pa.array([Decimal("1e-20"), Decimal(7), None], pa.decimal256(60, 20)),
    "date": pa.array([date(1, 1, 1), date(9999, 12, 31), None], pa.date32()),
    "date64": pa.array([date(1969, 1, 1), date(2026, 1, 1), None], pa.date64()),
    "seconds": pa.array([0, -(2**40), None], pa.timestamp("s")),
    "nanos": pa.array([1, 2**62 + 1, None], pa.timestamp("ns")),
    "zoned": pa.array([1, -1, None], pa.timestamp("us", tz="Asia/Shanghai")),
    "time32": pa.array([time(1, 2, 3), time(0), None], pa.time32("ms")),
    "time64": pa.array([1, 86_399_999_999_999, None], pa.time64("ns")),
    "duration": pa.array([timedelta(days=-3), timedelta(microseconds=1), None], pa.duration("us")),
    "nothing": pa.array([None, None, None], pa.null()),
}


def carried_row(columns: dict[str, Any], at: int) -> dict[str, Any]:
    """Return a record as the journal gives it back."""
    carried = encode_carried({name: column[at] for name, column in columns.items()})
    record: dict[str, Any] = json.loads(json.dumps({"row_key": str(at), "carried": carried}))
    return record


@pytest.mark.parametrize("name", COLUMNS)
def test_carried_value_survives_the_journal(name: str) -> None:
    """Value, type and null, each type on its own."""
    column = COLUMNS[name]
    to_schema = schema(METADATA, pa.schema([(name, column.type)]))
    rows = [carried_row({name: column}, at) for at in range(3)]
    table = records_to_table(rows, to_schema)
    assert table[name].combine_chunks().equals(column)


def test_carried_columns_survive_journal_part_and_metadata(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """All of them in one Parquet table, through a whole job."""
    prompts = pa.array(["a", "b", "c"])
    pq.write_table(pa.table({"prompt": prompts, **COLUMNS}), tmp_path / "t.parquet")
    run_job(table=tmp_path / "t.parquet", name="t")
    table = pq.read_table(folder.metadata)
    given = pq.read_table(tmp_path / "t.parquet").drop_columns("prompt")
    for name in given.column_names:
        assert table[name].combine_chunks().equals(given[name].combine_chunks()), name


def test_record_without_a_column_is_null_there() -> None:
    """Columns come and go with edits of the table."""
    to_schema = schema(METADATA, pa.schema([("old", pa.int64()), ("when", pa.timestamp("ns"))]))
    table = records_to_table([{"row_key": "a", "carried": {}}], to_schema)
    assert table["old"].null_count == table["when"].null_count == 1
    assert table["row_key"].to_pylist() == ["a"]


def test_no_records_are_an_empty_table() -> None:
    """A part that holds withdrawals only has every column all the same."""
    to_schema = schema(METADATA, pa.schema([("when", pa.timestamp("ns"))]))
    table = records_to_table([], to_schema)
    assert table.num_rows == 0
    assert table.schema == to_schema
