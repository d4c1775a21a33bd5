"""The loop over batches: make each, record the outcomes, and retry what failed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from batchgen.config.settings import Settings
from batchgen.errors import CircuitOpen, DeviceHung, DeviceLost
from batchgen.ledger.records import Key
from batchgen.ledger.writer import Ledger
from batchgen.pipelines.base import Pipeline
from batchgen.plan.backlog import SetAside
from batchgen.plan.requests import Batch, ImageRequest
from batchgen.runner.commits import Commits, note_warm_up
from batchgen.runner.disk_space import Average
from batchgen.runner.failures import Charge, Failures
from batchgen.runner.maker import Failed, Made, Maker
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.saver import Saver
from batchgen.runner.stopping import Stop, Watchdog

logger = logging.getLogger(__name__)

_WAITING_IMAGES = 8
_Item = TypeVar("_Item")


class Worker:
    """Makes batches with one pipeline, until all are made or a stop is requested."""

    def __init__(
        self,
        ready: Opened,
        ledger: Ledger,
        progress: Progress,
        stop: Stop,
        pipeline: Pipeline,
    ) -> None:
        """Take what a start has."""
        job = ready.job
        self._job = job
        self._ledger = ledger
        self._progress = progress
        self._stop = stop
        self._check = ready.lock.check
        self._average = Average.of(ready.survey.backlog)
        self._in_flight: list[Key] = []
        self._watchdog = Watchdog(job.config.timeout.batch_s, self._on_hang, stop.leave)
        self._maker = Maker(
            pipeline,
            {size: Rung.from_text(text) for size, text in ledger.state.rungs.items()},
            is_tiled=job.config.model.is_tiled,
            on_rung=lambda size, rung: ledger.rung(size, str(rung)),
            around=self._around,
        )

    def work(self, todo: Iterable[Batch], aside: SetAside, *, replaces: bool) -> None:
        """Make all batches, then what failed once more; see `runner.executor.Work`."""
        retry, folder = self._job.config.retry, self._job.folder
        failures = Failures(retry, aside.retries, is_working=self._is_working, log=folder.log)
        commits = Commits(self._job, self._ledger, self._progress, failures.attempt, self._average)

        def unsaved(failed: Failed) -> None:
            commits.record([failures.charge(failed)])

        room = max(2, _WAITING_IMAGES // self._job.config.batch_size)
        with Saver(commits.save, commits.commit, unsaved, room=room) as saver:
            make = partial(self._make, failures=failures, commits=commits, saver=saver)
            for batch in self._until_stopped(todo):
                if replaces:
                    commits.withdraw(batch.pending)
                make(batch)
            _record(failures.settled(), commits, saver)
            for image in self._until_stopped(failures.to_try_again()):
                make(Batch((image,)))
            _record(failures.settled(), commits, saver)

    def _until_stopped(self, items: Iterable[_Item]) -> Iterator[_Item]:
        for item in items:
            if self._stop.reason is not None:
                return
            self._check()
            yield item

    def _make(self, batch: Batch, failures: Failures, commits: Commits, saver: Saver) -> None:
        """Make a batch, and pass on its pictures before its failures.

        Killed between the two, the job makes the whole batch again, as it was.
        """
        if len(batch.requests) == 1:
            image = batch.requests[0]
            charge = failures.given_up(image, self._ledger.state.suspects.get(image.key))
            if charge is not None:
                _record([charge], commits, saver)
                return
        made: list[Made] = []
        charges: list[Charge] = []
        try:
            for outcome in self._maker.make(batch):
                if isinstance(outcome, Made):
                    made.append(outcome)
                    charges += failures.succeeded()
                else:
                    charges += failures.failed(outcome)
        except DeviceLost as error:
            raise CircuitOpen(
                f"The device is lost: {error}. Look at `npu-smi info` and the log; no row is "
                "charged with it."
            ) from error
        finally:
            note_warm_up(self._progress, made)
            _record(charges, commits, saver, made)

    def _is_working(self, settings: Settings) -> bool:
        """Make a test picture with the settings of a failed image; return whether it succeeded."""
        outcomes = self._maker.make(probe(settings))
        return all(isinstance(outcome, Made) for outcome in outcomes)

    @contextmanager
    def _around(self, batch: Sequence[ImageRequest]) -> Iterator[None]:
        """Record what is being made, and watch the time, for one call of the pipeline."""
        self._in_flight = [image.key for image in batch]
        self._ledger.start(self._in_flight)
        with self._watchdog.watching():
            yield

    def _on_hang(self, batch_s: float) -> None:
        reason = f"{DeviceHung.__name__}: over timeout.batch_s={batch_s:g}"
        logger.error("%s; images %s", reason, self._in_flight)
        self._ledger.suspect(self._in_flight, reason)
        self._progress.enter("stopped")


def probe(settings: Settings) -> Batch:
    """Return a batch of one test picture, with the settings of an image that failed."""
    settings = replace(settings, prompt="a photo", seed=0)
    return Batch((ImageRequest("", -1, 0, settings, "0" * 16, 0, True, {}),))


def _record(
    charges: Sequence[Charge], commits: Commits, saver: Saver, made: Sequence[Made] = ()
) -> None:
    """Commit pictures, then record charges, in the committing thread."""
    saver.submit(list(made), then=partial(commits.record, charges) if charges else None)
