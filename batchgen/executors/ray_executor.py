"""The driver's side of a Ray cluster: actors, what they are given, and what is heard of them."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from batchgen.config.device import DeviceKind
from batchgen.config.workers import ExecutorConfig
from batchgen.errors import BatchgenError, DeviceError, FolderError
from batchgen.executors.cluster import START_S, connect, n_workers, resources
from batchgen.executors.ray_worker import Here, RayWorker
from batchgen.ledger.writer import Ledger
from batchgen.runner.crew import Death, Lease, Report
from batchgen.runner.executor import Work
from batchgen.runner.identity import Job
from batchgen.runner.leasing import Leasing
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.stopping import Stop
from batchgen.storage.atomic import DRAFT, storage_errors

logger = logging.getLogger(__name__)

_CLOCK_S = 10.0
_TRIES = 3
"""Workers that may die while a job is opened, and be replaced."""
_ENVIRONMENT = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
"""MindSpore and Ray each bring a protobuf of their own."""


@dataclass(slots=True)
class _Member:
    """One worker as the driver knows it."""

    actor: Any
    name: str = ""
    """Its host and device."""
    pid: int = 0
    cores: list[int] = field(default_factory=list)
    is_ready: bool = False
    """Whether it takes leases: it has opened the job, or will before it gets to them."""
    is_open: bool = False
    seen: float = field(default_factory=time.time)
    asked: Any = None
    """The sign of life that is on its way."""


class RayExecutor:
    """Makes batches with the workers of a Ray cluster; is the crew of the job that is open."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self._numbers = count()
        self._members: dict[int, _Member] = {}
        self._refs: dict[Any, int] = {}
        self._deaths: list[Death] = []
        self._is_over = threading.Event()
        self._life = threading.Thread(target=self._keep_in_touch, name="life", daemon=True)
        self._run_id = secrets.token_hex(4)
        self._shared: Path | None = None

    def open(self, job: Job) -> None:
        """Start the workers, once, and have each load the model of the job; see `Executor`."""
        self._job = job
        self._refs.clear()
        self._deaths.clear()
        self._share()
        if not ray.is_initialized():
            connect(self._config)
            self._life.start()
        for member in self._members.values():
            member.is_ready = member.is_open = False
        n_missing = n_workers(self._config, job) - len(self._members)
        for number in [*self._members, *(self._hire() for _ in range(n_missing))]:
            self._enter(number)
        begun, n_died = time.monotonic(), 0
        while self.n_coming or not all(member.is_open for member in self._members.values()):
            for death in self.wait(1.0):
                n_died += 1
                if not isinstance(death, Death) or death.is_lost or n_died > _TRIES:
                    reason = getattr(death, "reason", death)
                    raise DeviceError(f"A worker died before it was ready: {reason}")
                self.replace()
            if self.n_coming and time.monotonic() - begun > START_S:
                raise DeviceError(
                    f"{self.n_coming} of {len(self._members)} workers do not start: the cluster "
                    f"has {resources()}. Ask for fewer, executor.workers=N, or wait for others."
                )

    def worker(self, ready: Opened, ledger: Ledger, progress: Progress, stop: Stop) -> Work:
        """Return what has the batches of a start made."""
        return Leasing(ready, ledger, progress, stop, self)

    def close(self) -> None:
        """End all workers, and the cluster where it was started here."""
        self._is_over.set()
        if self._life.is_alive():  # what it calls after the end would start another cluster
            self._life.join(5)
        self._unshare()
        for number in list(self._members):
            self.dismiss(number)
        if ray.is_initialized():
            ray.shutdown()

    @property
    def workers(self) -> Collection[int]:
        """Those that take leases."""
        return [number for number, member in self._members.items() if member.is_ready]

    @property
    def n_coming(self) -> int:
        """Workers that are started, and take no leases yet."""
        return len(self._members) - len(self.workers)

    def give(self, worker: int, lease: Lease) -> None:
        """Queue a lease of a worker."""
        self._refs[self._members[worker].actor.make.remote(lease)] = worker

    def wait(self, seconds: float) -> list[Report | Death]:
        """Return what happened, after so many seconds at most; reports before deaths."""
        refs, ready = list(self._refs), []
        if refs:
            ready, _ = ray.wait(refs, num_returns=1, timeout=seconds)
            if ready and len(refs) > 1:
                ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        else:
            time.sleep(min(seconds, 0.05))
        reports = [report for ref in ready if (report := self._told(ref)) is not None]
        for number, member in list(self._members.items()):
            silent_s = time.time() - member.seen
            if member.is_open and silent_s > self._config.silence_s:
                self._lose(number, f"no sign of life for {silent_s:.0f} s")
        deaths, self._deaths = self._deaths, []
        return [*reports, *deaths]

    def replace(self) -> None:
        """Start another worker, which opens the job before it takes a lease."""
        self._enter(self._hire())

    def dismiss(self, worker: int) -> None:
        """End a worker; nothing is heard of it any more."""
        self._refs = {ref: of for ref, of in self._refs.items() if of != worker}
        member = self._members.pop(worker, None)
        if member is not None:
            ray.kill(member.actor, no_restart=True)

    def skip(self) -> None:
        """Let all leases that are not begun come back undone."""
        for member in self._members.values():
            member.actor.skip.options(concurrency_group="life").remote()

    def signs(self) -> dict[int, dict[str, Any]]:
        """Return what is known of each worker; see `Crew`."""
        return {
            number: {"device": member.name, "pid": member.pid, "seen": member.seen}
            for number, member in list(self._members.items())
        }

    def _hire(self) -> int:
        number, has_npu = next(self._numbers), self._job.device is DeviceKind.ascend
        actor = (
            ray.remote(concurrency_groups={"life": 2})(RayWorker)
            .options(
                num_cpus=self._config.cpus_per_worker,
                resources={"NPU": 1} if has_npu else None,
                max_restarts=0,
                max_task_retries=0,
                runtime_env={"env_vars": _ENVIRONMENT},
            )
            .remote(number, self._config.silence_s)
        )
        self._members[number] = _Member(actor)
        return number

    def _enter(self, number: int) -> None:
        actor = self._members[number].actor
        self._refs[actor.enter.remote(str(Path.cwd()), str(self._shared))] = number

    def _told(self, ref: Any) -> Report | None:
        """Take what a call gave: a report, where a worker is, or whether the job is open there."""
        number = self._refs.pop(ref, None)
        if number is None or number not in self._members:
            return None
        try:
            told = ray.get(ref)
        except RayActorError as error:
            self._lose(number, " ".join(str(error).split()))
            return None
        if isinstance(told, Report):
            return told
        if isinstance(told, Here):
            self._welcome(number, told)
        elif isinstance(told, BatchgenError):
            self._refuse(number, told)
        else:
            self._members[number].is_open = True
            self._members[number].seen = time.time()
        return None

    def _welcome(self, number: int, here: Here) -> None:
        """Check what a worker sees, bind it to cores of its own, and open the job there."""
        member = self._members[number]
        if not here.has_cwd or here.seen != self._run_id:
            raise FolderError(
                f"{here.host} does not see what this host writes in {self._job.folder.root}. All "
                "hosts need the job's folder under the same path, on a file system they share."
            )
        ahead_s = here.seconds - time.time()
        if abs(ahead_s) > _CLOCK_S:
            logger.warning("the clock of %s is %+.0f s from this host's", here.host, ahead_s)
        is_cpu = self._job.device is not DeviceKind.ascend
        member.pid = here.pid
        member.name = f"{here.host} cpu" if is_cpu else f"{here.host} NPU {here.npus}"
        if is_cpu and not member.cores and self._config.cpus_per_worker >= 1:
            host = f"{here.host} "
            taken = {
                core
                for other in self._members.values()
                if other.name.startswith(host)
                for core in other.cores
            }
            free = [core for core in here.cores if core not in taken]
            member.cores = free[: int(self._config.cpus_per_worker)]
        member.actor.bind.remote(member.cores)
        self._refs[member.actor.open.remote(self._job, self._run_id)] = number
        member.is_ready = True

    def _refuse(self, number: int, error: BatchgenError) -> None:
        """Raise what refuses a job at its start; later, the worker alone is lost."""
        if not any(member.is_open for member in self._members.values()):
            raise error
        self._lose(number, str(error), is_lost=isinstance(error, DeviceError))

    def _lose(self, number: int, reason: str, *, is_lost: bool = False) -> None:
        """Note that a worker is gone; a note of a crash says more than Ray does."""
        self.dismiss(number)
        note, is_crash = self._job.folder.crash_note(f"{self._run_id}-{number}"), False
        with suppress(OSError):
            text = note.read_text(errors="replace")
            if text:
                reason, is_crash = text.partition("\n")[0], True
            note.unlink()
        self._deaths.append(Death(number, reason, is_crash=is_crash, is_lost=is_lost))

    def _keep_in_touch(self) -> None:
        """Give each worker a sign of life, and note those that answer."""
        pause_s = min(self._config.silence_s / 6, 5.0)
        while not self._is_over.wait(pause_s):
            for member in list(self._members.values()):
                with suppress(RayError):
                    if member.asked is not None:
                        ray.get(member.asked, timeout=0)
                        member.seen = time.time()
                    member.asked = member.actor.sign.options(concurrency_group="life").remote()

    def _share(self) -> None:
        """Write a file that every worker must see."""
        self._unshare()
        name = f".shared.{os.getpid()}-{secrets.token_hex(4)}{DRAFT}"
        self._shared = (self._job.folder.hidden / name).absolute()
        with storage_errors(self._shared):
            self._shared.write_text(self._run_id, encoding="ascii")

    def _unshare(self) -> None:
        if self._shared is not None:
            with suppress(OSError):
                self._shared.unlink()
