"""The one writer of a job's commits: a journal, sealed into parts as it grows.

Every step may be cut anywhere: `contents` knows each file by its number. Image files are not this
room's business.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.ledger.contents import NOTES, Contents, Unsealed, numbered, read_contents
from batchgen.ledger.journal import Event, Journal
from batchgen.ledger.records import Record, records_to_table
from batchgen.ledger.state import Key
from batchgen.storage.atomic import atomic_file, storage_errors
from batchgen.storage.folder import JobFolder

logger = logging.getLogger(__name__)

PART_ROWS = 1000
"""Rows a journal holds before it is sealed into a part."""


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

    def fail(self, failure: Record) -> None:
        """Note that an image could not be made; `failure` is its row of failures.parquet."""
        self.record({"type": "fail", "failure": failure})

    def rung(self, size: str, rung: str) -> None:
        """Note the rung of the memory ladder that worked for a size, such as 1024x768."""
        self.record({"type": "rung", "size": size, "rung": rung})

    def reset(self) -> None:
        """Forget all failures and suspects."""
        self.record({"type": "forgive"})

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
    """Write a Parquet file that appears whole when the block ends well; see `atomic_file`."""
    with (
        atomic_file(path) as file,
        pq.ParquetWriter(file, to_schema.with_metadata(notes), compression="zstd") as writer,
    ):
        yield writer


def remove_covered(folder: JobFolder, sequence: int) -> None:
    """Delete the parts and journals that metadata.parquet covers."""
    for place, suffix in ((folder.parts, ".parquet"), (folder.journals, ".jsonl")):
        for number, path in list(numbered(place, suffix)):
            if number <= sequence:
                _remove(path)


def _remove(path: Path) -> None:
    with storage_errors(path):
        path.unlink(missing_ok=True)
