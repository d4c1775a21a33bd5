"""What happens before a start writes anything: lock, scan, and every reason to refuse."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace

from batchgen.errors import JobInUse
from batchgen.ledger.contents import Contents, read_contents
from batchgen.ledger.image_names import uncommitted
from batchgen.ledger.seals import clear_seals, refuse_altered
from batchgen.plan.backlog import Backlog
from batchgen.runner import changes
from batchgen.runner.changes import Taken
from batchgen.runner.committed import Committed, committed, scanned
from batchgen.runner.disk_space import Average, refuse_if_full
from batchgen.runner.identity import Job
from batchgen.runner.job_log import logging_to
from batchgen.runner.vouching import vouch
from batchgen.storage.atomic import clear_leftovers, copy_atomically, storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock
from batchgen.table import Table

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a job has to do, and what is to be said before it begins."""

    table: Table
    committed: Committed
    backlog: Backlog
    taken: Taken
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Opened:
    """A job whose folder is locked, in which nothing is in the way."""

    job: Job
    survey: Survey
    lock: FolderLock


def surveyed(job: Job) -> Survey:
    """Read the whole table, and compare it with what the folder holds. Changes nothing.

    Raises whatever a start refuses: `TableError`, `JobChanged`, `FolderError`, `StorageError` for a
    disk that is too small.
    """
    if job.merged is not None and job.merged.lock.exists():
        FolderLock(job.merged.lock).probe()
    table = job.open_table()
    held = committed(job)
    changes.refuse_carried_settings(job)
    changes.refuse_other_table(job, table)
    changes.refuse_missing(job, held.missing)
    backlog = scanned(job, table, held)
    contents = held.contents
    changes.refuse_own_seeds(job, table, backlog)
    changes.refuse_changes(job, table, backlog, contents)
    if backlog.n_pending:
        refuse_if_full(job.folder, job.config, backlog.n_pending, Average.of(backlog))
    gone = changes.taken(backlog, contents)
    notes = changes.notes(job, table, backlog, held, gone)
    return Survey(table, held, backlog, gone, notes)


def opened(job: Job, stack: ExitStack) -> Opened:
    """Lock a job's folder and make it ready; nothing is written before all that refuses has passed.

    Args:
        job: The job.
        stack: Holds the lock and the log.

    Raises:
        Refused: Nothing was started, nothing was changed.
        StorageError: The disk is too small, or the folder cannot be written.
    """
    folder, lock = job.folder, FolderLock(job.folder.lock)
    is_locked = folder.hidden.is_dir()
    if is_locked:
        stack.enter_context(lock)
    survey = surveyed(job)
    contents = survey.committed.contents
    for source in contents.sources:
        refuse_altered(folder, source.path)
    general = {*survey.table.notes, *survey.backlog.cautions}
    for note in survey.notes:  # those on table and settings are the same for all points of a grid
        logger.warning("%s", note, extra={"once": note in general})
    folder.create()
    if not is_locked:
        stack.enter_context(lock)
        if read_contents(folder).last_sequence != contents.last_sequence:
            raise JobInUse(f"{folder.root} was started by another process meanwhile. Start again.")
    _clear_leftovers(folder, contents)
    folder.write_card()
    vouch(job, survey.table, survey.backlog)
    if job.staged is not None:
        copy_atomically(job.staged, folder.kept_table)
        job = replace(job, staged=None)
        survey = replace(survey, table=job.open_table())
    stack.enter_context(logging_to(folder.log))
    for note in survey.notes:
        logger.info("%s", note)
    return Opened(job, survey, lock)


def _clear_leftovers(folder: JobFolder, contents: Contents) -> None:
    """Delete what earlier starts were writing when they were killed; the caller holds the lock.

    A start that ends in any other way leaves no journal and nothing half written, but perhaps an
    image of an earlier format or an empty crash note that could not be deleted.
    """
    for place in (folder.root, folder.hidden, folder.parts, folder.seals):
        clear_leftovers(place, is_ours=True)
    clear_seals(folder)
    for place in folder.images.glob("*") if contents.journals else ():
        clear_leftovers(place, is_ours=True)
    of_journals = {folder.crash_note(source.run_id) for source in contents.journals}
    notes = [note for note in folder.crash_notes() if note not in of_journals]
    for path in [*notes, *uncommitted(folder, contents)]:
        with storage_errors(path):
            path.unlink(missing_ok=True)
