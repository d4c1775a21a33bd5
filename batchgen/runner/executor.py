"""What an executor is: where the batches of jobs are made. A start is handed one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from batchgen.ledger.writer import Ledger
from batchgen.plan.backlog import SetAside
from batchgen.plan.requests import Batch
from batchgen.runner.identity import Job
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.stopping import Stop


class Work(Protocol):
    """Makes the batches of one start."""

    def work(self, todo: Iterable[Batch], aside: SetAside, *, replaces: bool) -> None:
        """Make all batches, then what failed once more; what was made is committed at the end.

        Args:
            todo: What is to be made.
            aside: Images that failed in earlier starts.
            replaces: Whether images are withdrawn from the ledger before they are made again.

        Raises:
            CircuitOpen: Too many rows failed one after another, or no device is left.
            Stopped: The disk is full, or the table changed.
        """
        ...


class Executor(Protocol):
    """Where batches are made; serves the jobs of a grid one after another."""

    def open(self, job: Job) -> None:
        """Load the model of a job, where it is not the one of the job before.

        Raises `Refused` where model or device cannot be used.
        """
        ...

    def worker(self, ready: Opened, ledger: Ledger, progress: Progress, stop: Stop) -> Work:
        """Return what makes the batches of a start of the job that was opened last."""
        ...

    def close(self) -> None:
        """Give models and devices back; no call follows."""
        ...
