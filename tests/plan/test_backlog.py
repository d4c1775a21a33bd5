"""What is left to do: the table held against what is finished, and the batches that follow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import MakeConfig, WriteTable

from batchgen.config.job import JobConfig
from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.plan.backlog import (
    Backlog,
    Before,
    Finished,
    Identity,
    SetAside,
    batches,
    whole_windows,
)
from batchgen.plan.batches import window_rows
from batchgen.plan.fingerprint import as_hex
from batchgen.plan.requests import ImageRequest
from batchgen.plan.resolution import image_columns
from batchgen.plan.scan import scan
from batchgen.table import Rows, Table, open_table

IDENTITY = Identity("fake-1", "environment")
NOTHING = SetAside({}, {}, {})
NONE = Finished(
    np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
)
TABLE = "id,prompt\na,x\nb,y\nc,z\n"


@dataclass
class Work:
    """A table, a config, and what was found to do."""

    table: Table
    config: JobConfig
    backlog: Backlog
    aside: SetAside

    @property
    def pending(self) -> list[tuple[str, int]]:
        """The keys of the images to be made, in the order of the batches."""
        return [image.key for image in self.images if image.is_pending]

    @property
    def images(self) -> list[ImageRequest]:
        """All members of the batches."""
        return [image for batch in self.made_up() for image in batch]

    def made_up(self) -> list[tuple[ImageRequest, ...]]:
        """The batches."""
        found = batches(self.table, self.config, IDENTITY, self.backlog, self.aside)
        return [batch.requests for batch in found]

    def named(self) -> list[list[str]]:
        """The row keys of each batch."""
        return [[image.row_key for image in members] for members in self.made_up()]

    def failed_for_good(self, key: str) -> SetAside:
        """Return a row's first image as out of attempts, with the settings it has in this table."""
        (rows,) = self.table.chunks()
        columns = image_columns(rows, self.config, IDENTITY.model_revision)
        row = rows.settings["row_key"].to_pylist().index(key)
        at = int(np.flatnonzero(columns.row == row)[0])
        fingerprint = as_hex(int(columns.fingerprint[at]))
        return SetAside({}, {(key, 0): 3}, {(key, 0): fingerprint})

    def finished(
        self, *keys: str, identity: Identity = IDENTITY, numbers: dict[str, int] | None = None
    ) -> Finished:
        """Return rows of this table as if their images had been made and committed.

        `numbers` are those of row keys whose file number is not the row index.
        """
        (rows,) = self.table.chunks()
        columns = image_columns(rows, self.config, identity.model_revision)
        all_keys = rows.settings["row_key"].to_pylist()
        of_row = [all_keys[row] for row in columns.row]
        chosen = np.array([not keys or key in keys for key in of_row])
        order = np.argsort(columns.key[chosen])
        moved = numbers or {}
        own = np.array([moved.get(of_row[i], columns.row[i]) for i in np.flatnonzero(chosen)])
        return Finished(
            columns.key[chosen][order],
            identity.marks(columns.fingerprint[chosen])[order],
            own[order].astype(np.int64),
        )


FindWork = Callable[..., Work]


@pytest.fixture
def work(write_table: WriteTable, fake_config: MakeConfig) -> FindWork:
    """Return a function that surveys a table against what is finished."""

    def find(
        text: str = TABLE, done: Finished = NONE, aside: SetAside = NOTHING, **settings: Any
    ) -> Work:
        config, table = fake_config(**settings), open_table(write_table(text), ReadingConfig())
        return Work(table, config, scan(table, config, IDENTITY, Before(done, aside)), aside)

    return find


def test_everything_is_pending_at_the_first_start(work: FindWork) -> None:
    """Rows and images are counted."""
    todo = work(images_per_prompt=2)
    assert (todo.backlog.n_rows, todo.backlog.n_images, todo.backlog.n_pending) == (3, 6, 6)
    assert todo.pending == [(key, n) for key in "abc" for n in (0, 1)]


