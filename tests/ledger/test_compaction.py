"""Many files as one: in order, complete, with the columns of all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import OpenLedger, ledger_row

from batchgen.errors import FolderError
from batchgen.ledger import compaction
from batchgen.ledger import writer as ledger
from batchgen.ledger.compaction import (
    VERSIONS,
    compact,
    load_finished,
    merged_schema,
    n_committed,
    read_table,
    rows_in_order,
)
from batchgen.ledger.contents import read_contents
from batchgen.ledger.schema import FAILURES, METADATA, schema
from batchgen.ledger.writer import Ledger
from batchgen.storage.folder import JobFolder


def fail(n: int, message: str = "no") -> dict[str, Any]:
    """The event of a failed image."""
    row = ledger_row(n)
    return {"type": "fail", "failure": {**row, "attempt": 1, "message": message}}


def write(folder: JobFolder, run_id: str, rows: list[dict[str, Any]], **carried: Any) -> None:
    """Commit rows of a table with these own columns, and close."""
    folder.create()
    own = Ledger(folder, run_id, schema(METADATA, pa.schema(list(carried.items()))))
    own.commit(rows)
    own.close()


def places(table: pa.Table) -> list[tuple[int, int]]:
    """Return row and image index of each row of a table."""
    return [(row["row_index"], row["image_index"]) for row in table.to_pylist()]


@pytest.mark.parametrize("stretch", [65536, 700])
def test_thousands_of_rows_in_any_order_come_out_in_order(
    folder: JobFolder,
    open_ledger: OpenLedger,
    monkeypatch: pytest.MonkeyPatch,
    stretch: int,
) -> None:
    """By row index, then image index; in one piece or a stretch of rows at a time."""
    monkeypatch.setattr(ledger, "PART_ROWS", 1000)
    monkeypatch.setattr(compaction, "_STRETCH", stretch)
    wanted = [(n, at) for n in range(2500) for at in range(2)]
    shuffled = [wanted[at] for at in np.random.default_rng(0).permutation(len(wanted))]
    rows = [ledger_row(n, at, note=f"{n}-{at}") for n, at in shuffled]
    open_one = open_ledger()
    for at in range(0, len(rows), 250):
        open_one.commit(rows[at : at + 250])
    open_one.close()
    assert len(list(folder.parts.iterdir())) == 5
    compact(folder, {})
    table = pq.read_table(folder.metadata)
    assert places(table) == wanted
    assert table["note"].to_pylist() == [f"{n}-{at}" for n, at in wanted]


def test_later_starts_are_merged_into_the_order(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Gaps are filled where they belong."""
    for run_id, indexes in (("r1", (0, 4, 8)), ("r2", (6, 2)), ("r3", (1, 9))):
        one = open_ledger(run_id)
        one.commit([ledger_row(n) for n in indexes])
        one.close()
        compact(folder, {})
    assert [n for n, _ in places(pq.read_table(folder.metadata))] == [0, 1, 2, 4, 6, 8, 9]


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


def test_parts_left_behind_by_a_crash_are_passed_over(
    folder: JobFolder, open_ledger: OpenLedger, tmp_path: Path
) -> None:
    """A crash after the rename leaves the merged files; the next compaction clears them away."""
    one = open_ledger()
    one.commit([ledger_row(0)])
    one.seal()
    one.commit([ledger_row(1)])
    one.close()
    shutil.copytree(folder.parts, tmp_path / "parts")
    compact(folder, {})
    shutil.copytree(tmp_path / "parts", folder.parts, dirs_exist_ok=True)
    assert len(places(read_table(folder))) == 2
    assert n_committed(read_contents(folder)) == 2
    compact(folder, {})
    assert list(folder.parts.iterdir()) == []
    assert len(places(read_table(folder))) == 2


