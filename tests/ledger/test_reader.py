"""What is committed, as tables: complete, in order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import OpenLedger, ledger_row, places, write_part

from batchgen.errors import FolderError
from batchgen.ledger import reader
from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import read_contents
from batchgen.ledger.notes import NOTES, MetadataNotes
from batchgen.ledger.reader import find_rows, merged_schema, read_table, rows_in_order
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.seals import atomic_parquet
from batchgen.ledger.state import LedgerState
from batchgen.ledger.writer import Ledger
from batchgen.storage.folder import JobFolder

COUNTED = pa.proxy_memory_pool(pa.default_memory_pool())
"""Counts what Parquet files are read into; outlives all that it gives out."""


def test_reader_sees_the_order_before_compaction(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Journal, part and metadata.parquet, all at once."""
    for run_id, n in (("r1", 5), ("r2", 3), ("r3", 4)):
        one = open_ledger(run_id)
        one.commit([ledger_row(n)])
        if run_id != "r3":
            one.close()
        if run_id == "r1":
            compact(folder, {})
    assert [n for n, _ in places(read_table(folder))] == [3, 4, 5]


def test_column_that_changed_its_type_is_text(folder: JobFolder) -> None:
    """Numbers and texts share a column of text."""
    write_part(folder, "r1", [ledger_row(0, size=7)], size=pa.int64())
    write_part(folder, "r2", [ledger_row(1, size="big")], size=pa.string())
    assert merged_schema(read_contents(folder)).field("size").type == pa.string()
    assert read_table(folder)["size"].to_pylist() == ["7", "big"]