def test_what_is_done_with_the_same_settings_is_skipped(work: FindWork) -> None:
    """And what is not stays."""
    todo = work(done=work().finished("b"))
    assert todo.pending == [("a", 0), ("c", 0)]
    assert (todo.backlog.n_changed, len(todo.backlog.taken)) == (0, 0)


def test_a_job_all_done_has_no_batch(work: FindWork) -> None:
    """The table is not even read again."""
    todo = work(done=work().finished())
    assert todo.backlog.first_pending_window() is None
    assert todo.made_up() == []


def test_changed_rows_are_counted_and_the_first_three_shown(work: FindWork) -> None:
    """As they would be made now."""
    done = work("id,prompt\n" + "".join(f"{i},x\n" for i in range(9))).finished()
    edited = "id,prompt\n" + "".join(f"{i},{'y' if i % 2 else 'x'}\n" for i in range(9))
    backlog = work(edited, done).backlog
    assert backlog.n_changed == 4
    assert [(i.row_key, i.settings.prompt) for i in backlog.changed] == [
        *(("1", "y"), ("3", "y"), ("5", "y")),
    ]


@pytest.mark.parametrize("changed", [Identity("fake-2", "environment"), Identity("fake-1", "e2")])
def test_another_model_or_environment_is_a_change(work: FindWork, changed: Identity) -> None:
    """Batch size, versions, device and dtype are in the environment."""
    backlog = work(done=work().finished("a", identity=changed)).backlog
    assert (backlog.n_changed, [image.row_key for image in backlog.changed]) == (1, ["a"])


def test_keep_leaves_what_has_changed_and_redo_makes_it_again(work: FindWork) -> None:
    """Both count it all the same."""
    done = work().finished("a", "b")
    edited = TABLE.replace("a,x", "a,changed")
    assert work(edited, done, on_change="keep").pending == [("c", 0)]
    assert work(edited, done, on_change="redo").pending == [("a", 0), ("c", 0)]
    assert work(edited, done, on_change="keep").backlog.n_changed == 1


def test_numbers_of_many_generations_of_rows_stay_apart(work: FindWork) -> None:
    """Rows that replace all others, day after day, never get a number that is taken."""
    taken = np.arange(8, dtype=np.int64) * 10**9
    backlog = Backlog(foreign_numbers=taken)
    assert work().backlog.number(0) == 0
    assert backlog.number(0) == 8 * 10**9


def test_rows_taken_from_the_table_are_counted(work: FindWork) -> None:
    """Their images stay and need no flag."""
    backlog = work("id,prompt\nc,z\n", work().finished()).backlog
    assert (len(backlog.taken), backlog.n_pending, backlog.n_changed) == (2, 0, 0)


def test_rows_added_at_the_end_are_made(work: FindWork) -> None:
    """They need no flag either."""
    todo = work(TABLE + "d,w\n", work().finished())
    assert todo.pending == [("d", 0)]


def test_an_inserted_row_gets_a_free_number_and_committed_paths_stay(work: FindWork) -> None:
    """The path of a finished image belongs to its key for good."""
    todo = work("id,prompt\nnew,w\na,x\nb,y\nc,z\n", work().finished())
    assert todo.pending == [("new", 0)]
    assert todo.images[0].number not in (0, 1, 2)


def test_a_number_once_given_is_kept_at_the_next_start(work: FindWork) -> None:
    """Whatever else is inserted then."""
    inserted = work("id,prompt\nnew,w\na,x\nb,y\nc,z\n", work().finished())
    number = inserted.backlog.number(0)
    numbers = {"new": number, "a": 0, "b": 1, "c": 2}
    done = inserted.finished(numbers=numbers)
    again = work("id,prompt\nmore,v\nnew,w\na,x\nb,y\nc,z\n", done, images_per_prompt=2)
    by_key = {image.row_key: image.number for image in again.images}
    assert {key: by_key[key] for key in numbers} == numbers
    assert len(set(by_key.values())) == 5


