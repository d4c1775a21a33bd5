"""Images whose bytes were read, and are those that were written."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from batchgen.errors import ImagesDamaged
from batchgen.export.gathering import Entry
from batchgen.storage.folder import JobFolder

_N_READERS = 4
_AHEAD = 8
"""Images that are read and not taken yet, at most."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image, its row, and the bytes of its file."""

    entry: Entry
    content: bytes


def checked(entries: Iterable[Entry]) -> Iterator[Sample]:
    """Yield images with their bytes, in order.

    After the first whose file is missing or has other bytes nothing more is yielded, but all others
    are read. Raises `ImagesDamaged`, which names every one, at the end.
    """
    damaged: list[str] = []
    for found in _ahead(entries):
        if isinstance(found, str):
            damaged.append(found)
        elif not damaged:
            yield found
    if damaged:
        raise ImagesDamaged(damaged)


def _ahead(entries: Iterable[Entry]) -> Iterator[Sample | str]:
    """Read files in threads, a few ahead; reading and hashing leave the interpreter free."""
    waiting: deque[Future[Sample | str]] = deque()
    rest = iter(entries)
    with ThreadPoolExecutor(_N_READERS) as pool:
        waiting.extend(pool.submit(_read, entry) for entry in islice(rest, _AHEAD))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(_read, entry) for entry in islice(rest, 1))
            yield found


def _read(entry: Entry) -> Sample | str:
    """Return an image with its bytes, or in words what is wrong with its file."""
    named = f"{entry.path} (id {entry.id!r})"
    is_ours = JobFolder.image_number(str(entry.row["file_name"])) is not None
    if not is_ours or not os.path.lexists(entry.path):
        return f"{named}: missing"
    if not entry.path.is_file():
        return f"{named}: is not a file"
    try:
        content = entry.path.read_bytes()
    except OSError as error:
        return f"{named}: cannot be read: {error.strerror}"
    if hashlib.sha256(content).hexdigest() != entry.row["file_sha256"]:
        return f"{named}: other bytes than written"
    return Sample(entry, content)
