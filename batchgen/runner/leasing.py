"""The loop over the batches that a crew makes: lease, hear what came of it, commit.

What follows from a failure is what follows from it in one process. A report of a lease that was
taken away changes nothing: its files have names of their own, and are deleted.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from batchgen.config.settings import Settings
from batchgen.errors import CircuitOpen
from batchgen.images.image_file import Saved
from batchgen.ledger.writer import Ledger
from batchgen.plan.backlog import SetAside
from batchgen.plan.requests import Batch
from batchgen.runner.commits import Commits, draft_path, note_warm_up
from batchgen.runner.crew import Crew, Death, Lease, Report
from batchgen.runner.disk_space import Average
from batchgen.runner.failures import Charge, Failures
from batchgen.runner.leases import Leases, Restarts
from batchgen.runner.maker import Failed, Made
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress, utc
from batchgen.runner.stopping import Stop
from batchgen.runner.worker import probe
from batchgen.storage.atomic import clear_leftovers

logger = logging.getLogger(__name__)

_WAIT_S = 0.5


class Leasing:
    """Has the batches of one start made by a crew."""

    def __init__(
        self,
        ready: Opened,
        ledger: Ledger,
        progress: Progress,
        stop: Stop,
        crew: Crew,
    ) -> None:
        """Take what a start has."""
        self._job = ready.job
        self._ledger = ledger
        self._progress = progress
        self._stop = stop
        self._crew = crew
        self._check = ready.lock.check
        self._average = Average.of(ready.survey.backlog)
        self._rungs = {size: Rung.from_text(text) for size, text in ledger.state.rungs.items()}
        self._restarts = Restarts(self._job.config.executor.max_restarts)
        self._numbers = count(1)
        self._unheard: list[Report | Death] = []
        self._n_deaths = 0
        self._is_skipping = False
        self._began = time.time()
        self._n_made: Counter[int] = Counter()
        self._peaks: Counter[int] = Counter()
        progress.workers = self._workers

    def work(self, todo: Iterable[Batch], aside: SetAside, *, replaces: bool) -> None:
        """Make all batches, then what failed once more; see `Work`."""
        job = self._job
        self._failures = Failures(
            job.config.retry, aside.retries, is_working=self._is_working, log=job.folder.log
        )
        self._commits = Commits(
            job, self._ledger, self._progress, self._failures.attempt, self._average
        )
        try:
            self._pass(iter(todo), replaces=replaces)
            self._commits.record(self._failures.settled())
            again = (Batch((image,)) for image in self._failures.to_try_again())
            self._pass(again, replaces=False)
            self._commits.record(self._failures.settled())
        except BaseException:
            self._crew.skip()
            raise
        finally:
            for place in job.folder.images.glob("*"):
                clear_leftovers(place, is_ours=True)

    def _pass(self, todo: Iterator[Batch], *, replaces: bool) -> None:
        self._leases = Leases(todo, self._job.config.executor.lease, self._numbers)
        while not self._leases.is_over:
            self._check()
            if self._stop.reason is None:
                self._fill(replaces=replaces)
            elif not self._leases.n_held:
                return
            elif not self._is_skipping:
                self._is_skipping = True
                self._crew.skip()
            self._hear(self._unheard or self._crew.wait(_WAIT_S))

    def _fill(self, *, replaces: bool) -> None:
        """Give batches to all workers with room, a batch each in turn."""
        has_given = True
        while has_given:
            has_given = False
            for worker in self._crew.workers:
                if not self._leases.has_room(worker):
                    continue
                batch = self._next(replaces=replaces)
                if batch is None:
                    return
                number = self._leases.give(worker, batch)
                self._crew.give(worker, Lease(number, batch, self._mark(number), self._rungs))
                has_given = True
        if not self._crew.workers and not self._crew.n_coming:
            raise CircuitOpen(
                f"No worker is left: {self._n_deaths} died, and executor.max_restarts="
                f"{self._job.config.executor.max_restarts} are replaced. Look at the log, "
                f"{self._job.folder.log}; the same command goes on."
            )

    def _next(self, *, replaces: bool) -> Batch | None:
        """Return the next batch to be made; those that are given up are recorded on the way."""
        while (found := self._leases.next()) is not None:
            batch, is_new = found
            if replaces and is_new:
                self._commits.withdraw(batch.pending)
            charge = self._given_up(batch)
            if charge is None:
                return batch
            self._commits.record([charge])
        return None

    def _given_up(self, batch: Batch) -> Charge | None:
        if len(batch.requests) > 1:
            return None
        image = batch.requests[0]
        return self._failures.given_up(image, self._ledger.state.suspects.get(image.key))

    def _mark(self, number: int) -> str:
        return f"{self._ledger.run_id}-{number}"

    def _hear(self, happened: Sequence[Report | Death]) -> None:
        """Commit what was made, then see to what went wrong."""
        self._unheard = []
        reports = [report for one in happened if (report := self._of_lease(one)) is not None]
        self._commit(reports)
        for report in reports:
            self._follow(report)
        for one in happened:
            if isinstance(one, Death):
                self._bury(one)

    def _of_lease(self, one: Report | Death) -> Report | None:
        """Return a report whose lease still holds; what is left of another is deleted."""
        if isinstance(one, Death):
            return None
        batch = self._leases.ended(one.worker, one.number)
        if batch is None:
            logger.warning("a late report of worker %d changes nothing", one.worker)
            for draft, _, _ in self._made(one):
                draft.unlink(missing_ok=True)
            return None
        if one.is_skipped:
            self._leases.put_back(batch)
        elif one.lost is not None:
            self._leases.put_back(batch)
            self._retire(one.worker, one.lost)
            return None
        return one

    def _made(self, report: Report) -> list[tuple[Path, Made, Saved]]:
        mark = self._mark(report.number)
        return [
            (draft_path(self._job, made.request, mark), made, saved)
            for made, saved in (one for one in report.outcomes if not isinstance(one, Failed))
        ]

    def _commit(self, reports: Sequence[Report]) -> None:
        made = [one for report in reports for one in self._made(report)]
        for report in reports:
            for size, rung in report.rungs.items():
                logger.warning("worker %d makes %s with %s from now on", report.worker, size, rung)
                self._rungs[size] = rung
                self._ledger.rung(size, str(rung))
        if made:
            self._commits.publish([(draft, one) for draft, one, _ in made])
            self._commits.commit([(one, saved) for _, one, saved in made])
            self._restarts.made(len(made))
            n_workers = len(self._crew.workers) or 1
            note_warm_up(self._progress, [one for _, one, _ in made], n_workers)

    def _follow(self, report: Report) -> None:
        """Charge failures, as `Failures` has it; raise what stops the job."""
        for outcome in report.outcomes:
            if isinstance(outcome, Failed):
                self._commits.record(self._failures.failed(outcome))
            else:
                self._commits.record(self._failures.succeeded())
                self._n_made[report.worker] += 1
                peak = outcome[0].call.generation.peak_memory_bytes
                self._peaks[report.worker] = max(self._peaks[report.worker], peak)
        if report.error is not None:
            raise report.error

    def _bury(self, death: Death) -> None:
        """Give what a worker held to others, and let another take its place."""
        self._n_deaths += 1
        logger.warning("worker %d died: %s", death.worker, death.reason)
        if death.is_lost:
            self._retire(death.worker, death.reason)
            return
        blamed = self._leases.died(death.worker, is_crash=death.is_crash)
        if blamed is not None:
            # Each death is a run of its own: an attempt of an image that was alone.
            of_run = f"{self._ledger.run_id}-{death.worker}"
            keys = [image.key for image in blamed.pending]
            self._ledger.suspect(keys, death.reason, of_run)
            if len(blamed.requests) == 1:
                self._failures.died(blamed.requests[0])
        if self._restarts.allow():
            self._crew.replace()

    def _retire(self, worker: int, reason: str) -> None:
        logger.error("worker %d retires, its device is lost: %s", worker, reason)
        self._leases.retired(worker)
        self._crew.dismiss(worker)
        if not self._crew.workers and not self._crew.n_coming:
            raise CircuitOpen(
                f"The last device is lost: {reason}. Look at `npu-smi info` and the log; no row is "
                "charged with it."
            )

    def _is_working(self, settings: Settings) -> bool:
        """Have a test picture made; return whether it succeeded. Other news is heard later."""
        for worker in list(self._crew.workers)[:1]:
            batch = probe(settings)
            number = next(self._numbers)
            self._crew.give(worker, Lease(number, batch, "", self._rungs, is_probe=True))
            while True:
                for one in self._crew.wait(_WAIT_S):
                    if one.worker == worker and isinstance(one, Death):
                        self._unheard.append(one)
                        return False
                    if isinstance(one, Report) and one.number == number:
                        is_whole = not any(isinstance(out, Failed) for out in one.outcomes)
                        return is_whole and one.lost is None
                    self._unheard.append(one)
        return False

    def _workers(self) -> list[dict[str, Any]]:
        """Return a line of status.json for each worker."""
        seconds = max(time.time() - self._began, 1e-9)
        return [
            {
                "worker": worker,
                "device": sign["device"],
                "pid": sign["pid"],
                "n_made": self._n_made[worker],
                "images_per_s": round(self._n_made[worker] / seconds, 4),
                "peak_memory_bytes": self._peaks[worker],
                "heartbeat": utc(sign["seen"]),
            }
            for worker, sign in sorted(self._crew.signs().items())
        ]