def test_a_new_row_in_the_place_of_a_taken_one_gets_another_number(work: FindWork) -> None:
    """The old image is still there under the old one."""
    todo = work("id,prompt\na,x\nnew,y\nc,z\n", work().finished())
    assert todo.backlog.number(1) == 1 + 10**9


def test_a_second_image_of_a_row_shares_its_number(work: FindWork) -> None:
    """A job that asks for more images goes on in the same place."""
    done = work("id,prompt\nnew,w\na,x\n").finished("a", numbers={"a": 0})
    todo = work("id,prompt\nnew,w\na,x\n", done, images_per_prompt=2)
    assert {image.number for image in todo.images if image.row_key == "a"} == {0}


def test_two_rows_of_one_id_are_refused_and_both_named(work: FindWork) -> None:
    """Row, column and value."""
    with pytest.raises(TableError) as caught:
        work("id,prompt\na,x\n007,y\nb,z\n007,w\n")
    assert "row 3: column 'id' has '007', as row 1 has" in str(caught.value)


def test_a_table_without_ids_may_say_a_prompt_twice(work: FindWork) -> None:
    """The row index is the key."""
    todo = work("prompt\nx\nx\n")
    assert todo.pending == [("0", 0), ("1", 0)]
    assert len({image.settings.seed for image in todo.images}) == 2


@pytest.mark.parametrize("limit", [1, 2, 3, 99])
def test_limit_takes_the_first_rows_and_reads_them_all(work: FindWork, limit: int) -> None:
    """Every row is validated whatever the limit."""
    todo = work(limit=limit)
    assert [key for key, _ in todo.pending] == list("abc")[:limit]
    assert (todo.backlog.n_rows, todo.backlog.n_images) == (3, min(limit, 3))
    with pytest.raises(TableError, match="row 2"):
        work("id,prompt,steps\na,x,1\nb,y,1\nc,z,0\n", limit=limit)


def test_a_limit_does_not_change_who_is_in_a_batch(work: FindWork) -> None:
    """Neighbours past the limit are made again with the batch, and are not pending."""
    todo = work(limit=1, batch_size=2)
    assert todo.named() == [["a", "b"]]
    assert todo.pending == [("a", 0)]


def test_a_resume_repeats_the_batch_with_its_done_neighbours(work: FindWork) -> None:
    """Same make-up, same pixels."""
    done = work(batch_size=2).finished("a")
    todo = work(done=done, batch_size=2)
    assert todo.named() == [["a", "b"], ["c"]]
    assert todo.pending == [("b", 0), ("c", 0)]


def test_images_out_of_attempts_are_failed_and_leave_their_batch(work: FindWork) -> None:
    """They count as failed, and are neither pending nor neighbours."""
    todo = work(aside=work().failed_for_good("b"), batch_size=3)
    assert (todo.backlog.n_failed, todo.backlog.n_pending) == (1, 2)
    assert todo.named() == [["a", "c"]]


def test_an_image_that_failed_with_other_settings_is_made(work: FindWork) -> None:
    """The row was corrected, so its old failures say nothing."""
    aside = work().failed_for_good("b")
    todo = work(TABLE.replace("b,y", "b,better"), aside=aside)
    assert (todo.backlog.n_failed, todo.backlog.n_pending) == (0, 3)
    assert ("b", 0) in todo.pending


def test_images_set_aside_come_last_and_alone(work: FindWork) -> None:
    """So that what killed its process meets nobody."""
    todo = work(aside=SetAside({("a", 0): 1}, {}, {}), batch_size=3)
    assert todo.named() == [["b", "c"], ["a"]]
    assert todo.backlog.n_pending == 3


def test_a_failed_image_beyond_the_limit_does_not_count(work: FindWork) -> None:
    """Nobody asks for it now."""
    assert work(aside=work().failed_for_good("c"), limit=2).backlog.n_failed == 0


def test_a_key_set_aside_that_left_the_table_is_passed_over(work: FindWork) -> None:
    """An old failure of a row that is gone."""
    todo = work(aside=SetAside({("gone", 0): 1}, {("gone too", 0): 3}, {("gone too", 0): "0" * 16}))
    assert (todo.backlog.n_failed, todo.backlog.n_pending) == (0, 3)


