"""One start of a job: lock, scan, checks, the worker, compaction.

The order of writing is what makes a resume right: start in the journal, image files on disk,
commit in the journal, parts, metadata.parquet. Whatever is interrupted in between is made again.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from batchgen.config.counts import counted
from batchgen.config.job import JobConfig, OnChange, OnMissing, OnRemoved
from batchgen.errors import (
    BatchgenError,
    ExitCode,
    Refused,
    StorageError,
    TableChanged,
    TableError,
)
from batchgen.ledger.carried import TableNow, is_followed
from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import read_contents
from batchgen.ledger.image_names import missing_keys
from batchgen.ledger.reader import n_committed
from batchgen.ledger.repair import move
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.writer import Ledger
from batchgen.plan.backlog import batches, hashed_keys
from batchgen.runner.changes import remarks
from batchgen.runner.committed import set_aside
from batchgen.runner.crash_note import crash_note
from batchgen.runner.executor import Executor
from batchgen.runner.identity import INSTANT_ROWS, Job
from batchgen.runner.opening import Opened, opened
from batchgen.runner.progress import Progress
from batchgen.runner.result import JobResult
from batchgen.runner.stopping import Stop

logger = logging.getLogger(__name__)

_STATES = {
    ExitCode.done: "finished",
    ExitCode.not_all_well: "finished",
    ExitCode.broken: "broken",
    ExitCode.stopped: "stopped",
}


def run_job(
    config: JobConfig, executor: Executor, stop: Stop, staged: Path | None = None
) -> JobResult:
    """Make what is left of a job, and return how it ended.

    All that ends a start once it has begun is told by the result: what was committed stays.

    Args:
        config: The job's.
        executor: Where batches are made; keeps models from job to job, and the caller closes it.
        stop: Says when to stop, and takes the signals.
        staged: A table that takes the place of the config's when nothing refuses the start.

    Raises:
        Refused: Nothing was started, nothing was changed.
        Stopped: A signal came before the start began.
    """
    with stop.interrupting():
        job = Job.identify(config, staged)
        finished = job.n_finished()
        if finished is not None:
            return _done_before(job, *finished)
    with ExitStack() as stack:
        with stop.interrupting():
            ready = opened(job, stack)
        return _Start(ready).run(executor, stop)


def _done_before(job: Job, n_images: int, said: list[str]) -> JobResult:
    return JobResult(
        folder=job.folder.root,
        n_images=n_images,
        n_made=0,
        n_done=n_images,
        n_failed=0,
        exit_code=ExitCode.done,
        message="; ".join([f"{counted(n_images, 'image')}, all done before", *said]),
    )


class _Start:
    """One start of a job, from the open ledger to the compacted folder."""

    def __init__(self, ready: Opened) -> None:
        self._ready = ready
        job, survey, self._lock = ready.job, ready.survey, ready.lock
        backlog = survey.backlog
        self._job, self._survey = job, survey
        self._table, self._backlog = survey.table, backlog
        run_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
        to_schema = schema(METADATA, self._table.carried)
        self._ledger = Ledger(job.folder, run_id, to_schema, self._table.origin())
        if job.config.retry.failed:
            self._ledger.reset()
        self._take_out()
        self._aside = set_aside(self._ledger.state, job.config)
        self._n_before = backlog.n_images - backlog.n_pending - backlog.n_failed
        self._progress = Progress(
            job.folder,
            run_id,
            n_images=backlog.n_images,
            n_done=self._n_before,
            failed_before=self._failed_for_good(),
        )

    def run(self, executor: Executor, stop: Stop) -> JobResult:
        """Make what is pending, compact the folder, and return how it ended."""
        error: BatchgenError | None = None
        try:
            stop.on_leaving = self._lock.clear
            with self._progress.started(self._lock.beat):
                try:
                    self._write_identity()
                    if self._backlog.n_pending:
                        self._make(executor, stop)
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

    def _take_out(self) -> None:
        """Withdraw images whose files are gone, and on request those of rows that left."""
        job, committed, folder = self._job, self._survey.committed, self._job.folder
        if job.config.on_missing is OnMissing.redo and self._ledger.state.dropped:
            self._ledger.undrop()
        if committed.missing.n_images:
            take = self._ledger.drop if committed.to_drop else self._ledger.withdraw
            for keys in missing_keys(folder, committed.contents):
                take(keys)
        left = self._survey.taken.left
        if job.config.on_removed is OnRemoved.drop and left:
            for _, name in left:
                move(folder.root / name, folder.removed / self._ledger.run_id / name)
            self._ledger.withdraw(key for key, _ in left)

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

    def _make(self, executor: Executor, stop: Stop) -> None:
        job, backlog = self._job, self._backlog
        with stop.interrupting():
            executor.open(job)
        self._progress.enter("running")
        worker = executor.worker(self._ready, self._ledger, self._progress, stop)
        todo = batches(self._table, job.config, job.identity, backlog, self._aside)
        replaces = job.config.on_change is OnChange.redo and backlog.n_changed > 0
        with crash_note(job.folder.crash_note(self._ledger.run_id)):
            worker.work(todo, self._aside, replaces=replaces)

    def _leave(self, error: BatchgenError | None, stop: Stop) -> JobResult:
        """Seal and compact the ledger, and return the result."""
        try:
            self._progress.enter("stopping")
            self._lock.check()
            self._ledger.close()
            self._compact()
            result = self._result(error, stop)
            # In this order: a kill in between leaves a job that is looked at once more.
            self._progress.enter(_STATES[result.exit_code])
            if result.exit_code is ExitCode.done:
                self._write_identity(finished=result)
        except StorageError as full:
            self._ledger.abandon()
            result = self._result(error or full, stop)
        logger.info("%s", result.message)
        return result

    def _compact(self) -> None:
        """Merge all sealed files; rows of an earlier table get the own columns of this one."""
        job, origin = self._job, self._table.origin()
        versions = {job.identity.environment: job.versions}
        try:
            is_current = is_followed(read_contents(job.folder), origin)
            now = None if is_current else TableNow(self._table)
            followed = compact(job.folder, versions, now, origin)
        except (TableChanged, TableError) as error:
            logger.warning("the table's own columns are compared at the next start: %s", error)
            followed = compact(job.folder, versions, table=origin)
        if str(followed):
            logger.warning("%s.", followed)

    def _result(self, error: BatchgenError | None, stop: Stop) -> JobResult:
        n_done, n_failed = self._progress.n_done, self._progress.n_failed
        said = [f"{counted(n_done, 'image')}, all done", *self._remarks]
        exit_code, message = ExitCode.done, "; ".join(said)
        if error is not None:
            exit_code, message = error.exit_code, str(error)
        elif self._progress.n_left:
            exit_code = ExitCode.stopped
            message = f"stopped by {stop.reason}; the same command resumes it"
        elif n_failed:
            exit_code = ExitCode.not_all_well
            message = (
                f"{counted(n_failed, 'image')} failed, see {self._job.folder.failures}; "
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

    @cached_property
    def _remarks(self) -> list[str]:
        return remarks(self._job, self._backlog, self._survey.committed.contents)

    def _write_identity(self, finished: JobResult | None = None) -> None:
        content = self._job.as_json(self._table, self._backlog)
        if finished is not None and self._backlog.n_rows <= INSTANT_ROWS:
            stamp, contents = self._table.stamp, read_contents(self._job.folder)
            content["finished"] = {
                "stamp": self._job.finished_stamp(stamp),
                "n_images": finished.n_images,
                "n_committed": n_committed(contents),
                "last_sequence": contents.last_sequence,
                **({"remarks": self._remarks} if self._remarks else {}),
            }
        self._job.folder.write_json(self._job.folder.job_json, content)
