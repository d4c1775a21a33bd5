"""The table: a file, what its columns mean, and its rows as a stream of typed chunks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableChanged, TableError
from batchgen.table.columns import chosen, left_out, matched
from batchgen.table.delimited import DelimitedFile
from batchgen.table.files import (
    SUFFIXES,
    content_hash,
    files_of,
    format_of,
    stamp_of,
    suffix_of,
)
from batchgen.table.json_files import JsonFile
from batchgen.table.lookalikes import lookalikes
from batchgen.table.parquet import ParquetFile
from batchgen.table.raw import Source
from batchgen.table.shards import Shards
from batchgen.table.sniffing import refuse_other_kinds_of_file
from batchgen.table.text_file import TextFile
from batchgen.table.values import Casting


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a table."""

    first_index: int
    """Row index of the first."""
    settings: pa.RecordBatch
    """One column per name in `SETTINGS`, of its type; null where the table says nothing."""
    carried: pa.RecordBatch
    """The table's further columns under their own names. Without any, it counts 0 rows."""

    @property
    def end_index(self) -> int:
        """Row index behind the last."""
        return self.first_index + self.settings.num_rows


class Table:
    """An open prompt table; made by `open_table`. Holds no file open between two calls."""

    def __init__(
        self, path: Path, reading: ReadingConfig, source: Source, files: Sequence[Path]
    ) -> None:
        self.path = path
        """A file, a folder, or a pattern."""
        self.stamp = stamp_of(files)
        self.columns_used: dict[str, str] = {}
        """Setting name -> the table's own column name; grows with `carried`."""
        self.carried = pa.schema([])
        """The further columns; of JSON, those met so far, as text: all with their types after one
        full pass."""
        self.notes: list[str] = []
        """Sentences that `plan` and `run` print as warnings."""
        self._files = files
        self._reading = reading
        self._sha256 = ""
        self._source = source
        self._schema = pa.schema([])
        self._casting = self._learned()

    def chunks(self, first_row: int = 0, chunk_rows: int = 16384) -> Iterator[Rows]:
        """Yield the rows from index `first_row` on, at most `chunk_rows` at a time.

        May be called any number of times. Raises TableError for the first cell or row that is
        not valid, and for a table without rows; TableChanged where a file is not what it was when
        it was opened.
        """
        if first_row < 0 or chunk_rows < 1:
            raise ValueError(f"chunks({first_row}, {chunk_rows}) asks for no rows of a table")
        self._check_unchanged()
        has_rows = first_row > 0
        try:
            for raw in self._source.raw_rows(first_row, chunk_rows):
                has_rows = True
                self._learn()
                settings = self._casting.settings(raw)
                carried = raw.batch.select(self.carried.names)
                if len(self._files) == 1:
                    self._check_unchanged()
                yield Rows(raw.first_index, settings, carried)
        except TableError:
            # A file that is being written looks broken; that it changed is the better reason.
            self._check_unchanged()
            raise
        self._check_unchanged()
        if first_row == 0:
            self._source.settle()
            self._learn()
        if not has_rows:
            raise TableError(f"{self.path} has no rows. Write a row for each prompt.")

    def sha256(self) -> str:
        """Return `files.content_hash` of the table, in hexadecimal; reads all of it once."""
        if not self._sha256:
            self._sha256 = content_hash(self._files)
        return self._sha256

    def origin(self) -> str:
        """Return what the carried columns come from: the SHA-256, and the choice of columns if any.

        Rows of the metadata with the same origin have the columns of this table.
        """
        choice = {"carry": self._reading.carry, "drop": self._reading.drop}
        if choice == {"carry": None, "drop": []}:
            return self.sha256()
        return hashlib.sha256(f"{self.sha256()} {json.dumps(choice)}".encode()).hexdigest()

    def place(self, row_index: int) -> str:
        """Return where a row is, for a message: its file, and its index there."""
        return self._source.place(row_index)

    def _learn(self) -> None:
        if self._source.schema != self._schema:
            self._casting = self._learned()

    def _learned(self) -> Casting:
        """Match the columns known by now to settings; a setting that has its column keeps it."""
        names = self._source.schema.names
        used = matched(names, self._reading.columns, self.path)
        for setting, column in self.columns_used.items():
            if used[setting] != column:
                raise TableError(
                    f"{self.path}: column {column!r} gave the {setting}, and later rows have "
                    f"{used[setting]!r}. Choose one: reading.columns.{setting}={column}."
                )
        self.columns_used = used
        further = [name for name in names if name not in used.values()]
        carried = chosen(further, self._reading, self._source.pictures, self.path)
        self._source.choose(used.values(), carried)
        self._schema = schema = self._source.schema
        self.carried = pa.schema([field for field in schema if field.name in carried])
        self.notes = [*self._source.notes, *lookalikes(carried, used)]
        self.notes += left_out(further, self._reading, self._source.pictures)
        return Casting(used, self._reading.max_prompt_chars, self._source.has_quotes)

    def _check_unchanged(self) -> None:
        try:
            now = stamp_of(self._files)
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
    """Return the table in a file, in the files of a folder, or in those that a pattern matches.

    Reads headers only. Raises TableError.
    """
    files = files_of(path)
    sources = {file: _source(file, reading) for file in files}
    source = sources[files[0]] if files == [Path(path)] else Shards(sources)
    return Table(Path(path), reading, source, files)


def _refuse_unused(path: Path, reading: ReadingConfig) -> None:
    """Raise `TableError` for a setting of `reading` that has no effect on this kind of file."""
    of_format = {
        "CSV": ("encoding", "delimiter", "quote"), "TSV": ("encoding", "delimiter", "quote"),
        "text": ("encoding", "comments"), "Parquet": (),
    }  # fmt: skip
    known = of_format.get(str(format_of(path)), ("encoding",))
    default = ReadingConfig()
    for name in ("encoding", "delimiter", "quote", "comments"):
        value = getattr(reading, name)
        if name not in known and value != getattr(default, name):
            raise TableError(
                f"{path}: reading.{name}={value!r} has no effect on a {suffix_of(path)} file. Take "
                "it out, or name the file by what it is."
            )


def _source(path: Path, reading: ReadingConfig) -> Source:
    kind = format_of(path)
    refuse_other_kinds_of_file(path, reading.encoding)
    if kind is None:
        raise TableError(f"{path} has no suffix of a table. Tables are: {SUFFIXES}.")
    _refuse_unused(path, reading)
    match kind:
        case "CSV" | "TSV":
            return DelimitedFile(path, reading, is_tsv=kind == "TSV")
        case "JSON" | "JSON Lines":
            return JsonFile(path, reading)
        case "text":
            return TextFile(path, reading)
    return ParquetFile(path)
