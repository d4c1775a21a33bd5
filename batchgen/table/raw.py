"""What every file format yields: batches of the table's own columns, not yet typed as settings."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from batchgen.errors import TableError

SHOWN_CHARS = 60
"""Characters of a cell that an error message shows."""


@dataclass(frozen=True, slots=True)
class RawRows:
    """Consecutive rows of a table, at least one, under the table's own column names."""

    path: Path
    """The file they are in."""
    first_row: int
    """Index of the first in that file."""
    batch: pa.RecordBatch
    nested: Mapping[str, int]
    """Columns with lists or objects, here as JSON text -> position in `batch` of the first."""
    n_before: int = 0
    """Rows of the table in the files before this one."""

    @property
    def first_index(self) -> int:
        """Row index of the first."""
        return self.n_before + self.first_row

    def where(self, position: int) -> str:
        """Return a row's place for a message, by its position in `batch`."""
        return f"{self.path}, row {self.first_row + position}"


class Source(Protocol):
    """A table file of one format, or several. A file is open only while `raw_rows` runs."""

    @property
    def schema(self) -> pa.Schema:
        """The columns known by now; more, and other types, may become known in a first pass."""

    @property
    def notes(self) -> list[str]:
        """Sentences about the file that its user should read."""

    @property
    def pictures(self) -> frozenset[str]:
        """Columns with bytes inside nested values: left out unless they are asked for."""

    @property
    def has_quotes(self) -> bool:
        """Whether cells may be quoted, so that an open quote swallows what follows."""

    def choose(self, used: Collection[str], carried: Collection[str]) -> None:
        """Say which columns give settings, and which are carried; the others are not read.

        Where a file has no types, the first are read as text.
        """

    def settle(self) -> None:
        """Take note that all rows were read: from now on the types of the columns are known."""

    def place(self, row_index: int) -> str:
        """Return where a row is, for a message: its file, and its index there."""

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on, at most `chunk_rows` at a time.

        May be called any number of times. Raises TableError, and nothing else for what a file
        may hold.
        """


def shown(value: object) -> str:
    """Return a value as one short line: its repr, cut after `SHOWN_CHARS` characters."""
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN_CHARS else f"{value[:SHOWN_CHARS]!r}..."
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system or the decompressor says into a TableError."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise TableError(f"{path} cannot be read: {reason.rstrip(' .')}.") from error