def test_reading_what_is_no_job_is_refused(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(FolderError, match=rf"{tmp_path} is not a job's folder"):
        read_table(JobFolder(tmp_path))


@pytest.mark.parametrize("stretch", [65536, 700])
def test_rows_in_order_come_a_stretch_at_a_time_and_once_each(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    """From metadata.parquet, parts and journal alike, without what was withdrawn."""
    monkeypatch.setattr(reader, "_STRETCH", stretch)
    write_part(folder, "r1", [ledger_row(n) for n in range(0, 3000, 2)])
    compact(folder, {})
    write_part(folder, "r2", [ledger_row(n) for n in range(1, 3000, 2)])
    own = Ledger(folder, "r3", schema(METADATA))
    own.withdraw([("k0", 0), ("k7", 0)])
    tables = list(rows_in_order(folder, ["file_name"]))
    assert [n for table in tables for n, _ in places(table)] == [
        n for n in range(3000) if n not in (0, 7)
    ]
    assert len(tables) == (1 if stretch > 3000 else 5)
    assert set(tables[0].column_names) == {"file_name", "row_key", "row_index", "image_index"}


def test_rows_in_order_go_on_where_a_job_compacts_its_files_meanwhile(folder: JobFolder) -> None:
    """A reader that is slow sees each row once all the same."""
    write_part(folder, "r1", [ledger_row(n) for n in range(10)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_STRETCH", 4)
        tables = rows_in_order(folder, [])
        found = places(next(tables))
        compact(folder, {})
        found += [place for table in tables for place in places(table)]
    assert found == [(n, 0) for n in range(10)]


def test_rows_in_order_have_the_tables_own_columns(folder: JobFolder) -> None:
    """By name, or all that there are; null where a file does not have one."""
    write_part(folder, "r1", [ledger_row(0, note="x")], note=pa.string())
    compact(folder, {})
    write_part(folder, "r2", [ledger_row(1, score=7)], score=pa.int64())
    (some,) = rows_in_order(folder, ["score"])
    assert some.column_names == ["row_key", "row_index", "image_index", "score"]
    assert some["score"].to_pylist() == [None, 7]
    (all_,) = rows_in_order(folder)
    assert all_.equals(read_table(folder))


def test_column_that_no_image_has_is_refused_by_name(folder: JobFolder) -> None:
    """With those that there are."""
    write_part(folder, "r1", [ledger_row(0, note="x")], note=pa.string())
    with pytest.raises(FolderError, match=r"has no column 'nte'.*file_name, row_key.*note\.$"):
        next(rows_in_order(folder, ["note", "nte"]))


def uneven(n_images: int) -> Iterator[tuple[int, int]]:
    """Yield places of images: a long row in front, many rows, a gap, and one row far away."""
    yield from ((0, at) for at in range(n_images))
    yield from ((n, 0) for n in range(1, n_images))
    yield 10_000_000, 0


def test_tables_are_bounded_however_uneven_the_rows_are(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From metadata.parquet, parts and a journal, without what was withdrawn."""
    monkeypatch.setattr(reader, "_STRETCH", 100)
    wanted = list(uneven(1500))
    for run_id, first in (("r1", 0), ("r2", 1), ("r3", 2)):
        write_part(folder, run_id, [ledger_row(*place) for place in wanted[first::4]])
        if run_id == "r1":
            compact(folder, {})
    journal = Ledger(folder, "r4", schema(METADATA))
    monkeypatch.setattr("batchgen.ledger.writer.PART_ROWS", 10_000)
    journal.commit([ledger_row(*place) for place in wanted[3::4]])
    journal.withdraw([("k0", 3), ("k7", 0), ("k0", 1499)])
    tables = list(rows_in_order(folder, []))
    found = [place for table in tables for place in places(table)]
    assert found == [place for place in wanted if place not in ((0, 3), (7, 0), (0, 1499))]
    assert max(table.num_rows for table in tables) <= 200


def test_rows_that_share_a_place_stay_together(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a row was inserted: images of both rows say that they were made of row 0."""
    monkeypatch.setattr(reader, "_STRETCH", 2)
    rows = [{**ledger_row(0), "row_key": f"key {n}"} for n in range(9)]
    write_part(folder, "r1", [*rows, ledger_row(1)])
    assert [table.num_rows for table in rows_in_order(folder)] == [9, 1]


def write_metadata(folder: JobFolder, n_rows: int) -> pa.Table:
    """Write a metadata.parquet of so many rows, in which the last is far away, and return it."""
    index = pa.array([*range(n_rows - 1), 10**9])
    columns = {
        "row_index": index,
        "row_key": index.cast(pa.string()),
        "image_index": pa.repeat(pa.scalar(0, pa.int32()), n_rows),
        "text": pa.repeat("x" * 200, n_rows),
    }
    to_schema = schema(METADATA)
    arrays = [columns.get(column.name, pa.nulls(n_rows, column.type)) for column in to_schema]
    table = pa.Table.from_arrays(arrays, schema=to_schema)
    folder.create()
    notes = {NOTES: MetadataNotes.encode(1, LedgerState())}
    with atomic_parquet(folder.metadata, to_schema, notes) as writer:
        writer.write_table(table, row_group_size=65536)
    return table


def test_memory_of_a_reader_does_not_grow_with_the_job(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300,000 rows some thousand are read at once, though most lie in one stretch."""
    monkeypatch.setattr(reader, "_STRETCH", 4096)
    whole = write_metadata(folder, 300_000)
    usual = pa.default_memory_pool()
    pa.set_memory_pool(COUNTED)
    try:
        n_read = sum(table.num_rows for table in rows_in_order(folder, ["text"]))
    finally:
        pa.set_memory_pool(usual)
    assert n_read == whole.num_rows
    assert 0 < (COUNTED.max_memory() or 0) < whole.nbytes / 10


def test_rows_are_found_by_a_text(folder: JobFolder) -> None:
    """Wherever they stand, with the table's own columns."""
    write_part(folder, "r1", [ledger_row(n, note=str(n)) for n in range(3)], note=pa.string())
    compact(folder, {})
    write_part(folder, "r2", [ledger_row(1, 1, note="new")], note=pa.string())
    found = find_rows(folder, "row_key", "k1")
    assert [(row["image_index"], row["note"]) for row in found] == [(0, "1"), (1, "new")]
    assert find_rows(folder, "row_key", "k9") == find_rows(folder, "row_key", "\udc80") == []
