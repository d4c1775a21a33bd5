"""What is committed in a job's folder: journals, sealed parts, metadata.parquet.

Everything is ordered by a sequence number. A start writes journal N; sealing turns journal N into
part N and opens journal N+1; compaction merges all up to N into metadata.parquet, which says so.
What a crash leaves behind of an earlier form is recognised by its number and passed over, so every
step may be cut anywhere. Image files are not this room's business.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import FolderError
from batchgen.folder import JobFolder
from batchgen.ledger.columns import METADATA, schema
from batchgen.ledger.facts import Facts, Key
from batchgen.ledger.journal import Event, Journal, read_events
from batchgen.ledger.records import Record, records_to_table
from batchgen.storage import storage_errors, sync_folder

logger = logging.getLogger(__name__)

PART_ROWS = 1000
"""Rows a journal holds before it is sealed into a part."""

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
    parts = {n: path for n, path in _numbered(folder.parts, ".parquet") if n > covered}
    journals = {
        n: path
        for n, path in _numbered(folder.journals, ".jsonl")
        if n > covered and n not in parts
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
    parts = sorted(_numbered(folder.parts, ".parquet"))
    return (metadata, parts, sorted(_numbered(folder.journals, ".jsonl")))


def _numbered(folder: Path, suffix: str) -> Iterator[tuple[int, Path]]:
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


class Ledger:
    """The one writer of a job's commits; its methods may be called from any thread."""

    def __init__(self, folder: JobFolder, run_id: str, to_schema: pa.Schema) -> None:
        """Open a new journal, and seal those that earlier starts left behind."""
        contents = read_contents(folder)
        self.facts = contents.facts
        self._folder = folder
        self.run_id = run_id
        self._schema = to_schema
        self._lock = threading.RLock()
        self._unsealed = Unsealed(schema=self._schema, has_schema=True)
        self._sequence = contents.last_sequence + 1
        self._journal = self._open_journal()
        self._blame_the_dead(contents)
        for source in contents.journals:
            if source.unsealed is not None and not source.unsealed.is_empty:
                self._seal(source.sequence, source.unsealed)
            _remove(source.path)

    def start(self, keys: list[Key]) -> None:
        """Note which images are being made, in case they kill the process."""
        self.record({"type": "start", "keys": keys}, durable=False)

    def commit(self, rows: list[Record]) -> None:
        """Make finished images part of the dataset; their files are in place already."""
        self.record({"type": "done", "rows": rows})

    def withdraw(self, keys: list[Key]) -> None:
        """Void committed images, before anything touches their files."""
        self.record({"type": "void", "keys": keys})

    def suspect(self, keys: list[Key], reason: str, run_id: str | None = None) -> None:
        """Note that a start ended on these images; they are made last, and alone, from now on."""
        of_run = self.run_id if run_id is None else run_id
        self.record({"type": "suspect", "keys": keys, "run_id": of_run, "reason": reason})

    def record(self, event: Event, *, durable: bool = True) -> None:
        """Write an event to the journal and take it in; seal the journal when it is long."""
        with self._lock:
            self._journal.append(event, durable=durable)
            self._unsealed.facts += self.facts.events_to_keep(event)
            self._unsealed.apply(event)
            self.facts.apply(event)
            if len(self._unsealed.rows) + len(self._unsealed.voids) >= PART_ROWS:
                self.seal()

    def seal(self) -> None:
        """Turn the journal into a part, and open the next."""
        with self._lock:
            sealed, journal, unsealed = self._sequence, self._journal, self._unsealed
            self._sequence += 1
            self._journal, self._unsealed = (
                self._open_journal(),
                Unsealed(schema=self._schema, has_schema=True),
            )
            if unsealed.in_flight:
                self.start(unsealed.in_flight)
            self._seal(sealed, unsealed)
            journal.close()
            _remove(journal.path)

    def close(self) -> None:
        """Seal what is there and close; the folder then holds sealed files only."""
        with self._lock:
            if not self._unsealed.is_empty:
                self._seal(self._sequence, self._unsealed)
            self._journal.close()
            _remove(self._journal.path)

    def abandon(self) -> None:
        """Close the journal as it is, where nothing more can be written."""
        self._journal.close()

    def _open_journal(self) -> Journal:
        journal = Journal(self._folder.journals / f"{self._sequence:08d}-{self.run_id}.jsonl")
        text = base64.b64encode(self._schema.serialize().to_pybytes()).decode()
        journal.append({"type": "schema", "schema": text}, durable=False)
        return journal

    def _blame_the_dead(self, contents: Contents) -> None:
        """Suspect the images on which an earlier start died of a fatal signal of its own.

        A start that was killed from outside leaves no crash note, and blames nobody.
        """
        for source in contents.journals:
            note = self._folder.crash_note(source.run_id)
            in_flight = source.unsealed.in_flight if source.unsealed else []
            if in_flight and note.is_file() and note.stat().st_size:
                reason = note.read_text(errors="replace").partition("\n")[0]
                logger.warning("start %s died (%s) making %s", source.run_id, reason, in_flight)
                self.suspect(in_flight, reason, source.run_id)
            _remove(note)

    def _seal(self, sequence: int, unsealed: Unsealed) -> None:
        table = records_to_table(unsealed.rows.values(), unsealed.schema)
        notes = {"voids": sorted(unsealed.voids), "events": unsealed.facts}
        path = self._folder.parts / f"{sequence:08d}-{self.run_id}.parquet"
        with sealed_parquet(path, table.schema, {NOTES: json.dumps(notes).encode()}) as writer:
            writer.write_table(table)


@contextmanager
def sealed_parquet(
    path: Path, to_schema: pa.Schema, notes: dict[bytes, bytes]
) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file under a hidden name; it appears whole when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(path):
        try:
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as file:
                with pq.ParquetWriter(
                    file, to_schema.with_metadata(notes), compression="zstd"
                ) as writer:
                    yield writer
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_covered(folder: JobFolder, sequence: int) -> None:
    """Delete the parts and journals that metadata.parquet covers."""
    for place, suffix in ((folder.parts, ".parquet"), (folder.journals, ".jsonl")):
        for number, path in list(_numbered(place, suffix)):
            if number <= sequence:
                _remove(path)


def _remove(path: Path) -> None:
    with storage_errors(path):
        path.unlink(missing_ok=True)
