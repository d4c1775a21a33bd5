"""The one writer of a job's commits: a journal, sealed into parts as it grows.

Every step may be interrupted anywhere: `contents` recognises each file by its number. Image files
are written elsewhere.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from batchgen.ledger import events
from batchgen.ledger.contents import Contents, numbered, read_contents
from batchgen.ledger.events import Event
from batchgen.ledger.journal import Journal
from batchgen.ledger.notes import NOTES, PartNotes
from batchgen.ledger.records import Key, Record, records_to_table
from batchgen.ledger.seals import atomic_parquet
from batchgen.ledger.sources import Unsealed
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder

logger = logging.getLogger(__name__)

PART_ROWS = 1000
"""Rows a journal holds before it is sealed into a part."""


class Ledger:
    """The one writer of a job's commits; its methods may be called from any thread."""

    def __init__(
        self, folder: JobFolder, run_id: str, to_schema: pa.Schema, table: str = ""
    ) -> None:
        """Open a new journal, and seal those that earlier starts left behind.

        Args:
            folder: The job's; the caller holds its lock.
            run_id: Names the start.
            to_schema: The columns of the rows to come.
            table: `Table.origin` of the prompt table that the rows' own columns are from.
        """
        contents = read_contents(folder)
        self.state = contents.state
        self._folder = folder
        self.run_id = run_id
        self._schema = to_schema
        self._table = table
        self._lock = threading.RLock()
        self._unsealed = self._empty()
        self._sequence = contents.last_sequence + 1
        self._journal = self._open_journal()
        self._suspect_unfinished(contents)
        for source in contents.journals:
            if source.unsealed is not None and not source.unsealed.is_empty:
                self._seal(source.sequence, source.unsealed)
            _remove(source.path)

    def start(self, keys: Iterable[Key], *, worker: int = 0) -> None:
        """Note which images a worker begins to make, in case they kill the process.

        They are in flight until one of them is committed or failed, or the worker starts others.
        """
        self._record(events.Start(tuple(keys), worker), durable=False)

    def commit(self, rows: Iterable[Record]) -> None:
        """Make finished images part of the dataset; their files are in place already."""
        self._record(events.Done(tuple(rows)))

    def withdraw(self, keys: Iterable[Key]) -> None:
        """Void committed images, before anything touches their files."""
        self._record(events.Void(tuple(keys)))

    def drop(self, keys: Iterable[Key]) -> None:
        """Note that images are not to be made again, then void those that are committed."""
        self._record(events.Drop(tuple(keys)))
        self._record(events.Void(tuple(keys)))

    def undrop(self) -> None:
        """Let all dropped images be made again."""
        self._record(events.Undrop())

    def fail(self, failure: Record) -> None:
        """Note that an image could not be made; `failure` is its row of failures.parquet."""
        self._record(events.Fail(failure))

    def suspect(self, keys: Iterable[Key], reason: str, run_id: str | None = None) -> None:
        """Note that a start ended on these images; they are made last, and alone, from now on.

        Args:
            keys: All that was in flight; an image that was alone is charged with an attempt.
            reason: What ended the start, in a line.
            run_id: The start that ended; this one where it is not given.
        """
        of_run = self.run_id if run_id is None else run_id
        self._record(events.Suspect(tuple(keys), of_run, reason))

    def rung(self, size: str, rung: str) -> None:
        """Note the rung of the memory ladder that worked for a size, such as 1024x768."""
        self._record(events.Rung(size, rung))

    def reset(self) -> None:
        """Forget all failures and suspects."""
        self._record(events.Reset())

    def _record(self, event: Event, *, durable: bool = True) -> None:
        """Write an event to the journal and apply it; seal the journal when it is long."""
        with self._lock:
            self._journal.append(events.as_json(event), durable=durable)
            self._unsealed.events += self.state.events_to_keep(event)
            self._unsealed.apply(event)
            self.state.apply(event)
            if len(self._unsealed.rows) + len(self._unsealed.voids) >= PART_ROWS:
                self.seal()

    def seal(self) -> None:
        """Turn the journal into a part, and open the next."""
        with self._lock:
            sealed, journal, unsealed = self._sequence, self._journal, self._unsealed
            self._sequence += 1
            self._journal, self._unsealed = self._open_journal(), self._empty()
            for worker, keys in unsealed.in_flight.items():
                self.start(keys, worker=worker)
            self._seal(sealed, unsealed)
            journal.close()
            _remove(journal.path)

    def adopt(
        self, rows: pa.Table, kept: Sequence[Event], voids: Iterable[Key], table: str
    ) -> None:
        """Make rows of another folder part of the dataset, as a part of their own.

        Args:
            rows: Their files are in place already.
            kept: Events of the other folder besides its rows.
            voids: Images that these rows replace.
            table: `Table.origin` of the rows' own columns.
        """
        with self._lock:
            if not self._unsealed.is_empty:
                self.seal()
            adopted, journal = self._sequence, self._journal
            self._sequence += 1
            self._journal = self._open_journal()
            self._write_part(adopted, rows, PartNotes.encode(voids, kept, table))
            for event in kept:
                self.state.apply(event)
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
        journal.append(events.as_json(events.Schema(self._schema, self._table)), durable=False)
        return journal

    def _empty(self) -> Unsealed:
        return Unsealed(schema=self._schema, table=self._table, has_schema=True)

    def _suspect_unfinished(self, contents: Contents) -> None:
        """Suspect the images on which an earlier start died of a fatal signal of its own.

        Those of all its workers: the note does not say which of them the signal came from. A start
        that was killed from outside leaves no crash note, and no suspects.
        """
        for source in contents.journals:
            note = self._folder.crash_note(source.run_id)
            in_flight = source.unsealed.in_flight.values() if source.unsealed else ()
            keys = list(dict.fromkeys(key for of_worker in in_flight for key in of_worker))
            if keys and note.is_file() and note.stat().st_size:
                reason = note.read_text(errors="replace").partition("\n")[0]
                logger.warning("start %s died (%s) making %s", source.run_id, reason, keys)
                self.suspect(keys, reason, source.run_id)
            _remove(note)

    def _seal(self, sequence: int, unsealed: Unsealed) -> None:
        table = records_to_table(unsealed.rows.values(), unsealed.schema)
        notes = PartNotes.encode(unsealed.voids, unsealed.events, unsealed.table)
        self._write_part(sequence, table, notes)

    def _write_part(self, sequence: int, table: pa.Table, notes: bytes) -> None:
        path = self._folder.parts / f"{sequence:08d}-{self.run_id}.parquet"
        with atomic_parquet(path, table.schema, {NOTES: notes}, sealed_in=self._folder) as writer:
            writer.write_table(table)


def remove_covered(folder: JobFolder, sequence: int) -> None:
    """Delete the parts and journals that metadata.parquet covers."""
    for place, suffix in ((folder.parts, ".parquet"), (folder.journals, ".jsonl")):
        for number, path in list(numbered(place, suffix)):
            if number <= sequence:
                _remove(path)


def _remove(path: Path) -> None:
    with storage_errors(path):
        path.unlink(missing_ok=True)
