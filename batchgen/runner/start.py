"""One start of a job: lock, scan, checks, the worker, compaction.

The order of writing is what makes a resume right: start in the journal, image files on disk,
commit in the journal, parts, metadata.parquet. Whatever is interrupted in between is made again.
"""

from __future__ import annotations

import faulthandler
import logging
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from batchgen.config.job import JobConfig, OnChange
from batchgen.errors import BatchgenError, ExitCode, JobInUse, Refused, StorageError
from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import read_contents
from batchgen.ledger.reader import merged_schema, n_committed
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.writer import Ledger
from batchgen.pipelines.base import Pipeline
from batchgen.pipelines.factory import load
from batchgen.plan.backlog import Backlog, batches, hashed_keys
from batchgen.runner.disk_space import refuse_if_full
from batchgen.runner.identity import INSTANT_ROWS, Job, notes, set_aside
from batchgen.runner.job_log import logging_to
from batchgen.runner.progress import Progress
from batchgen.runner.result import JobResult
from batchgen.runner.stopping import Stop
from batchgen.runner.worker import Worker
from batchgen.storage.atomic import clear_leftovers, storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock
from batchgen.table import Table

logger = logging.getLogger(__name__)

_STATES = {
    ExitCode.done: "finished",
    ExitCode.not_all_well: "finished",
    ExitCode.broken: "broken",
    ExitCode.stopped: "stopped",
}


class PipelineCache:
    """Keeps the last pipeline loaded, so that a grid of jobs loads its model once."""

    def __init__(self) -> None:
        self._key: Any = None
        self._pipeline: Pipeline | None = None

    def get(self, job: Job) -> Pipeline:
        """Return the pipeline of a job, loading it if the last one was another."""
        key = (job.config.model, job.config.device, job.device, job.adapters)
        if self._pipeline is None or self._key != key:
            self.close()
            self._pipeline = load(*key)
            self._key = key
        return self._pipeline

    def close(self) -> None:
        """Close the pipeline, if one is loaded."""
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = None


def run_job(config: JobConfig, cache: PipelineCache, stop: Stop) -> JobResult:
    """Make what is left of a job, and return how it ended; the caller closes the cache.

    Raises `Refused` where nothing was started. All else ends in a `JobResult`: what was committed
    until then stays.
    """
    job = Job.identify(config)
    n_finished = job.n_finished()
    if n_finished is not None:
        return JobResult(
            folder=job.folder.root,
            n_images=n_finished,
            n_made=0,
            n_done=n_finished,
            n_failed=0,
            exit_code=ExitCode.done,
            message=f"{n_finished} images, all done before",
        )
    with ExitStack() as stack:
        return _begin(job, stack).run(cache, stop)


def _begin(job: Job, stack: ExitStack) -> _Start:
    """Lock the folder, scan the table and refuse what must be refused, before anything else."""
    folder, lock = job.folder, FolderLock(job.folder.lock)
    table = job.open_table()
    is_locked = folder.hidden.is_dir()
    if is_locked:
        stack.enter_context(lock)
    contents, finished = job.committed()
    backlog = job.scan(table, contents.state, finished)
    del finished
    job.refuse_changes(backlog, contents)
    merged_schema(contents, table.carried)  # refuses a column that changed its type
    refuse_if_full(folder, job.config, backlog.n_pending)
    for note in notes(table, backlog):
        logger.warning("%s", note)
    folder.create()
    if not is_locked:
        stack.enter_context(lock)
        if read_contents(folder).last_sequence != contents.last_sequence:
            raise JobInUse(f"{folder.root} was started by another process meanwhile. Start again.")
    _clear_leftovers(folder, has_died=bool(contents.journals))
    folder.write_card()
    stack.enter_context(logging_to(folder.log))
    return _Start(job, table, backlog, lock)


def _clear_leftovers(folder: JobFolder, *, has_died: bool) -> None:
    """Delete what earlier starts were writing when they were killed; the caller holds the lock.

    A start that ends in any other way leaves no journal, and nothing half written either.
    """
    for place in (folder.root, folder.hidden, folder.parts):
        clear_leftovers(place, is_ours=True)
    for place in (folder.root / "images").glob("*") if has_died else ():
        clear_leftovers(place, is_ours=True)


