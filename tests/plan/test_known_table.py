"""What is passed over of a table that an earlier pass vouches for."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from conftest import MakeConfig, WriteTable

from batchgen.config.job import JobConfig
from batchgen.config.reading import ReadingConfig
from batchgen.plan.backlog import Backlog, Before, Finished, Identity, SetAside
from batchgen.plan.known_table import KnownTable, window_hashes
from batchgen.plan.resolution import image_columns
from batchgen.plan.scan import scan
from batchgen.table import Table, open_table

IDENTITY = Identity("m", "e")
NOTHING = SetAside({}, {}, {})
N_ROWS = 400
"""Six windows of 64 rows, and a part of one."""
TEXT = "id,prompt,seed,steps\n" + "".join(
    f"r{i},{'(a:1.2)' if i == 5 else 'a'} cat,{i if i % 7 else ''},{20 + i % 3}\n"
    for i in range(N_ROWS)
)


def finished(table: Table, config: JobConfig, rows: range) -> Finished:
    """Return the images of some rows as finished."""
    parts = []
    for chunk in table.chunks():
        columns = image_columns(chunk, config, IDENTITY.model_revision)
        row = columns.row + chunk.first_index
        own = np.isin(row, np.array(rows))
        parts.append((columns.key[own], IDENTITY.marks(columns.fingerprint[own]), row[own]))
    key, mark, number = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(key)
    return Finished(key[order], mark[order], number[order].astype(np.uint32))


def both(table: Table, config: JobConfig, done: Finished) -> tuple[Backlog, Backlog]:
    """Return what a whole pass finds left, and what one finds that knows the table."""
    known = scan(table, config, IDENTITY, Before(finished(table, config, range(0)), NOTHING)).known
    whole = scan(table, config, IDENTITY, Before(done, NOTHING))
    return whole, scan(table, config, IDENTITY, Before(done, NOTHING, known))


def same(first: Any, second: Any) -> bool:
    """Whether two backlogs say the same, their arrays compared by value."""
    if isinstance(first, Backlog | KnownTable):
        names = [field.name for field in fields(first)]
        return all(same(getattr(first, name), getattr(second, name)) for name in names)
    return bool(np.array_equal(np.asarray(first, object), np.asarray(second, object)))


CASES = {
    "nothing": range(0),
    "all": range(N_ROWS),
    "the first windows": range(130),
    "the last": range(200, N_ROWS),
    "all but a row": [*range(300), *range(301, N_ROWS)],
    "one in a window": range(0, N_ROWS, 64),
}


@pytest.mark.parametrize("done", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    "settings", [{}, {"limit": 150}, {"shard": "1/3"}, {"images_per_prompt": 3}], ids=str
)
def test_a_known_table_is_resumed_as_any_other(
    write_table: WriteTable, fake_config: MakeConfig, done: Any, settings: dict[str, Any]
) -> None:
    """Whatever is done of it: all that a whole pass finds is found."""
    config, table = fake_config(**settings), open_table(write_table(TEXT), ReadingConfig())
    whole, resumed = both(table, config, finished(table, config, done))
    assert whole.n_rows == N_ROWS
    assert same(whole, resumed)


def test_windows_that_are_done_are_not_read(
    write_table: WriteTable, fake_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading begins at the first window with work, and does not begin where there is none."""
    config, table = fake_config(), open_table(write_table(TEXT), ReadingConfig())
    first_rows: list[int] = []
    read = Table.chunks

    def chunks(self: Table, first_row: int = 0, chunk_rows: int = 16384) -> Any:
        first_rows.append(first_row)
        return read(self, first_row, chunk_rows)

    known = scan(table, config, IDENTITY, Before(finished(table, config, range(0)), NOTHING)).known
    most, every = (finished(table, config, range(n)) for n in (200, N_ROWS))
    monkeypatch.setattr(Table, "chunks", chunks)
    scan(table, config, IDENTITY, Before(most, NOTHING, known))
    assert first_rows == [192]
    scan(table, config, IDENTITY, Before(every, NOTHING, known))
    assert first_rows == [192]


def test_images_with_other_settings_are_found(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """A window counts as done only if every image carries what it must."""
    config, table = fake_config(), open_table(write_table(TEXT), ReadingConfig())
    done = finished(table, config, range(N_ROWS))
    done.mark[7] ^= np.uint64(1)
    whole, resumed = both(table, config, done)
    assert resumed.n_changed == 1
    assert same(whole, resumed)


def test_images_that_the_table_lost_are_found(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """Then all keys of the table are needed, so it is read whole."""
    config, table = fake_config(), open_table(write_table(TEXT), ReadingConfig())
    done = finished(table, config, range(N_ROWS))
    done.key[-1] += np.uint64(1)
    whole, resumed = both(table, config, done)
    assert len(resumed.taken) == 1
    assert same(whole, resumed)


def test_a_hash_of_a_window_tells_images_and_rows_apart() -> None:
    """Of the same images in another order it is the same, and of swapped numbers another."""
    key, mark = np.arange(6, dtype=np.uint64), np.arange(6, dtype=np.uint64) * np.uint64(11)
    number = np.array([0, 1, 2, 3, 4, 10**9])
    there = window_hashes(key, mark, number, 3, range(2))
    order = np.array([5, 3, 1, 0, 2, 4])
    assert np.array_equal(window_hashes(key[order], mark[order], number[order], 3, range(2)), there)
    assert np.array_equal(window_hashes(key, mark, number, 3, range(1, 2)), there[1:])
    swapped = window_hashes(key, mark, number[[1, 0, 2, 3, 4, 5]], 3, range(2))
    assert (swapped != there).tolist() == [True, False]
