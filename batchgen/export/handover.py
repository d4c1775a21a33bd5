"""What a layout is given: the images one after another, and a place for files."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from batchgen.errors import FolderError
from batchgen.export.building import Building
from batchgen.export.gathering import Entry, Gathering
from batchgen.export.samples import Sample, checked
from batchgen.runner.streams import Courtesy
from batchgen.storage.atomic import storage_errors

FILE_BYTES = 512 * 2**20
"""What files that hold many images have at most, unless one image alone has more."""
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
_KEEP_S = 10.0
"""Seconds between two notes of how far single files are."""


class Handover:
    """The images that are taken, and the folder they are laid out in."""

    def __init__(
        self, gathering: Gathering, building: Building, n_images: int, *, link: bool
    ) -> None:
        """Take what is read and where it goes; `link` asks for hard links."""
        self._gathering, self._building, self._link = gathering, building, link
        self.n_images = n_images

    @property
    def place(self) -> Path:
        """The folder that the layout fills."""
        return self._building.made

    @property
    def schema(self) -> pa.Schema:
        """The columns that go along."""
        return self._gathering.schema

    @property
    def own_columns(self) -> list[str]:
        """The tables' own columns."""
        return self._gathering.own

    def row(self, entry: Entry) -> dict[str, Any]:
        """Return the columns of an image that go along."""
        return self._gathering.exported(entry)

    def entries(self) -> Iterator[Entry]:
        """Yield all images without reading them."""
        return self._gathering.entries()

    def samples(self, *, of_whole_rows: bool = False) -> Iterator[tuple[int, Sample]]:
        """Yield the images that are not on disk yet, each with its number, from 0.

        An image counts as laid out when the next is asked for; with `of_whole_rows` when the next
        row's first is.
        """
        last_s = time.monotonic()
        for number, sample in self._read():
            is_due = time.monotonic() - last_s >= _KEEP_S
            if is_due and not (of_whole_rows and sample.entry.position):
                with storage_errors(self.place):
                    os.sync()
                self._building.keep(number)
                last_s = time.monotonic()
            yield number, sample

    def runs(self, size_bytes: int) -> Iterator[tuple[int, Iterator[tuple[int, Sample]]]]:
        """Yield the images that are not on disk yet for files of some size: file number, images.

        A file that was filled and closed is on disk for good when the next is asked for.
        """
        samples = self._read()
        ahead = next(samples, None)
        number = self._building.n_files
        while ahead is not None:
            run = _Run(ahead, samples, size_bytes)
            yield number, iter(run)
            number += 1
            ahead = run.ahead
            self._building.keep(run.n_seen, number)

    @property
    def n_before(self) -> int:
        """Images that a start which was killed has laid out."""
        return self._building.n_images

    @property
    def n_files(self) -> int:
        """Files that hold many images and are whole."""
        return self._building.n_files

    def put(self, name: str, sample: Sample) -> None:
        """Lay out an image file as it is; as a hard link where that was asked for."""
        path = self.place / name
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # cut off by a kill, or a link to another file
            if not self._link:
                path.write_bytes(sample.content)
                return
            try:
                os.link(sample.entry.path, path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise FolderError(
                    f"{path} cannot be a link to {sample.entry.path}: {error.strerror}. Leave out "
                    "--link, or choose an OUT on the disk of the job."
                ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        path = self.place / name
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _read(self) -> Iterator[tuple[int, Sample]]:
        n_before = self._building.n_images
        entries = islice(self._gathering.entries(), n_before, None)
        terminal = Courtesy(sys.stderr)
        with tqdm(
            total=self.n_images,
            initial=n_before,
            unit="image",
            file=terminal,
            disable=not terminal.isatty(),
        ) as bar:
            for number, sample in enumerate(checked(entries), start=n_before):
                bar.update()
                yield number, sample


class _Run:
    """The images of one file: as many as fit, and one at least."""

    def __init__(
        self, first: tuple[int, Sample], rest: Iterator[tuple[int, Sample]], size_bytes: int
    ) -> None:
        self.ahead: tuple[int, Sample] | None = first
        self.n_seen = first[0]
        self._rest, self._room = rest, size_bytes

    def __iter__(self) -> Iterator[tuple[int, Sample]]:
        is_first = True
        while self.ahead is not None:
            number, sample = self.ahead
            self._room -= len(sample.content)
            if self._room < 0 and not is_first:
                return
            is_first = False
            yield number, sample
            self.n_seen = number + 1
            self.ahead = next(self._rest, None)
