"""What is committed in a job's folder at one moment, read without changing anything.

Everything is ordered by a sequence number. A start writes journal N; sealing turns journal N into
part N and opens journal N+1; compaction merges all up to N into metadata.parquet, which says so.
What a crash leaves behind of an earlier form is recognised by its number and ignored.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from batchgen.config import shell
from batchgen.errors import FolderError
from batchgen.ledger import events
from batchgen.ledger.events import MisshapenEvent, UnknownEvent
from batchgen.ledger.journal import read_events
from batchgen.ledger.notes import UNREADABLE, MetadataNotes, PartNotes
from batchgen.ledger.sources import Source, Unsealed
from batchgen.ledger.state import LedgerState
from batchgen.storage.atomic import reading_errors
from batchgen.storage.folder import JobFolder, no_job
from batchgen.storage.kinds import refuse_other_files, refuse_other_folders

_Read = TypeVar("_Read")

_PAUSE_S = 0.05
_PATIENCE_S = 5.0
"""How long a file that is listed may be missing; some file systems show a change late."""
_MOST_READS = 100
"""How often a folder is read that was another each time."""


@dataclass(slots=True)
class Contents:
    """Everything committed in a folder at one moment, oldest source first."""

    sources: list[Source] = field(default_factory=list)
    state: LedgerState = field(default_factory=LedgerState)
    last_sequence: int = 0

    @property
    def journals(self) -> list[Source]:
        """The sources that are not sealed."""
        return [source for source in self.sources if source.unsealed is not None]


def refuse_no_job(folder: JobFolder) -> None:
    """Raise `FolderError` for a folder that is not a job."""
    if not folder.is_job():
        raise no_job(folder.root)
    refuse_other_folders(folder)


def read_contents(folder: JobFolder) -> Contents:
    """Read what is committed, without changing anything; fit for a job that is running.

    Raises:
        FolderError: A sealed file does not open, or another version wrote an event.
        FileNotFoundError: A file that is listed is gone; `consistently` reads again then.
    """
    refuse_other_files(folder)
    contents = Contents()
    if folder.metadata.exists() or folder.metadata.is_symlink():
        _add_metadata(contents, folder)
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
    """Return what `read` finds in a folder, reading again where files changed meanwhile.

    A running job seals and compacts its files; between two looks rows would be missed or doubled.

    Raises:
        FolderError: A file cannot be read, or is listed and was not there for seconds; or the
            folder was another after each of many reads.
    """
    with reading_errors(folder.root):
        return _consistently(folder, read)


def _consistently(folder: JobFolder, read: Callable[[], _Read]) -> _Read:
    missing_since: float | None = None
    for _ in range(_MOST_READS):
        before = _listing(folder)
        try:
            found = read()
        except FileNotFoundError as error:
            if _listing(folder) == before:
                missing_since = missing_since or time.monotonic()
                if time.monotonic() - missing_since >= _PATIENCE_S:
                    raise FolderError(_missing(folder, error)) from error
            time.sleep(_PAUSE_S)
            continue
        if _listing(folder) == before:
            return found
        missing_since = None
    raise FolderError(
        f"{folder.root} changes faster than it can be read: {_MOST_READS} times in a row. "
        "Try again when the job that is running in it has stopped."
    )


def _missing(folder: JobFolder, error: FileNotFoundError) -> str:
    paths = [folder.metadata, *(path for _, path in _files(folder))]
    dangling = [path for path in paths if path.is_symlink() and not path.exists()]
    if dangling:
        what = f"{dangling[0]} is a link to nothing. Restore its target, or move the link away"
    else:
        what = f"A file is listed and cannot be opened: {error}. Restore it, or move it away"
    return f"{what}: its images are then made again."


def _listing(folder: JobFolder) -> tuple[object, ...]:
    try:
        status = folder.metadata.stat()
        metadata = (status.st_ino, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        metadata = (0, 0, 0)
    return (metadata, *_files(folder))


def _files(folder: JobFolder) -> list[tuple[int, Path]]:
    """Return parts and journals with their numbers."""
    parts = sorted(numbered(folder.parts, ".parquet"))
    return parts + sorted(numbered(folder.journals, ".jsonl"))


def numbered(folder: Path, suffix: str) -> Iterator[tuple[int, Path]]:
    """Yield the files of a folder that a sequence number begins, with their numbers."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        number = path.name.partition("-")[0]
        if path.suffix == suffix and number.isdecimal():
            yield int(number), path


@contextmanager
def _refused(folder: JobFolder, path: Path) -> Iterator[None]:
    """Turn what reading the notes of a sealed file raises into a `FolderError` that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except UnknownEvent as error:
        raise _newer(path, error) from error
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            # No damage: pyarrow's own errors have no number.
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise FolderError(
            f"{path} does not open as a file that batchgen wrote ({error}). "
            f"Run: {shell.command('batchgen', 'verify', '--repair', folder.root)}"
        ) from error


def _newer(path: Path, error: UnknownEvent) -> FolderError:
    return FolderError(
        f"{path} holds {error}, which this version of batchgen does not know: a newer one wrote "
        "it. Go on with that one, or choose another name=."
    )


def _add_metadata(contents: Contents, folder: JobFolder) -> None:
    with _refused(folder, folder.metadata):
        notes = MetadataNotes.read(folder.metadata)
    contents.last_sequence, contents.state = notes.covers, notes.state
    source = Source(notes.covers, folder.metadata, None, frozenset(), notes.n_rows, notes.table)
    contents.sources.append(source)


def _add_part(contents: Contents, sequence: int, path: Path, folder: JobFolder) -> None:
    with _refused(folder, path):
        notes = PartNotes.read(path)
    for event in notes.events:
        contents.state.apply(event)
    contents.sources.append(Source(sequence, path, None, notes.voids, notes.n_rows, notes.table))


def _add_journal(contents: Contents, sequence: int, path: Path) -> None:
    unsealed = Unsealed()
    for content in read_events(path):
        try:
            event = events.parse(content)
        except UnknownEvent as error:
            raise _newer(path, error) from error
        except MisshapenEvent as error:
            raise FolderError(
                f"{path} holds {error}; another version of batchgen may have written it. Go on "
                "with that one, or move the file away: its images are then made again."
            ) from error
        unsealed.events += contents.state.events_to_keep(event)
        unsealed.apply(event)
        contents.state.apply(event)
    voids, n_rows = frozenset(unsealed.voids), len(unsealed.rows)
    source = Source(sequence, path, unsealed, voids, n_rows, unsealed.table)
    contents.sources.append(source)
