"""The names of the files in a job's images/, compared with those that are committed.

Folders are listed, files are not looked at: 100,000 names take a tenth of a second on a local disk.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.errors import FolderError
from batchgen.ledger.contents import Contents
from batchgen.ledger.reader import live_tables
from batchgen.ledger.records import Key, key_of
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.storage.folder import JobFolder
from batchgen.storage.kinds import kind_of

_OURS = re.compile(r"\d{9,18}-\d+\.[a-z]+", re.ASCII)
"""The name of an image file; see `JobFolder.image_name`."""
_LETTERS = f"{string.digits}{string.ascii_lowercase}-."
"""What such a name consists of."""

_KEPT_FOLDERS = 64

_NONE = np.zeros(0, dtype=np.uint64)

# pyarrow's stubs do not know all array types of its functions.
_compute: Any = pc


class ImageNames:
    """Which names are in images/, a subfolder at a time; keeps the latest few."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._listed: dict[str, Any] = {}

    def missing(self, names: Any) -> Any:
        """Return which of some paths, relative to the job's folder, are not files: a boolean each.

        Raises `FolderError` where something else than a file has such a name.
        """
        parents = _compute.unique(_compute.ascii_rtrim(names.drop_null(), _LETTERS)).to_pylist()
        is_there = _compute.is_in(names, value_set=names.slice(0, 0))  # none yet
        for first in range(0, len(parents), _KEPT_FOLDERS):
            some = map(self._paths_in, parents[first : first + _KEPT_FOLDERS])
            is_some = _compute.is_in(names, value_set=pa.concat_arrays(some))
            is_there = _compute.or_(is_there, is_some)
        return _compute.invert(is_there)

    def _paths_in(self, parent: str) -> Any:
        if parent not in self._listed:
            while len(self._listed) >= _KEPT_FOLDERS:
                del self._listed[next(iter(self._listed))]
            self._listed[parent] = _column(self._scan(parent), parent)
        return self._listed[parent]

    def _scan(self, parent: str) -> Iterator[str]:
        try:
            with os.scandir(self._folder.root / parent) as entries:
                for entry in entries:
                    if not entry.name.isascii():
                        continue  # not ours, and Arrow takes Unicode only
                    if entry.is_file():
                        yield entry.name
                    elif _OURS.fullmatch(entry.name):
                        raise _no_file(Path(entry.path))
        except (FileNotFoundError, NotADirectoryError):
            return


def _column(names: Iterable[str], prefix: str) -> Any:
    """Return names behind a prefix as a column. `pa.array` would import pandas."""
    joined = f"\0{prefix}".join(names)
    content = (prefix + joined).encode()
    offsets = np.array([0, len(content)], dtype=np.int32)
    buffers = pa.py_buffer(offsets.tobytes()), pa.py_buffer(content)
    return _compute.split_pattern(pa.StringArray.from_buffers(1, *buffers), "\0").values.slice(
        0 if joined else 1
    )


def _no_file(path: Path) -> FolderError:
    what = kind_of(path)
    what += " to nothing" if what == "a link" else ""
    return FolderError(
        f"{path} is {what}, and an image file is needed there. Move it away; the next start makes "
        "the image again."
    )


@dataclass(slots=True)
class Missing:
    """How many committed images have no file, and the first of them."""

    n_images: int = 0
    n_committed: int = 0
    first: str = ""
    """Its path, relative to the job's folder."""

    def add(self, names: Any, is_missing: Any) -> None:
        """Count the names of some committed images."""
        gone = names.filter(is_missing)
        self.n_committed += len(names)
        self.n_images += len(gone)
        if len(gone) and not self.first:
            self.first = gone[0].as_py()


def count_missing(folder: JobFolder, contents: Contents) -> Missing:
    """Return how many committed images have no file. Raises as `ImageNames.missing`."""
    names, found = ImageNames(folder), Missing()
    columns = ["row_key", "image_index", "file_name"]
    for _, table in live_tables(contents, columns):
        found.add(table["file_name"], names.missing(table["file_name"]))
    return found


def missing_keys(folder: JobFolder, contents: Contents) -> Iterator[list[Key]]:
    """Yield the keys of committed images without a file, some thousand at a time."""
    names = ImageNames(folder)
    columns = ["row_key", "image_index", "file_name"]
    for _, table in live_tables(contents, columns):
        gone = table.filter(names.missing(table["file_name"]))
        if gone.num_rows:
            yield [key_of(row) for row in gone.select(columns[:2]).to_pylist()]


def uncommitted(folder: JobFolder, contents: Contents) -> Iterator[Path]:
    """Yield the files in images/ that have a name as a job gives, and are not committed.

    A start that was killed between the rename of an image and its commit leaves one; the next start
    writes over it, unless the format or the settings are others by then.
    """
    files = np.sort(np.concatenate([_NONE, *map(text_hashes, _with_our_names(folder))]))
    if not len(files):
        return
    is_committed = np.zeros(len(files), dtype=bool)
    columns = ["row_key", "image_index", "file_name"]
    for _, table in live_tables(contents, columns):
        at, is_file = _look_up(files, text_hashes(table["file_name"]))
        is_committed[at[is_file]] = True
    strays = files[~is_committed]
    for names in _with_our_names(folder) if len(strays) else ():
        for position in np.flatnonzero(_look_up(strays, text_hashes(names))[1]):
            yield folder.root / names[int(position)].as_py()


def _look_up(hashes: Hashes, wanted: Hashes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each of the wanted stands among sorted hashes, and whether it does."""
    at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    return at, hashes[at] == wanted


def _with_our_names(folder: JobFolder) -> Iterator[Any]:
    """Yield the paths of a subfolder's files that are named as a job names images."""
    for place in sorted(folder.images.glob("[0-9]*")):
        if place.is_symlink() or not place.is_dir():
            continue
        with os.scandir(place) as entries:
            names = [e.name for e in entries if _OURS.fullmatch(e.name) and e.is_file()]
        if names:
            yield _column(names, f"images/{place.name}/")
