"""What a job still has to do, and the second pass over its table, which makes batches of it.

The first pass (`scan`) reads all of the table, so that every row is validated before a model is
loaded, and leaves one bit per image here. `batches` reads again, lazily, and makes objects of the
images that are wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchgen.config.job import JobConfig
from batchgen.plan.batches import batch_numbers, chunk_rows, cut, requests, window_rows
from batchgen.plan.fingerprint import Hashes, from_hex, image_keys, text_hash, text_hashes
from batchgen.plan.known_table import KnownTable, window_hashes
from batchgen.plan.requests import Batch, ImageRequest
from batchgen.plan.resolution import ImageColumns, image_columns
from batchgen.table import Rows, Table

NUMBER_STRIDE = 10**9
"""What a file's number is raised by where another image has it."""

_AT_ONCE = 64

_SUMMED_IMAGES = 1_000_000
"""Hashed at a time, since what is computed on the way is many times as large as the sums."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What images are compared by, next to their settings."""

    model_revision: str
    environment: str
    """All else that shapes the files, `Job.environment`, in one hash."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Name -> hash of the file; an image depends on those of the adapters it uses."""

    def marks(self, fingerprint: Hashes) -> Hashes:
        """Return what a finished image must carry to be the one asked for."""
        return fingerprint ^ np.uint64(text_hash(self.environment))


@dataclass(frozen=True, slots=True)
class Finished:
    """The finished images of a job in columns of equal length, sorted by key."""

    key: Hashes
    mark: Hashes
    """The fingerprint and the environment the image was made in."""
    number: NDArray[Any]
    """The number in the image's file name."""

    def beside(self, other: Finished) -> Finished:
        """Return these images and those of another folder that are not among them."""
        is_new = ~np.isin(other.key, self.key)
        key = np.concatenate([self.key, other.key[is_new]])
        order = np.argsort(key)
        mark = np.concatenate([self.mark, other.mark[is_new]])
        number = np.concatenate([self.number, other.number[is_new]])
        return Finished(key[order], mark[order], number[order])

    def done(self, known: KnownTable, window: int) -> NDArray[np.bool_]:
        """Return (n windows,): whether each window of `window` rows is done to the letter."""
        windows, found = range(len(known.asked)), np.zeros_like(known.asked)
        for first in range(0, len(self.key), _SUMMED_IMAGES):
            some = slice(first, first + _SUMMED_IMAGES)
            found += window_hashes(
                self.key[some], self.mark[some], self.number[some], window, windows
            )
        is_done: NDArray[np.bool_] = found == known.asked
        return is_done


