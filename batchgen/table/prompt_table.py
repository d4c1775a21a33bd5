"""The table: a file, what its columns mean, and its rows as a stream of typed chunks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from batchgen.config.job import ReadingConfig
from batchgen.errors import TableChanged, TableError
from batchgen.storage.hashes import sha256
from batchgen.table.columns import matched, near_misses
from batchgen.table.delimited import DelimitedFile
from batchgen.table.lines import JsonLinesFile, TextFile
from batchgen.table.parquet import ParquetFile
from batchgen.table.raw import Source, file_errors
from batchgen.table.sniffing import json_kind, refuse_other_kinds_of_file
from batchgen.table.values import Casting

_SUFFIXES = ".csv, .tsv, .jsonl, .ndjson, .txt (each also .gz), .parquet, .pq"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file from the same file after an edit."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a table."""

    first_index: int
    """Row index of the first."""
    settings: pa.RecordBatch
    """One column per name in `SETTINGS`, of its type; null where the table says nothing."""
    carried: pa.RecordBatch
    """The table's further columns under their own names. Without any, it counts 0 rows."""


class Table:
    """An open prompt table; made by `open_table`. Holds no file open between two calls."""

    def __init__(self, path: Path, reading: ReadingConfig, source: Source, stamp: Stamp) -> None:
        self.path = path
        self.stamp = stamp
        self.columns_used: dict[str, str] = {}
        """Setting name -> the table's own column name; grows with `carried`."""
        self.carried = pa.schema([])
        """The further columns; of JSON Lines, those met so far: all after one full pass."""
        self.notes: list[str] = []
        """Sentences that `plan` and `run` print as warnings."""
        self._reading = reading
        self._sha256 = ""
        self._source = source
        self._schema = pa.schema([])
        self._casting = self._learned()

    def chunks(self, first_row: int = 0, chunk_rows: int = 16384) -> Iterator[Rows]:
        """Yield the rows from index `first_row` on, at most `chunk_rows` at a time.

        May be called any number of times. Raises TableError for the first cell or row that is
        not valid, and for a table without rows; TableChanged where the file is not what it was when
        it was opened.
        """
        if first_row < 0 or chunk_rows < 1:
            raise ValueError(f"chunks({first_row}, {chunk_rows}) asks for no rows of a table")
        self._check_unchanged()
        has_rows = first_row > 0
        try:
            for raw in self._source.raw_rows(first_row, chunk_rows):
                has_rows = True
                if self._source.schema != self._schema:
                    self._casting = self._learned()
                settings = self._casting.settings(raw)
                carried = raw.batch.select(self.carried.names)
                self._check_unchanged()
                yield Rows(raw.first_index, settings, carried)
        except TableError:
            # A file that is being written looks broken; that it changed is the better reason.
            self._check_unchanged()
            raise
        self._check_unchanged()
        if not has_rows:
            raise TableError(f"{self.path} has no rows. Write a row for each prompt.")

    def sha256(self) -> str:
        """Return the SHA-256 of the table's bytes, in hexadecimal; reads all of them."""
        if not self._sha256:
            with file_errors(self.path):
                self._sha256 = sha256(self.path)
        return self._sha256

    def _learned(self) -> Casting:
        """Match the columns known by now to settings; a setting that has its column keeps it."""
        self._schema = schema = self._source.schema
        used = matched(schema.names, self._reading.columns, self.path)
        for setting, column in self.columns_used.items():
            if used[setting] != column:
                raise TableError(
                    f"{self.path}: column {column!r} gave the {setting}, and later rows have "
                    f"{used[setting]!r}. Choose one: reading.columns.{setting}={column}."
                )
        self.columns_used = used
        self.carried = pa.schema([field for field in schema if field.name not in used.values()])
        self.notes = [*self._source.notes, *near_misses(self.carried.names, used)]
        has_quotes = isinstance(self._source, DelimitedFile) and self._source.has_quotes
        return Casting(self.path, used, self._reading.max_prompt_chars, has_quotes)

    def _check_unchanged(self) -> None:
        try:
            now = _stamp(self.path.stat())
        except OSError as error:
            raise TableChanged(
                f"{self.path} cannot be found any more ({error.strerror}). Put it back, then "
                "give the same command again."
            ) from error
        if now != self.stamp:
            raise TableChanged(
                f"{self.path} was edited while it was read ({self.stamp.size_bytes} bytes then, "
                f"{now.size_bytes} now). Give the same command again when it is complete."
            )


def open_table(path: str | Path, reading: ReadingConfig) -> Table:
    """Return the table in a file; reads its header only. Raises TableError."""
    path = Path(path)
    with file_errors(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise TableError(f"{path} is {kind}. Name the file of the prompt table.")
    if path.suffix.lower() == ".json":
        raise TableError(f"{path} {json_kind(path)}")
    refuse_other_kinds_of_file(path, reading.encoding)
    _refuse_unused(path, reading)
    return Table(path, reading, _source(path, reading), _stamp(status))


def _refuse_unused(path: Path, reading: ReadingConfig) -> None:
    """Raise `TableError` for a setting of `reading` that has no effect on this kind of file."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    given = {"delimiter": reading.delimiter, "quote": reading.quote}
    if suffix in (".parquet", ".pq"):
        given["encoding"] = None if reading.encoding == "utf-8" else reading.encoding
    elif suffix in (".csv", ".tsv"):
        return
    for name, value in given.items():
        if value is not None:
            raise TableError(
                f"{path}: reading.{name}={value!r} has no effect on a {suffix} file. Take it out, "
                "or name the file by what it is."
            )


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def _source(path: Path, reading: ReadingConfig) -> Source:
    name = path.name.lower()
    match Path(name.removesuffix(".gz")).suffix:
        case ".csv":
            return DelimitedFile(path, reading, is_tsv=False)
        case ".tsv":
            return DelimitedFile(path, reading, is_tsv=True)
        case ".jsonl" | ".ndjson":
            return JsonLinesFile(path, reading)
        case ".txt":
            return TextFile(path, reading)
        case ".parquet" | ".pq" if not name.endswith(".gz"):
            return ParquetFile(path)
    raise TableError(f"{path} has no suffix of a table. Tables are: {_SUFFIXES}.")
