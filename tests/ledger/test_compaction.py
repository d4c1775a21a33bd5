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
from conftest import OpenLedger, ledger_row, places, write_part

from batchgen.ledger import reader
from batchgen.ledger import writer as ledger
from batchgen.ledger.compaction import VERSIONS, compact
from batchgen.ledger.contents import read_contents
from batchgen.ledger.finished import load_finished
from batchgen.ledger.reader import n_committed, read_table
from batchgen.ledger.schema import FAILURES, METADATA
from batchgen.storage.folder import JobFolder


def failure(n: int, message: str = "no") -> dict[str, Any]:
    """The row of a failed image."""
    return {**ledger_row(n), "attempt": 1, "message": message}


@pytest.mark.parametrize("stretch", [65536, 700])
def test_thousands_of_rows_in_any_order_come_out_in_order(
    folder: JobFolder,
    open_ledger: OpenLedger,
    monkeypatch: pytest.MonkeyPatch,
    stretch: int,
) -> None:
    """By row index, then image index; in one piece or a stretch of rows at a time."""
    monkeypatch.setattr(ledger, "PART_ROWS", 1000)
    monkeypatch.setattr(reader, "_STRETCH", stretch)
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
    assert n_committed(contents) == len(load_finished(contents)[0].key) == 1
    compact(folder, {})
    assert places(pq.read_table(folder.metadata)) == [(1, 0)]


def test_columns_that_come_and_go_are_all_there(folder: JobFolder) -> None:
    """A column that a start's table did not have is null in its rows."""
    write_part(folder, "r1", [ledger_row(0, old=7)], old=pa.int64())
    compact(folder, {})
    write_part(folder, "r2", [ledger_row(1)])
    write_part(folder, "r3", [ledger_row(2, old=9, new="x")], new=pa.string(), old=pa.int64())
    expected = {"old": [7, None, 9], "new": [None, None, "x"]}
    assert read_table(folder).select(["old", "new"]).to_pydict() == expected
    compact(folder, {})
    assert pq.read_table(folder.metadata).select(["old", "new"]).to_pydict() == expected


def test_own_columns_come_last(folder: JobFolder) -> None:
    """The schema is fixed but for them."""
    write_part(folder, "r1", [ledger_row(0, note="x")], note=pa.string())
    compact(folder, {})
    names = pq.read_schema(folder.metadata).names
    assert names == [*(column.name for column in METADATA), "note"]


def test_state_survives_every_compaction(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Also one that had nothing else to merge."""
    one = open_ledger("r1")
    one.fail(failure(9))
    one.rung("64x64", "slicing")
    one.close()
    compact(folder, {})
    write_part(folder, "r2", [ledger_row(0)])
    compact(folder, {})
    found = read_contents(folder).state
    assert list(found.failures) == [("k9", 0)]
    assert found.rungs == {"64x64": "slicing"}


def test_failures_are_a_file_while_there_are_any(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """In order, with the documented columns; gone when the last was made after all."""
    one = open_ledger("r1")
    one.fail(failure(9))
    one.fail(failure(3, "black"))
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
        write_part(folder, f"r{n}", [ledger_row(n)])
        compact(folder, {f"e{n}": {"numpy": numpy}})
    stored = json.loads((pq.read_metadata(folder.metadata).metadata or {})[VERSIONS])
    assert stored == {"e0": {"numpy": "1.26"}, "e1": {"numpy": "2.0"}}


def test_compaction_without_news_leaves_the_file_alone(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Ten million rows are not written again for a start that found nothing to do."""
    write_part(folder, "r1", [ledger_row(0)])
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
    one.fail(failure(0))
    one.close()
    compact(folder, {})
    assert pq.read_table(folder.metadata).num_rows == 0
    assert read_table(folder).num_rows == 0
