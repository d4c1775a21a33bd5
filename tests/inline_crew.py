"""A crew without processes: each worker is an object here, and faults are told beforehand."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from batchgen.executors.ray_worker import RayWorker
from batchgen.ledger.writer import Ledger
from batchgen.runner.crew import Death, Lease, Report
from batchgen.runner.executor import Work
from batchgen.runner.identity import Job
from batchgen.runner.leasing import Leasing
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.stopping import Stop

Fault = Callable[[int, Lease], "Death | Report | None"]


class InlineExecutor:
    """Makes one lease of each worker at each `wait`, or has the fault that `fault` returns."""

    def __init__(self, n_workers: int, fault: Fault = lambda _, __: None) -> None:
        self._n_workers = n_workers
        self._fault = fault
        self._queues: dict[int, deque[Lease]] = {}
        self._workers: dict[int, RayWorker] = {}
        self.made: list[tuple[int, Lease]] = []
        """All leases that were begun, with their worker."""
        self.n_hired = 0
        self.late: list[Report] = []
        """What is heard at the next `wait`, besides."""

    def open(self, job: Job) -> None:
        """Have the workers open a job."""
        self._job = job
        while len(self._workers) < self._n_workers:
            self.replace()

    def worker(self, ready: Opened, ledger: Ledger, progress: Progress, stop: Stop) -> Work:
        """Return the loop over the leases."""
        return Leasing(ready, ledger, progress, stop, self)

    def close(self) -> None:
        """End all workers."""
        self._workers.clear()

    @property
    def workers(self) -> Collection[int]:
        """Those that take leases."""
        return list(self._workers)

    @property
    def n_coming(self) -> int:
        """None: a worker is there at once."""
        return 0

    def give(self, worker: int, lease: Lease) -> None:
        """Queue a lease."""
        self._queues[worker].append(lease)

    def wait(self, seconds: float) -> list[Report | Death]:
        """Make the first lease of each worker."""
        assert seconds > 0
        late, self.late = self.late, []
        happened = [
            self._made(number, self._queues[number].popleft())
            for number in list(self._workers)
            if self._queues[number]
        ]
        return sorted([*late, *happened], key=lambda one: isinstance(one, Death))

    def replace(self) -> None:
        """Have another worker."""
        worker = RayWorker(self.n_hired, silence_s=10**6)
        refused = worker.open(self._job, "run")
        assert refused is None
        self._workers[self.n_hired], self._queues[self.n_hired] = worker, deque()
        self.n_hired += 1

    def dismiss(self, worker: int) -> None:
        """Forget a worker."""
        self._workers.pop(worker, None)
        self._queues[worker].clear()

    def skip(self) -> None:
        """Leave what is not begun."""
        for worker in self._workers.values():
            worker.skip()

    def signs(self) -> dict[int, dict[str, Any]]:
        """Return what status.json says of workers."""
        now = time.time()
        return {number: {"device": "here cpu", "pid": 1, "seen": now} for number in self._workers}

    def _made(self, number: int, lease: Lease) -> Report | Death:
        self.made.append((number, lease))
        fault = self._fault(number, lease)
        if isinstance(fault, Death):
            self.dismiss(number)
        return fault or self._workers[number].make(lease)
