"""Which images are made together, and the requests for them.

Pure, in columns; a Python object exists only for an image that is about to be made.

Batches are cut inside windows of rows whose length depends on the config alone, so what is in a
batch never depends on what is already done, on `limit`, or on where an earlier start stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.config.job import JobConfig
from batchgen.config.settings import SETTINGS, Settings
from batchgen.plan.fingerprint import as_hex
from batchgen.plan.requests import ImageRequest
from batchgen.plan.resolution import ImageColumns

_WINDOW_BATCHES = 64
_CHUNK_IMAGES = 16384
_SHARED = [name for name, row in SETTINGS.items() if row.is_shared]
"""What rows may differ in and a call of the pipeline shares."""


def window_rows(config: JobConfig) -> int:
    """Return how many rows are cut into batches together: whole batches where all rows agree."""
    per_row = len(config.seed_values() or ()) or config.images_per_prompt
    rows_of_whole_batches = config.batch_size // math.gcd(per_row, config.batch_size)
    return rows_of_whole_batches * max(1, _WINDOW_BATCHES // per_row)


def chunk_rows(config: JobConfig) -> int:
    """Return how many rows to read at a time, so that their images are some ten thousand."""
    per_row = len(config.seed_values() or ()) or config.images_per_prompt
    return max(window_rows(config), _CHUNK_IMAGES // per_row)


def batch_numbers(columns: ImageColumns, config: JobConfig) -> NDArray[np.int64]:
    """Return (n images,) numbers of the batches that images of whole windows are in, from 0.

    Inside a window, images that agree in what a batch shares are batched in their order,
    `batch_size` at a time, and kinds of batches follow each other as their first images do.
    """
    kinds = _kinds(columns)
    window = columns.row // window_rows(config)
    group = window * (int(kinds.max(initial=0)) + 1) + kinds[columns.row]
    _, first_at, inverse, sizes = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    in_order = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(group), dtype=np.int64)
    place[in_order] = np.arange(len(group)) - np.repeat(starts, sizes)
    n_batches, appearance = -(-sizes // config.batch_size), np.argsort(first_at)
    first_batch = np.empty(len(sizes), dtype=np.int64)
    first_batch[appearance] = np.cumsum(n_batches[appearance]) - n_batches[appearance]
    numbers: NDArray[np.int64] = first_batch[inverse] + place // config.batch_size
    return numbers


def cut(numbers: NDArray[np.int64], pending: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield the batches that hold a pending image, each as positions of its images.

    `numbers` are those of `batch_numbers`, `pending` is (n images,) as well: it chooses among the
    batches and moves none.
    """
    positions = np.flatnonzero(np.isin(numbers, numbers[pending]))
    positions = positions[np.argsort(numbers[positions], kind="stable")]
    if len(positions):
        yield from np.split(positions, np.flatnonzero(np.diff(numbers[positions])) + 1)


def _kinds(columns: ImageColumns) -> NDArray[np.int64]:
    """Return (n rows,) numbers, equal where rows agree in all that a batch shares."""
    kinds = np.zeros(columns.rows.settings.num_rows, dtype=np.int64)
    for name in _SHARED:
        coded = columns.settings[name].dictionary_encode()
        if len(coded.dictionary) > 1:
            codes = kinds * len(coded.dictionary) + coded.indices.to_numpy()
            kinds = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return kinds


def requests(
    columns: ImageColumns,
    positions: Sequence[int] | NDArray[np.int64],
    *,
    pending: NDArray[np.bool_] | None = None,
    number: Callable[[int], int] = int,
) -> list[ImageRequest]:
    """Return requests for some images.

    Args:
        columns: The images of a run of rows.
        positions: Which of them, as positions in the columns.
        pending: (n images,): those whose pictures are wanted; None for all.
        number: Row index to the number in the file names of the row's images.
    """
    at = np.asarray(positions, dtype=np.int64)
    row = columns.row[at]
    texts = {name: column.take(row).to_pylist() for name, column in columns.settings.items()}
    keys = texts.pop("row_key")
    carried = {
        name: columns.rows.carried[name].take(row) for name in columns.rows.carried.schema.names
    }
    indexes = (columns.rows.first_index + row).tolist()
    wanted = (np.ones(len(at), dtype=bool) if pending is None else pending[at]).tolist()
    seeds, image_indexes = columns.seed[at].tolist(), columns.image_index[at].tolist()
    prints = [as_hex(value) for value in columns.fingerprint[at].tolist()]

    def request(n: int) -> ImageRequest:
        settings: dict[str, Any] = {name: values[n] for name, values in texts.items()}
        return ImageRequest(
            row_key=keys[n],
            row_index=indexes[n],
            image_index=image_indexes[n],
            settings=Settings(seed=seeds[n], **settings),
            fingerprint=prints[n],
            number=number(indexes[n]),
            is_pending=wanted[n],
            carried={name: column[n] for name, column in carried.items()},
        )

    return [request(n) for n in range(len(at))]
