"""The first pass over a table: every row validated, and compared with what is finished.

Windows of rows that are wholly done are passed over where an earlier pass vouches for the table.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from batchgen.config.job import JobConfig, OnChange
from batchgen.plan.backlog import (
    Backlog,
    Before,
    Identity,
    hashed_keys,
    whole_windows,
)
from batchgen.plan.batches import batch_numbers, chunk_rows, requests, window_rows
from batchgen.plan.demands import Demands, Misfits
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.plan.foreign_syntax import ForeignSyntax
from batchgen.plan.known_table import KnownTable, window_hashes
from batchgen.plan.resolution import ImageColumns, image_columns
from batchgen.plan.twins import refuse_twins
from batchgen.table import Rows, Table

_EXAMPLES = 3


class _Scan:
    """The state of one pass over the table."""

    def __init__(
        self,
        config: JobConfig,
        identity: Identity,
        before: Before,
        demands: Demands,
    ) -> None:
        self.backlog = Backlog()
        self._demands, self._misfits = demands, Misfits(demands)
        self._foreign_syntax = ForeignSyntax(config)
        self._config = config
        self._identity = identity
        self._finished = finished = before.finished
        self._failed_marks = before.aside.failed_marks()
        self._dropped = hashed_keys(before.aside.dropped)
        self._limit = config.limit or np.iinfo(np.int64).max
        self._is_found = np.zeros(len(finished.key), dtype=bool)
        self._is_home = np.zeros(len(finished.key), dtype=bool)
        self._pending: list[NDArray[np.bool_]] = []
        self._window = window_rows(config)
        self._asked: list[Hashes] = []
        self._batches_before = [0]

    def add(self, rows: Rows) -> None:
        """Compare a chunk of the table with what is finished."""
        identity = self._identity
        columns = image_columns(rows, self._config, identity.model_revision, identity.adapters)
        self._demands.refuse_rows(rows, columns.settings)
        self._misfits.add(rows, columns.settings, self._limit)
        self._foreign_syntax.add(rows, self._limit)
        at, is_found = self._look_up(columns.key)
        is_same = np.zeros(len(at), dtype=bool)
        marks = self._identity.marks(columns.fingerprint)
        is_same[is_found] = self._finished.mark[at[is_found]] == marks[is_found]
        is_wanted = rows.first_index + columns.row < self._limit
        is_wanted &= self._of_shard(columns, is_wanted)
        self._note_asked(rows, columns, marks, is_wanted)
        is_dropped = np.isin(columns.key, self._dropped) & is_wanted
        self.backlog.n_dropped += int(np.count_nonzero(is_dropped))
        is_wanted &= ~is_dropped
        self._note_own(rows)
        is_failed = np.isin(columns.key ^ columns.fingerprint, self._failed_marks)
        is_failed &= is_wanted & ~is_same
        self._note_changed(columns, is_found & ~is_same & is_wanted)
        is_done = is_found if self._config.on_change is OnChange.keep else is_same
        pending = is_wanted & ~is_done & ~is_failed
        self._pending.append(pending)
        self._note_numbers(rows, columns, at[is_found], is_found)
        self._keep_numbers(rows, columns, at, is_found & np.isin(columns.row, columns.row[pending]))
        self._count(rows, columns, is_wanted)
        self._measure(rows, columns, pending)
        self.backlog.failed |= set(columns.key[is_failed].tolist())

    def pass_over(self, known: KnownTable, first: int, last: int) -> None:
        """Take windows from `first` up to `last` for done, all of whose images are finished."""
        before = known.images_before[first : last + 1]
        self.backlog.images_before += before[1:].tolist()
        self._pending.append(np.zeros(int(before[-1] - before[0]), dtype=bool))
        self._batches_before += known.batches_before[first + 1 : last + 1].tolist()
        self._asked.append(known.asked[first:last])

    def take_for_found(self, known: KnownTable) -> NDArray[np.bool_]:
        """Return (n windows,), which are done, and take their images for found, and at home."""
        is_done = self._finished.done(known, self._window)
        at = self._finished.number // self._window
        np.minimum(at, len(is_done), out=at)
        self._is_found = np.append(is_done, False)[at]
        self._is_home = self._is_found.copy()
        return is_done

    def known(self) -> KnownTable:
        """Return what a whole pass taught about the table."""
        backlog = self.backlog
        return KnownTable(
            n_images=backlog.n_images + backlog.n_dropped,
            cautions=tuple(self._remarks()),
            own_seed=backlog.own_seed,
            n_own=dict(backlog.n_own),
            of_shards=backlog.of_shards,
            n_rows=backlog.n_rows,
            images_before=np.array(backlog.images_before, dtype=np.int64),
            batches_before=np.array(self._batches_before, dtype=np.int64),
            asked=np.concatenate([np.zeros(0, dtype=np.uint64), *self._asked]),
        )

    def _remarks(self) -> Iterator[str]:
        yield from self._misfits.notes()
        yield from self._foreign_syntax.notes()

    def result(self, known: KnownTable) -> Backlog:
        """Return what the pass found, of a table that is known."""
        foreign = self._finished.number[~self._is_home]
        self.backlog.foreign_numbers = np.unique(foreign).astype(np.int64)
        self.backlog.known = known
        self.backlog.cautions += known.cautions
        self.backlog.own_seed, self.backlog.n_own = known.own_seed, dict(known.n_own)
        self.backlog.n_rows, self.backlog.of_shards = known.n_rows, known.of_shards
        self.backlog.n_images = known.n_images - self.backlog.n_dropped
        self.backlog.taken = self._finished.key[~self._is_found]
        self.backlog.pending = np.concatenate([self.backlog.pending, *self._pending])
        return self.backlog

    def _of_shard(
        self, columns: ImageColumns, is_wanted: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | bool:
        """Return which images are the shard's: every n-th batch of the whole table, done or not."""
        part = self._config.part
        if part is None:
            return True
        numbers = batch_numbers(columns, self._config) + self._batches_before[-1]
        last = np.maximum.accumulate(numbers)[self._ends(columns) - 1]
        self._batches_before += (last + 1).tolist()
        shard = numbers % part.count
        counts = np.bincount(shard[is_wanted], minlength=part.count)
        before = self.backlog.of_shards
        self.backlog.of_shards = counts + before if len(before) else counts
        own: NDArray[np.bool_] = shard == part.index
        return own

    def _look_up(self, keys: Hashes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return where each key stands among the finished, and whether it does."""
        if not len(self._finished.key):
            return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=bool)
        order = np.argsort(keys)
        at = np.empty(len(keys), dtype=np.int64)
        at[order] = np.searchsorted(self._finished.key, keys[order])
        at[at == len(self._finished.key)] = 0
        return at, self._finished.key[at] == keys

    def _note_changed(self, columns: ImageColumns, is_changed: NDArray[np.bool_]) -> None:
        changed = np.flatnonzero(is_changed)
        room = _EXAMPLES - len(self.backlog.changed)
        self.backlog.n_changed += len(changed)
        if room > 0 and len(changed):
            self.backlog.changed += requests(columns, changed[:room])

    def _note_own(self, rows: Rows) -> None:
        """Count the settings that rows have of their own, and find the first seed among them."""
        within = rows.settings.slice(0, max(0, self._limit - rows.first_index))
        for name, column in zip(within.schema.names, within.columns, strict=True):
            n_own = len(column) - column.null_count
            if n_own:
                self.backlog.n_own[name] = self.backlog.n_own.get(name, 0) + n_own
        if self._config.seeds is None or self.backlog.own_seed is not None:
            return
        is_own = within["seed"].is_valid().to_pylist()
        if any(is_own):
            self.backlog.own_seed = rows.first_index + is_own.index(True)

    def _note_numbers(
        self,
        rows: Rows,
        columns: ImageColumns,
        found_at: NDArray[np.int64],
        is_found: NDArray[np.bool_],
    ) -> None:
        row_index = rows.first_index + columns.row[is_found]
        self._is_found[found_at] = True
        self._is_home[found_at] = self._finished.number[found_at] == row_index

    def _keep_numbers(
        self,
        rows: Rows,
        columns: ImageColumns,
        at: NDArray[np.int64],
        is_beside: NDArray[np.bool_],
    ) -> None:
        """Note the numbers of rows that have images already, and others to come."""
        numbers = self._finished.number[at[is_beside]]
        row_index = rows.first_index + columns.row[is_beside]
        for position in np.flatnonzero(numbers != row_index):
            self.backlog.numbers[int(row_index[position])] = int(numbers[position])

    def _measure(self, rows: Rows, columns: ImageColumns, pending: NDArray[np.bool_]) -> None:
        """Add up what the images to be made take."""
        row = columns.row[pending]
        sides = (columns.settings[name].to_numpy() for name in ("width", "height"))
        pixels = np.multiply(*(side.astype(np.int64) for side in sides))
        self.backlog.n_pixels += int(pixels[row].sum())
        self.backlog.own_bytes += rows.carried.nbytes * len(row) / rows.settings.num_rows

    def _note_asked(
        self, rows: Rows, columns: ImageColumns, marks: Hashes, is_wanted: NDArray[np.bool_]
    ) -> None:
        """Note what the job wants of each window."""
        first = rows.first_index // self._window
        windows = range(first, first + len(self._ends(columns)))
        number = rows.first_index + columns.row[is_wanted]
        key, mark = columns.key[is_wanted], marks[is_wanted]
        self._asked.append(window_hashes(key, mark, number, self._window, windows))

    def _ends(self, columns: ImageColumns) -> NDArray[np.int64]:
        """Return the ends of the windows that columns are of, as positions in them."""
        n_rows = columns.rows.settings.num_rows
        ends: NDArray[np.int64] = np.searchsorted(
            columns.row, np.arange(self._window, n_rows + self._window, self._window)
        )
        return ends

    def _count(self, rows: Rows, columns: ImageColumns, wanted: NDArray[np.bool_]) -> None:
        before = self.backlog.images_before[-1] + self._ends(columns)
        self.backlog.images_before += before.tolist()
        self.backlog.n_rows = rows.first_index + rows.settings.num_rows
        self.backlog.n_images += int(np.count_nonzero(wanted))


def scan(
    table: Table,
    config: JobConfig,
    identity: Identity,
    before: Before,
    demands: Demands | None = None,
) -> Backlog:
    """Read and validate the whole table, and return what is left to do.

    Raises `TableError` for the first row that cannot be used, and for two rows of one key.
    `demands` are those of the job's weights, None for none.
    """
    demands = demands or Demands()
    if before.known is not None:
        state = _Scan(config, identity, before, demands)
        backlog = _resumed(table, config, state, before.known)
        if not len(backlog.taken):  # else the keys of all rows are needed
            return backlog
        del state
    state = _Scan(config, identity, before, demands)
    grown = array("Q")  # in place, where joining pieces would need the table's size once more
    has_ids = "row_key" in table.columns_used
    for rows in whole_windows(table.chunks(chunk_rows=chunk_rows(config)), window_rows(config)):
        state.add(rows)
        if has_ids:
            grown.frombytes(text_hashes(rows.settings["row_key"]).tobytes())
    backlog = state.result(state.known())
    del state
    if has_ids:
        hashes = np.frombuffer(grown, dtype=np.uint64)
        refuse_twins(table, hashes)
        backlog.row_hashes = hashes if len(backlog.taken) else backlog.row_hashes
    return backlog


def _resumed(table: Table, config: JobConfig, state: _Scan, known: KnownTable) -> Backlog:
    """Return what is left of a known table, whose windows that are done are passed over."""
    window = window_rows(config)
    is_done = state.take_for_found(known)
    at = int(np.argmin(is_done)) if not is_done.all() else len(is_done)
    state.pass_over(known, 0, at)
    chunks = table.chunks(at * window, chunk_rows(config)) if at < len(is_done) else ()
    for rows in whole_windows(chunks, window):
        at, end = rows.first_index // window, -(-rows.end_index // window)
        if is_done[at:end].all():
            state.pass_over(known, at, end)
        else:
            state.add(rows)
    return state.result(known)
