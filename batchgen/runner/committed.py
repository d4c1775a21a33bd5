"""What is committed of a job, and what is left to make of it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchgen.config.job import JobConfig, OnMissing
from batchgen.ledger.contents import Contents, consistently, read_contents
from batchgen.ledger.finished import load_finished
from batchgen.ledger.image_names import ImageNames, Missing, missing_keys
from batchgen.ledger.records import Key
from batchgen.ledger.state import LedgerState
from batchgen.plan.backlog import Backlog, Before, Finished, SetAside
from batchgen.plan.scan import scan
from batchgen.runner.identity import Job
from batchgen.runner.vouching import vouched
from batchgen.storage.folder import JobFolder
from batchgen.table import Table


@dataclass(frozen=True, slots=True)
class Committed:
    """What a job's folder holds."""

    contents: Contents
    finished: Finished
    """The images that are done; those whose files are gone are not."""
    missing: Missing
    to_drop: list[Key]
    """Images whose files are gone, where they are to be left out from now on."""


def committed(job: Job) -> Committed:
    """Return what a job's folder holds, and as a set of what is done.

    What a shard's whole job has is done as well.
    """
    mode = job.config.on_missing

    def read() -> Committed:
        contents = read_contents(job.folder)
        finished, missing = _finished(job, job.folder, contents)
        gone: list[Key] = []
        if missing.n_images and mode is OnMissing.drop:
            gone = [key for keys in missing_keys(job.folder, contents) for key in keys]
        return Committed(contents, finished, missing, gone)

    own, merged = consistently(job.folder, read), job.merged
    if merged is None:
        return own
    done = consistently(merged, lambda: _finished(job, merged, read_contents(merged)))[0]
    return replace(own, finished=own.finished.beside(done))


def _finished(job: Job, folder: JobFolder, contents: Contents) -> tuple[Finished, Missing]:
    same = dict.fromkeys(job.same_environments, job.identity.environment)
    names = None if job.config.on_missing is OnMissing.trust else ImageNames(folder)
    return load_finished(contents, same, names)


def scanned(job: Job, table: Table, committed: Committed) -> Backlog:
    """Read the whole table and compare it with what is committed.

    Windows of rows that are done are not read where an earlier start vouches for the table.
    """
    aside = set_aside(committed.contents.state, job.config, committed.to_drop)
    known = None if aside.dropped else vouched(job, table)
    before = Before(committed.finished, aside, known)
    return scan(table, job.config, job.identity, before, job.demands)


def set_aside(state: LedgerState, config: JobConfig, to_drop: Iterable[Key] = ()) -> SetAside:
    """Return which images are no longer made in their batch, or not at all.

    Args:
        state: What the ledger records of failures and suspects.
        config: How often an image may fail, and what is done about files that are gone.
        to_drop: Images to be left out from now on, besides those that were before.
    """
    is_undone = config.on_missing is OnMissing.redo
    dropped = {*to_drop} if is_undone else {*state.dropped, *to_drop}
    if config.retry.failed:
        return SetAside({}, {}, {}, dropped)
    attempts = {key: failure["attempt"] for key, failure in state.failures.items()}
    spent = {k: n for k, n in attempts.items() if n >= config.retry.max_attempts}
    retries = {key: n for key, n in attempts.items() if key not in spent}
    for key, suspect in state.suspects.items():
        retries[key] = spent.pop(key, retries.get(key, 0)) + len(suspect.alone)
    fingerprints = {key: state.failures[key]["fingerprint"] for key in spent}
    return SetAside(retries, spent, fingerprints, dropped)