def test_withdrawn_rows_are_left_out(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Everywhere: in the count, in the table, in what is done, in the file."""
    for run_id in ("r1", "r2"):
        one = open_ledger(run_id)
        if run_id == "r2":
            one.withdraw([("k0", 0)])
        else:
            one.commit([ledger_row(0), ledger_row(1)])
        one.close()
    contents = read_contents(folder)
    assert n_committed(contents) == len(load_finished(contents).key) == 1
    compact(folder, {})
    assert places(pq.read_table(folder.metadata)) == [(1, 0)]


def test_columns_that_come_and_go_are_all_there(folder: JobFolder) -> None:
    """A column that a start's table did not have is null in its rows."""
    write(folder, "r1", [ledger_row(0, old=7)], old=pa.int64())
    compact(folder, {})
    write(folder, "r2", [ledger_row(1)])
    write(folder, "r3", [ledger_row(2, old=9, new="x")], new=pa.string(), old=pa.int64())
    expected = {"old": [7, None, 9], "new": [None, None, "x"]}
    assert read_table(folder).select(["old", "new"]).to_pydict() == expected
    compact(folder, {})
    assert pq.read_table(folder.metadata).select(["old", "new"]).to_pydict() == expected


def test_own_columns_come_last(folder: JobFolder) -> None:
    """The schema is fixed but for them."""
    write(folder, "r1", [ledger_row(0, note="x")], note=pa.string())
    compact(folder, {})
    names = pq.read_schema(folder.metadata).names
    assert names == [*(column.name for column in METADATA), "note"]


def test_column_that_changed_its_type_is_refused_by_name(folder: JobFolder) -> None:
    """Numbers and texts are not mixed in one column."""
    write(folder, "r1", [ledger_row(0, size=7)], size=pa.int64())
    with pytest.raises(FolderError, match=r"changed its type.*size.*Choose another name="):
        merged_schema(read_contents(folder), pa.schema([("size", pa.string())]))


def test_facts_survive_every_compaction(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Also one that had nothing else to merge."""
    one = open_ledger("r1")
    one.record(fail(9))
    one.record({"type": "rung", "size": "64x64", "rung": "slicing"})
    one.close()
    compact(folder, {})
    write(folder, "r2", [ledger_row(0)])
    compact(folder, {})
    facts = read_contents(folder).facts
    assert list(facts.failures) == [("k9", 0)]
    assert facts.rungs == {"64x64": "slicing"}


def test_failures_are_a_file_while_there_are_any(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """In order, with the documented columns; gone when the last was made after all."""
    one = open_ledger("r1")
    one.record(fail(9))
    one.record(fail(3, "black"))
    one.close()
    compact(folder, {})
    table = pq.read_table(folder.failures)
    assert table.column_names == [column.name for column in FAILURES]
    assert table["message"].to_pylist() == ["black", "no"]
    two = open_ledger("r2")
    two.commit([ledger_row(3), ledger_row(9)])
    two.close()
    compact(folder, {})
    assert not folder.failures.exists()


def test_versions_of_every_environment_are_kept(folder: JobFolder) -> None:
    """`on_change=keep` mixes environments; the file says which software each one was."""
    for n, numpy in enumerate(("1.26", "2.0")):
        write(folder, f"r{n}", [ledger_row(n)])
        compact(folder, {f"e{n}": {"numpy": numpy}})
    stored = json.loads((pq.read_metadata(folder.metadata).metadata or {})[VERSIONS])
    assert stored == {"e0": {"numpy": "1.26"}, "e1": {"numpy": "2.0"}}


def test_compaction_without_news_leaves_the_file_alone(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Ten million rows are not written again for a start that found nothing to do."""
    write(folder, "r1", [ledger_row(0)])
    compact(folder, {})
    before = folder.metadata.stat()
    open_ledger("r2").close()
    compact(folder, {})
    assert folder.metadata.stat() == before


def test_job_without_images_has_an_empty_metadata(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """A job in which every row failed can be read all the same."""
    one = open_ledger()
    one.record(fail(0))
    one.close()
    compact(folder, {})
    assert pq.read_table(folder.metadata).num_rows == 0
    assert read_table(folder).num_rows == 0


def test_finished_images_are_sorted_by_key_with_their_numbers(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """The number is that of the file name, for names of any length."""
    one = open_ledger()
    far = {**ledger_row(5), "file_name": "images/100000/1000000003-0.png"}
    one.commit([ledger_row(1), far, ledger_row(12_345, 3)])
    one.close()
    finished = load_finished(read_contents(folder))
    assert np.all(np.diff(finished.key.astype(object)) > 0)
    assert sorted(finished.number.tolist()) == [1, 12_345, 1_000_000_003]


def test_reading_what_is_no_job_is_refused(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(FolderError, match=rf"{tmp_path} is no job's folder"):
        read_table(JobFolder(tmp_path))


@pytest.mark.parametrize("stretch", [65536, 700])
def test_rows_in_order_come_a_stretch_at_a_time_and_once_each(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    """From metadata.parquet, parts and journal alike, without what was withdrawn."""
    monkeypatch.setattr(compaction, "_STRETCH", stretch)
    write(folder, "r1", [ledger_row(n) for n in range(0, 3000, 2)])
    compact(folder, {})
    write(folder, "r2", [ledger_row(n) for n in range(1, 3000, 2)])
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
    write(folder, "r1", [ledger_row(n) for n in range(10)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "_STRETCH", 4)
        tables = rows_in_order(folder, [])
        found = places(next(tables))
        compact(folder, {})
        found += [place for table in tables for place in places(table)]
    assert found == [(n, 0) for n in range(10)]
