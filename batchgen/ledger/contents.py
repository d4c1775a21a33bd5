"""What is committed in a job's folder at one moment, read without changing anything.

Everything is ordered by a sequence number. A start writes journal N; sealing turns journal N into
part N and opens journal N+1; compaction merges all up to N into metadata.parquet, which says so.
What a crash leaves behind of an earlier form is recognised by its number and passed over.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import FolderError
from batchgen.ledger.journal import Event, read_events
from batchgen.ledger.records import Record
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.state import Facts, Key
from batchgen.storage.folder import JobFolder

_Read = TypeVar("_Read")

_MISSHAPEN = (KeyError, ValueError, TypeError, AttributeError)

NOTES = b"batchgen.ledger"
"""Key of what a Parquet file says of itself to the ledger, as JSON."""


@dataclass(slots=True)
class Unsealed:
    """What a journal says: rows, and the keys it withdraws from earlier files."""

    rows: dict[Key, Record] = field(default_factory=dict)
    voids: set[Key] = field(default_factory=set)
    in_flight: list[Key] = field(default_factory=list)
    """The images of the last start of which nothing more was heard."""
    schema: pa.Schema = field(default_factory=lambda: schema(METADATA))
    has_schema: bool = False
    """Whether the journal said its schema; rows of one that lost its first line do not count."""
    facts: list[Event] = field(default_factory=list)
    """The events that `facts.Facts` adds up."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost without it."""
        return not (self.rows or self.voids or self.facts)

    def apply(self, event: Event) -> None:
        """Take in one event; events of other kinds pass by."""
        match event:
            case {"type": "schema", "schema": text}:
                self.schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
                self.has_schema = True
            case {"type": "start", "keys": keys}:
                self.in_flight = [(row_key, image_index) for row_key, image_index in keys]
            case {"type": "done", "rows": rows} if self.has_schema:
                for row in rows:
                    self._settle((row["row_key"], row["image_index"]), row)
            case {"type": "void", "keys": keys}:
                for row_key, image_index in keys:
                    self.rows.pop((row_key, image_index), None)
                    self.voids.add((row_key, image_index))
            case {"type": "fail", "failure": failure}:
                self._settle((failure["row_key"], failure["image_index"]), None)

    def _settle(self, key: Key, row: Record | None) -> None:
        if row is not None:
            self.rows[key] = row
        if key in self.in_flight:
            self.in_flight = []


@dataclass(frozen=True, slots=True)
class Source:
    """A sealed file or a journal's rows; its voids hold for sources of a lower sequence."""

    sequence: int
    path: Path
    unsealed: Unsealed | None
    voids: set[Key]
    n_rows: int

    @property
    def run_id(self) -> str:
        """The start that wrote it."""
        return self.path.stem.partition("-")[2]


@dataclass(slots=True)
class Contents:
    """Everything committed in a folder at one moment, oldest source first."""

    sources: list[Source] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)
    last_sequence: int = 0

    @property
    def journals(self) -> list[Source]:
        """The sources that are not sealed."""
        return [source for source in self.sources if source.unsealed is not None]


def read_contents(folder: JobFolder) -> Contents:
    """Read what is committed, without changing anything; fit for a job that is running.

    Raises `FolderError` for a sealed file that does not open, naming it.
    """
    contents = Contents()
    if folder.metadata.exists():
        notes, n_rows = read_notes(folder, folder.metadata)
        contents.last_sequence = int(notes["covers"])
        contents.sources.append(
            Source(contents.last_sequence, folder.metadata, None, set(), n_rows)
        )
        contents.facts = Facts.from_json(notes["facts"])
    covered = contents.last_sequence
    parts = {n: path for n, path in numbered(folder.parts, ".parquet") if n > covered}
    journals = {
        n: path for n, path in numbered(folder.journals, ".jsonl") if n > covered and n not in parts
    }
    for sequence in sorted({*parts, *journals}):
        if sequence in parts:
            _add_part(contents, sequence, parts[sequence], folder)
        else:
            _add_journal(contents, sequence, journals[sequence])
        contents.last_sequence = sequence
    return contents


def consistently(folder: JobFolder, read: Callable[[], _Read]) -> _Read:
    """Return what `read` finds in a folder, reading again where files came or went meanwhile.

    A running job seals and compacts its files; between two looks rows would be missed or doubled.
    """
    while True:
        before = _listing(folder)
        try:
            found = read()
        except FileNotFoundError:
            continue
        if _listing(folder) == before:
            return found


def _listing(folder: JobFolder) -> tuple[object, ...]:
    try:
        status = folder.metadata.stat()
        metadata = (status.st_ino, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        metadata = (0, 0, 0)
    parts = sorted(numbered(folder.parts, ".parquet"))
    return (metadata, parts, sorted(numbered(folder.journals, ".jsonl")))


def numbered(folder: Path, suffix: str) -> Iterator[tuple[int, Path]]:
    """Yield the files of a folder that a sequence number begins, with their numbers."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        number = path.name.partition("-")[0]
        if path.suffix == suffix and number.isdecimal():
            yield int(number), path


def read_notes(folder: JobFolder, path: Path) -> tuple[dict[str, Any], int]:
    """Return what a Parquet file of the ledger says of itself, and how many rows it has."""
    try:
        metadata = pq.read_metadata(path)
        notes = dict(json.loads((metadata.metadata or {})[NOTES]))
        if path == folder.metadata:
            int(notes["covers"])
            Facts.from_json(notes["facts"])
        else:
            Unsealed().apply({"type": "void", "keys": notes["voids"]})
            for event in notes["events"]:
                Facts().apply(event)
    except (OSError, pa.ArrowException, *_MISSHAPEN) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FolderError(
            f"{path} does not open as a file of batchgen's ({error}). "
            f"Run: batchgen verify --repair {folder.root}"
        ) from error
    return notes, metadata.num_rows


def _add_part(contents: Contents, sequence: int, path: Path, folder: JobFolder) -> None:
    notes, n_rows = read_notes(folder, path)
    for event in notes["events"]:
        contents.facts.apply(event)
    voids = {(row_key, image_index) for row_key, image_index in notes["voids"]}
    contents.sources.append(Source(sequence, path, None, voids, n_rows))


def _add_journal(contents: Contents, sequence: int, path: Path) -> None:
    unsealed = Unsealed()
    for event in read_events(path):
        try:
            unsealed.facts += contents.facts.events_to_keep(event)
            unsealed.apply(event)
            contents.facts.apply(event)
        except (OSError, *_MISSHAPEN) as error:
            raise FolderError(
                f"{path} holds an event of another shape ({type(error).__name__}: {error}); "
                "another version of batchgen may have written it. Go on with that one, or move "
                "the file away: its images are then made again."
            ) from error
    n_rows = len(unsealed.rows)
    contents.sources.append(Source(sequence, path, unsealed, unsealed.voids, n_rows))
