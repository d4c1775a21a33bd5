"""What one pass over a table taught and a second pass would teach again.

Pure. A table of ten million rows is read and validated once; as long as the table and whatever
validation depends on are the same, a start needs to read only the windows of rows that are not
wholly done. What a window asks for stands here as one hash, however many images it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.plan.fingerprint import Hashes, mix

VALIDATION = 1
"""Raised when a scan accepts, refuses or remarks upon a table in another way than before."""

_PIECES = tuple(np.uint64(shift) for shift in (0, 16, 32, 48))


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A validated table, in arrays with an entry for each window of rows."""

    n_images: int
    """Of the first `limit` rows and of the shard, if any; images left out are counted."""
    cautions: tuple[str, ...]
    own_seed: int | None
    n_own: dict[str, int]
    of_shards: NDArray[np.int64]
    """These five as in `Backlog`."""
    n_rows: int
    images_before: NDArray[np.int64]
    """(n windows + 1,): images in front of each window, and of the table's end."""
    batches_before: NDArray[np.int64]
    """(n windows + 1,), likewise; a single 0 in a job without shards."""
    asked: Hashes
    """(n windows,): `window_hashes` of the images that the job wants of each."""


def window_hashes(
    key: Hashes, mark: Hashes, number: NDArray[Any], window: int, windows: range
) -> Hashes:
    """Return one hash of the images in each window of rows, whatever order they stand in.

    Args:
        key: (n images,), as in `Finished`.
        mark: Likewise.
        number: Row indexes, or the numbers of files, which are the same in an undisturbed job.
        window: Rows in a window.
        windows: Which windows; images of others are left out.

    Returns:
        (n windows,): the sum of the images' hashes modulo 2**64, 0 for a window without images.
    """
    at = number // window
    within = (at >= windows.start) & (at < windows.stop)
    if not within.all():
        key, mark, number, at = key[within], mark[within], number[within], at[within]
    hashes = mix(mix(key ^ mix(mark)) + number.astype(np.uint64))
    at = at - windows.start
    sums = np.zeros(len(windows), dtype=np.uint64)
    for shift in _PIECES:  # sums of 16 bits are exact in the float64 that bincount adds up in
        piece = (hashes >> shift) & np.uint64(0xFFFF)
        total = np.bincount(at, weights=piece, minlength=len(windows))
        sums += total.astype(np.uint64) << shift
    return sums