def rows_in_pieces(whole: Rows, lengths: Collection[int]) -> Iterator[Rows]:
    """Yield the rows of a chunk in pieces, as a file of odd blocks would."""
    at = 0
    for length in lengths:
        yield Rows(
            whole.first_index + at,
            whole.settings.slice(at, length),
            whole.carried.slice(at, length),
        )
        at += length


@pytest.mark.parametrize("lengths", [[100], [1] * 100, [7, 93], [64, 36], [63, 1, 36], [65, 35]])
def test_windows_are_whole_whatever_the_chunks(work: FindWork, lengths: list[int]) -> None:
    """No row is lost, and every piece but the last is a multiple of the window."""
    todo = work("prompt,mood\n" + "".join(f"p{i},m{i}\n" for i in range(100)))
    (whole,) = todo.table.chunks()
    window = window_rows(todo.config)
    pieces = list(whole_windows(rows_in_pieces(whole, lengths), window))
    assert [p.first_index % window for p in pieces] == [0] * len(pieces)
    assert [p.settings.num_rows % window for p in pieces[:-1]] == [0] * (len(pieces) - 1)
    prompts = [text for p in pieces for text in p.settings["prompt"].to_pylist()]
    moods = [text for p in pieces for text in p.carried["mood"].to_pylist()]
    assert prompts == [f"p{i}" for i in range(100)]
    assert moods == [f"m{i}" for i in range(100)]


@pytest.mark.parametrize("length", [1, 7, 64, 100, 1000])
def test_chunks_of_any_length_give_the_same_batches(
    work: FindWork, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of a file, and how many rows are read at a time, move no batch."""
    text = "prompt,steps\n" + "".join(f"p{i},{10 + i % 3 % 2}\n" for i in range(300))
    expected = work(text, batch_size=2).named()
    monkeypatch.setattr("batchgen.plan.backlog.chunk_rows", lambda _: length)
    assert work(text, batch_size=2).named() == expected


def test_a_resume_far_down_the_table_starts_at_its_window(work: FindWork) -> None:
    """What is before is not read again, and the batches are those of the first start."""
    text = "prompt\n" + "".join(f"p{i}\n" for i in range(1000))
    first = work(text, batch_size=3)
    done, all_batches = first.finished(*(str(i) for i in range(700))), first.named()
    todo = work(text, done, batch_size=3)
    assert todo.backlog.first_pending_window() == 700 // window_rows(todo.config)
    assert todo.named() == [batch for batch in all_batches if int(batch[-1]) >= 700]
    assert len(todo.pending) == 300


def test_a_resume_does_not_read_what_is_all_done(
    work: FindWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pass over the table begins at the first window with work in it."""
    text = "prompt\n" + "".join(f"p{i}\n" for i in range(200))
    todo = work(text, work(text).finished(*(str(i) for i in range(150))))
    chunks, first_rows = Table.chunks, []

    def noted(table: Table, first_row: int = 0, chunk_rows: int = 100) -> Iterator[Rows]:
        first_rows.append(first_row)
        return chunks(table, first_row, chunk_rows)

    monkeypatch.setattr(Table, "chunks", noted)
    assert len(todo.pending) == 50
    assert first_rows == [128]


def test_rows_of_many_and_of_few_images_are_counted_by_window(work: FindWork) -> None:
    """`pending` is found again for each window, however many images its rows have."""
    text = "prompt,images_per_prompt\n" + "".join(f"p{i},{1 + i % 5}\n" for i in range(200))
    todo = work(text, batch_size=2)
    assert todo.backlog.n_images == len(todo.pending) == sum(1 + i % 5 for i in range(200))
    backlog, windows = todo.backlog, len(todo.backlog.images_before) - 1
    parts = [backlog.pending_in(window, 1) for window in range(windows)]
    assert sum(map(len, parts)) == backlog.n_images