class _Start:
    """One start of a job, from the open ledger to the compacted folder."""

    def __init__(self, job: Job, table: Table, backlog: Backlog, lock: FolderLock) -> None:
        self._job = job
        self._table = table
        self._backlog = backlog
        self._lock = lock
        run_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
        self._ledger = Ledger(job.folder, run_id, schema(METADATA, table.carried))
        if job.config.retry.failed:
            self._ledger.reset()
        self._aside = set_aside(self._ledger.state, job.config)
        self._n_before = backlog.n_images - backlog.n_pending - backlog.n_failed
        self._progress = Progress(
            job.folder,
            run_id,
            n_images=backlog.n_images,
            n_done=self._n_before,
            failed_before=self._failed_for_good(),
        )

    def run(self, cache: PipelineCache, stop: Stop) -> JobResult:
        """Make what is pending, compact the folder, and return how it ended."""
        error: BatchgenError | None = None
        try:
            stop.on_leaving = self._lock.clear
            with self._progress.started(self._lock.beat):
                try:
                    self._write_identity()
                    if self._backlog.n_pending:
                        self._make(cache, stop)
                except Refused:
                    raise
                except BatchgenError as early:
                    logger.info("the job stops early", exc_info=True)
                    error = early
                return self._leave(error, stop)
        except Refused:
            self._ledger.close()
            self._progress.enter("refused")
            raise

    def _failed_for_good(self) -> Counter[str]:
        """Count the images of this table that are out of attempts, by type of error."""
        spent = list(self._aside.failed)
        hashes = hashed_keys(spent).tolist()
        failures = self._ledger.state.failures
        return Counter(
            failures[key]["error_type"]
            for key, image_key in zip(spent, hashes, strict=True)
            if image_key in self._backlog.failed
        )

    def _make(self, cache: PipelineCache, stop: Stop) -> None:
        job, backlog = self._job, self._backlog
        pipeline = cache.get(job)
        self._progress.enter("running")
        worker = Worker(job, self._ledger, self._progress, stop, pipeline)
        todo = batches(self._table, job.config, job.identity, backlog, self._aside)
        replaces = job.config.on_change is OnChange.redo and backlog.n_changed > 0
        with _crash_note(job.folder.crash_note(self._ledger.run_id)):
            worker.work(todo, self._aside, replaces=replaces)

    def _leave(self, error: BatchgenError | None, stop: Stop) -> JobResult:
        """Seal and compact the ledger, and return the result."""
        try:
            self._progress.enter("stopping")
            self._ledger.close()
            compact(self._job.folder, {self._job.identity.environment: self._job.versions})
            result = self._result(error, stop)
            if result.exit_code is ExitCode.done:
                self._write_identity(finished=result)
            self._progress.enter(_STATES[result.exit_code])
        except StorageError as full:
            self._ledger.abandon()
            result = self._result(error or full, stop)
        logger.info("%s", result.message)
        return result

    def _result(self, error: BatchgenError | None, stop: Stop) -> JobResult:
        n_done, n_failed = self._progress.n_done, self._progress.n_failed
        exit_code, message = ExitCode.done, f"{n_done} images, all done"
        if error is not None:
            exit_code, message = error.exit_code, str(error)
        elif self._progress.n_left:
            exit_code = ExitCode.stopped
            message = f"stopped by {stop.reason}; the same command resumes it"
        elif n_failed:
            exit_code = ExitCode.not_all_well
            message = (
                f"{n_failed} images failed, see {self._job.folder.failures}; "
                "retry.failed=true tries them anew"
            )
        return JobResult(
            folder=self._job.folder.root,
            n_images=self._backlog.n_images,
            n_made=n_done - self._n_before,
            n_done=n_done,
            n_failed=n_failed,
            exit_code=exit_code,
            message=message,
        )

    def _write_identity(self, finished: JobResult | None = None) -> None:
        content = self._job.as_json(self._table, self._backlog)
        if finished is not None and self._backlog.n_rows <= INSTANT_ROWS:
            stamp, contents = self._table.stamp, read_contents(self._job.folder)
            content["finished"] = {
                "stamp": self._job.finished_stamp(stamp.size_bytes, stamp.mtime_ns),
                "n_images": finished.n_images,
                "n_committed": n_committed(contents),
                "last_sequence": contents.last_sequence,
            }
        self._job.folder.write_json(self._job.folder.job_json, content)


@contextmanager
def _crash_note(path: Path) -> Iterator[None]:
    """Write the stack of a fatal signal to a file, which is deleted when the block ends."""
    was_enabled = faulthandler.is_enabled()
    with storage_errors(path):
        note = path.open("w")
    with note:
        faulthandler.enable(note)
        try:
            yield
        finally:
            faulthandler.disable()
            if was_enabled and sys.__stderr__ is not None:
                faulthandler.enable(sys.__stderr__)
            path.unlink(missing_ok=True)
