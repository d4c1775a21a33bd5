"""Plain text, one prompt a line. Blank lines and, where that is asked for, comments are no rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from batchgen.config.reading import ReadingConfig
from batchgen.table.raw import RawRows, shown
from batchgen.table.text import open_text, pieced, string_column, undecodable

_HEADER_CHARS = 500


class TextFile:
    """A .txt file: every line that is not blank is a prompt."""

    def __init__(self, path: Path, reading: ReadingConfig) -> None:
        self._path = path
        self._encoding = reading.encoding
        self._comments = reading.comments
        self.pictures, self.has_quotes = frozenset[str](), False
        self.notes: list[str] = []
        self.schema = pa.schema([("prompt", pa.string())])
        # A file that cannot be opened is refused now, not in the middle of the night.
        with open_text(path, reading.encoding) as stream:
            first = stream.readline(_HEADER_CHARS).strip()
        words = {part.strip().casefold() for part in first.split(",")}
        if words & {"prompt", "text", "caption"}:
            what = (
                "a CSV with a header; its name should end in .csv then"
                if "," in first
                else ("a header, and is drawn as a prompt like any other line: take it out")
            )
            self.notes.append(f"the first line, {shown(first)}, looks like {what}")

    def choose(self, used: Collection[str], carried: Collection[str]) -> None:
        """Take note of nothing: there is one column; see `raw.Source`."""

    def settle(self) -> None:
        """Take note of nothing: the types were known before; see `raw.Source`."""

    def place(self, row_index: int) -> str:
        """Return where a row is; see `raw.Source`."""
        return f"{self._path}, row {row_index}"

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        with open_text(self._path, self._encoding) as stream:
            read = line_reader(stream, self._comments)
            for first, pieces in pieced(read, stream, first_row, chunk_rows):
                prompts = string_column(
                    [line.removesuffix("\n") for line in chain.from_iterable(pieces)],
                    lambda i, cell, first=first: undecodable(  # type: ignore[misc]
                        self._path, self._encoding, f"row {first + i}: the line", cell
                    ),
                )
                batch = pa.RecordBatch.from_arrays([prompts], schema=self.schema)
                yield RawRows(self._path, first, batch, {})


def line_reader(
    stream: io.TextIOWrapper, comments: str | None = None
) -> Callable[[int], tuple[int, list[str]] | None]:
    """Return a function for `text.pieced` that reads lines: neither blank ones nor comments."""

    def read(n_records: int) -> tuple[int, list[str]] | None:
        lines = list(islice(stream, n_records))
        rows = [line for line in lines if not line.isspace()]
        if comments:
            rows = [line for line in rows if not line.lstrip().startswith(comments)]
        return (len(rows), rows) if lines else None

    return read
