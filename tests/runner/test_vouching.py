"""A large table that is not validated a second time, and when it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import RunJob, WritePrompts

from batchgen.plan import known_table
from batchgen.storage.folder import JobFolder
from batchgen.table import Table

N_ROWS = 20


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the first rows that tables were read from; tables of over 10 rows count as large."""
    first_rows: list[int] = []
    read = Table.chunks

    def chunks(self: Table, first_row: int = 0, chunk_rows: int = 16384) -> Any:
        first_rows.append(first_row)
        return read(self, first_row, chunk_rows)

    monkeypatch.setattr(Table, "chunks", chunks)
    for module in ("start", "vouching"):
        monkeypatch.setattr(f"batchgen.runner.{module}.INSTANT_ROWS", 10)
    return first_rows


@pytest.fixture
def known(prompts: WritePrompts, run_job: RunJob, reads: list[int]) -> Path:
    """A large job that is done; return what vouches for its table."""
    prompts(N_ROWS)
    result = run_job()
    assert (result.n_done, len(reads)) == (N_ROWS, 2)
    reads.clear()
    return JobFolder(result.folder).known_table


def test_a_table_that_is_vouched_for_is_not_read(
    known: Path, run_job: RunJob, reads: list[int]
) -> None:
    """The job is as finished as before."""
    assert known.is_file()
    assert run_job().n_done == N_ROWS
    assert reads == []


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("settings", [{"limit": 20}, {"retry": {"max_attempts": 5}}], ids=str)
def test_other_settings_are_not_vouched_for(
    run_job: RunJob, reads: list[int], settings: dict[str, Any]
) -> None:
    """Every setting of the job counts, and then the new ones are vouched for."""
    run_job(**settings)
    assert reads == [0]
    run_job(**settings)
    assert reads == [0]


@pytest.mark.usefixtures("known")
def test_another_table_is_not_vouched_for(
    prompts: WritePrompts, run_job: RunJob, reads: list[int]
) -> None:
    """Its hash is another; the row that came is made."""
    prompts(N_ROWS + 1)
    assert run_job().n_done == N_ROWS + 1
    assert reads[:1] == [0]


@pytest.mark.usefixtures("known")
def test_another_validation_is_not_vouched_for(
    run_job: RunJob, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is part of the hash."""
    monkeypatch.setattr("batchgen.runner.vouching.VALIDATION", known_table.VALIDATION + 1)
    run_job()
    assert reads == [0]


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 1400])
def test_a_damaged_file_vouches_for_nothing(
    known: Path, run_job: RunJob, reads: list[int], n_bytes: int
) -> None:
    """The table is read again, and the file is made again."""
    whole = known.read_bytes()
    assert len(whole) > 1400
    known.write_bytes(whole[:n_bytes])
    assert run_job().n_done == N_ROWS
    assert reads == [0]
    assert known.read_bytes() == whole


def test_a_flipped_byte_vouches_for_nothing(known: Path, run_job: RunJob, reads: list[int]) -> None:
    """Wherever it is: the file's own checksums tell."""
    whole = known.read_bytes()
    for at in range(0, len(whole), 97):
        known.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert run_job().n_done == N_ROWS
    assert set(reads) <= {0}


def test_a_small_table_has_no_such_file(prompts: WritePrompts, run_job: RunJob) -> None:
    """It is read in no time."""
    prompts(N_ROWS)
    assert not JobFolder(run_job().folder).known_table.exists()
