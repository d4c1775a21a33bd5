"""The first pass over a table: every row validated, and compared with what is finished."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchgen.config.job import JobConfig, OnChange
from batchgen.errors import TableError
from batchgen.plan.backlog import (
    Backlog,
    Finished,
    Identity,
    SetAside,
    hashed_keys,
    whole_windows,
)
from batchgen.plan.batches import batch_numbers, chunk_rows, requests, window_rows
from batchgen.plan.demands import Demands, Misfits
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.plan.foreign_syntax import ForeignSyntax
from batchgen.plan.resolution import ImageColumns, image_columns
from batchgen.table import Rows, Table

_EXAMPLES = 3


class _Scan:
    """The state of one pass over the table."""

    def __init__(
        self,
        config: JobConfig,
        identity: Identity,
        finished: Finished,
        aside: SetAside,
        demands: Demands,
    ) -> None:
        self.backlog = Backlog()
        self._demands, self._misfits = demands, Misfits(demands)
        self._foreign_syntax = ForeignSyntax(config)
        self._config = config
        self._identity = identity
        self._finished = finished
        self._failed_marks = aside.failed_marks()
        self._dropped = hashed_keys(aside.dropped)
        self._limit = config.limit or np.iinfo(np.int64).max
        self._is_found = np.zeros(len(finished.key), dtype=bool)
        self._is_home = np.zeros(len(finished.key), dtype=bool)
        self._pending: list[NDArray[np.bool_]] = []
        self._n_batches = 0

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

    def result(self) -> Backlog:
        """Return what the pass found."""
        foreign = self._finished.number[~self._is_home]
        self.backlog.foreign_numbers = np.unique(foreign).astype(np.int64)
        self.backlog.cautions += [*self._misfits.notes(), *self._foreign_syntax.notes()]
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
        numbers = batch_numbers(columns, self._config) + self._n_batches
        self._n_batches = int(numbers.max(initial=self._n_batches - 1)) + 1
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

    def _count(self, rows: Rows, columns: ImageColumns, wanted: NDArray[np.bool_]) -> None:
        window = window_rows(self._config)
        n_rows = rows.settings.num_rows
        ends = np.arange(window, n_rows + window, window)
        before = self.backlog.images_before[-1] + np.searchsorted(columns.row, ends)
        self.backlog.images_before += before.tolist()
        self.backlog.n_rows = rows.first_index + n_rows
        self.backlog.n_images += int(np.count_nonzero(wanted))


def scan(
    table: Table,
    config: JobConfig,
    identity: Identity,
    finished: Finished,
    aside: SetAside,
    demands: Demands | None = None,
) -> Backlog:
    """Read and validate the whole table, and return what is left to do.

    Raises `TableError` for the first row that cannot be used, and for two rows of one key.
    `demands` are those of the job's weights, None for none.
    """
    state = _Scan(config, identity, finished, aside, demands or Demands())
    hashes: list[Hashes] = []
    has_ids = "row_key" in table.columns_used
    for rows in whole_windows(table.chunks(chunk_rows=chunk_rows(config)), window_rows(config)):
        state.add(rows)
        if has_ids:
            hashes.append(text_hashes(rows.settings["row_key"]))
    backlog = state.result()
    del state
    if has_ids:
        joined = _drained(hashes)
        _refuse_duplicates(table, joined)
        backlog.row_hashes = joined if len(backlog.taken) else backlog.row_hashes
    return backlog


def _drained(parts: list[Hashes]) -> Hashes:
    """Return the parts as one array, freeing each after it is copied: they are the table's size."""
    joined = np.empty(sum(map(len, parts)), dtype=np.uint64)
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


def _refuse_duplicates(table: Table, hashes: Hashes) -> None:
    """Raise if two rows share a key; `hashes` is sorted in place."""
    hashes.sort()
    suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(suspects):
        return
    seen: dict[str, int] = {}
    column = table.columns_used["row_key"]
    for rows in table.chunks():
        keys = rows.settings["row_key"]
        for position in np.flatnonzero(np.isin(text_hashes(keys), suspects)):
            key, row = keys[int(position)].as_py(), rows.first_index + int(position)
            if key in seen:
                first = table.place(seen[key]).removeprefix(f"{table.path}, ")
                raise TableError(
                    f"{table.place(row)}: column {column!r} has {key!r}, as {first} has. Ids name "
                    "rows, so each may stand once only."
                )
            seen[key] = row
    raise TableError(f"{table.path}: two ids share a 64-bit hash: {sorted(seen)}. Rename one.")
