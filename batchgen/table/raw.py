"""What every file format yields: batches of the table's own columns, not yet typed as settings."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
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

    first_index: int
    batch: pa.RecordBatch
    nested: Mapping[str, int]
    """Columns with lists or objects, here as JSON text -> position in `batch` of the first."""


class Source(Protocol):
    """A table file of one format. The file is open only while `raw_rows` runs."""

    @property
    def schema(self) -> pa.Schema:
        """The columns known by now; may grow while rows are read, and never shrinks."""

    @property
    def notes(self) -> list[str]:
        """Sentences about the file that its user should read."""

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on, at most `chunk_rows` at a time.

        May be called any number of times. Raises TableError, and nothing else for what a file
        may hold.
        """


def shown(value: object) -> str:
    """Return a value as one short line: its repr, cut after `SHOWN_CHARS` characters."""
    if not isinstance(value, str):
        return repr(value)
    return repr(value) if len(value) <= SHOWN_CHARS else f"{value[:SHOWN_CHARS]!r}..."


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system or the decompressor says into a TableError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise TableError(f"{path} cannot be read: {reason.rstrip(' .')}.") from error