@dataclass(frozen=True, slots=True)
class SetAside:
    """Images that are no longer made in their batch; (row key, image index) to attempts."""

    retries: dict[tuple[str, int], int]
    """Failed, killed their process or hung before: made alone, after all others."""
    failed: dict[tuple[str, int], int]
    """Out of attempts: not made at all while their settings are those that failed."""
    fingerprints: dict[tuple[str, int], str]
    """What the failed images were to be."""
    dropped: Collection[tuple[str, int]] = ()
    """Left out since their files were gone."""

    def failed_marks(self) -> Hashes:
        """Return the in-memory keys of the failed images, mixed with what they were to be."""
        if not self.failed:
            return np.zeros(0, dtype=np.uint64)
        texts = pa.array([self.fingerprints[key] for key in self.failed])
        return hashed_keys(self.failed) ^ from_hex(texts)


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier starts left."""

    finished: Finished
    aside: SetAside
    known: KnownTable | None = None
    """What a pass over this very table taught, None where nothing vouches for it."""


@dataclass(slots=True)
class Backlog:
    """The outcome of a scan; `pending` is the one array that grows with the table."""

    n_rows: int = 0
    n_images: int = 0
    """Of the first `limit` rows."""
    failed: set[int] = field(default_factory=set)
    """In-memory keys of the images that are out of attempts."""
    cautions: list[str] = field(default_factory=list)
    """What the user should know of settings that do not suit the weights."""
    n_dropped: int = 0
    """Images that are left out since their files were gone; not among `n_images`."""
    taken: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    """In-memory keys of finished images that the table does not ask for any more."""
    row_hashes: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    """Hashes of the table's row keys, where something was taken; empty for rows without ids."""
    own_seed: int | None = None
    """The first row with a seed of its own, of a job with `seeds`."""
    n_pixels: int = 0
    """Of all images to be made."""
    own_bytes: float = 0
    """The table's own columns in the rows of all images to be made, about."""
    of_shards: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Images of the first `limit` rows in each shard, for a job that has some."""
    n_own: dict[str, int] = field(default_factory=dict)
    """Setting to how many of the first `limit` rows have one of their own."""
    n_changed: int = 0
    """Finished images whose settings or environment are not the ones asked for."""
    changed: list[ImageRequest] = field(default_factory=list)
    """The first few of them, as they would be made now."""
    pending: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(n images of the whole table,)"""
    images_before: list[int] = field(default_factory=lambda: [0])
    """Images in front of each window of rows, and of the end of the table."""
    numbers: dict[int, int] = field(default_factory=dict)
    """Row index to the number its images have, for rows with work left where it is another."""
    foreign_numbers: NDArray[Any] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Numbers that finished images hold which do not stand at that row, sorted."""

    known: KnownTable | None = None
    """What of this another start need not find out again."""

    @property
    def n_failed(self) -> int:
        """Images that are out of attempts."""
        return len(self.failed)

    @property
    def n_pending(self) -> int:
        """Images to be made."""
        return int(np.count_nonzero(self.pending))

    def pending_in(self, first_window: int, n_windows: int) -> NDArray[np.bool_]:
        """Return `pending` for a run of windows."""
        last_window = min(first_window + n_windows, len(self.images_before) - 1)
        return self.pending[self.images_before[first_window] : self.images_before[last_window]]

    def first_pending_window(self) -> int | None:
        """Return the first window with work in it, None where there is none."""
        if not self.pending.any():
            return None
        first = int(np.argmax(self.pending))
        return int(np.searchsorted(self.images_before, first, side="right")) - 1

    def number(self, row_index: int) -> int:
        """Return the file number of a row: its index, unless another key holds that number."""
        if row_index in self.numbers:
            return self.numbers[row_index]
        number = row_index
        while self._is_foreign(number):
            number += NUMBER_STRIDE
        return number

    def _is_foreign(self, number: int) -> bool:
        at = int(np.searchsorted(self.foreign_numbers, number))
        return at < len(self.foreign_numbers) and int(self.foreign_numbers[at]) == number


def batches(
    table: Table, config: JobConfig, identity: Identity, backlog: Backlog, aside: SetAside
) -> Iterator[Batch]:
    """Yield what is to be made, in the table's order; images set aside come last and alone.

    Reads the table as it goes and raises `TableChanged` where it is not what was scanned.
    """
    first_window = backlog.first_pending_window()
    if first_window is None:
        return
    window = window_rows(config)
    alone: list[ImageRequest] = []
    aside_keys = hashed_keys({**aside.retries, **aside.failed})
    chunks = table.chunks(first_window * window, chunk_rows(config))
    for rows in whole_windows(chunks, window):
        pending = backlog.pending_in(
            rows.first_index // window, -(-rows.settings.num_rows // window)
        )
        if not pending.any():
            continue
        columns = image_columns(rows, config, identity.model_revision, identity.adapters)
        is_aside = np.isin(columns.key, aside_keys)
        set_aside = np.flatnonzero(pending & is_aside)
        alone += requests(columns, set_aside, number=backlog.number)
        positions = cut(batch_numbers(columns, config), pending & ~is_aside)
        members = (batch[~is_aside[batch]] for batch in positions)
        yield from _requested(columns, members, pending, backlog)
    yield from (Batch((image,)) for image in alone)


def _requested(
    columns: ImageColumns,
    members: Iterator[NDArray[np.int64]],
    pending: NDArray[np.bool_],
    backlog: Backlog,
) -> Iterator[Batch]:
    """Yield batches of positions as requests, some at a time: columns are quicker than rows."""
    while some := list(islice(members, _AT_ONCE)):
        images = iter(
            requests(columns, np.concatenate(some), pending=pending, number=backlog.number)
        )
        yield from (Batch(tuple(islice(images, len(batch)))) for batch in some)


def whole_windows(chunks: Iterable[Rows], window: int) -> Iterator[Rows]:
    """Yield the same rows in chunks of whole windows, the last one aside.

    `chunks` begin at a window; their lengths follow the file's blocks.
    """
    rest: Rows | None = None
    for rows in chunks:
        joined = rows if rest is None else _joined(rest, rows)
        n_whole = joined.settings.num_rows // window * window
        if n_whole:
            yield _part(joined, 0, n_whole)
        rest = _part(joined, n_whole, joined.settings.num_rows - n_whole)
    if rest is not None and rest.settings.num_rows:
        yield rest


def _part(rows: Rows, first: int, length: int) -> Rows:
    return Rows(
        rows.first_index + first,
        rows.settings.slice(first, length),
        rows.carried.slice(first, length),
    )


def _joined(first: Rows, second: Rows) -> Rows:
    if not first.settings.num_rows:
        return second
    settings = _stacked([first.settings, second.settings])
    return Rows(first.first_index, settings, _stacked([first.carried, second.carried]))


def _stacked(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return record batches as one; a column that one of them lacks is null there."""
    tables = [pa.Table.from_batches([part]) for part in parts]
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    stacked = table.to_batches()
    return stacked[0] if stacked else pa.RecordBatch.from_pylist([], table.schema)


def hashed_keys(images: Iterable[tuple[str, int]]) -> Hashes:
    """Return the in-memory keys of images named by row key and image index."""
    named = list(images)
    if not named:
        return np.zeros(0, dtype=np.uint64)
    row_keys, indexes = zip(*named, strict=True)
    return image_keys(text_hashes(pa.array(row_keys)), np.array(indexes, dtype=np.int64))
