"""What runs in a worker: a pipeline, leases in, reports out. Knows nothing of Ray.

A worker writes image files under hidden names and nothing else; the driver commits. It ends when
its driver gives no sign of life.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata as distributions
from pathlib import Path

import numpy as np

from batchgen import errors
from batchgen.config.device import DeviceKind
from batchgen.errors import BatchgenError, DeviceError, DeviceHung, DeviceLost, ImageError
from batchgen.executors.local import PipelineCache
from batchgen.images.image_file import Saved
from batchgen.pipelines.base import Picture
from batchgen.plan.requests import ImageRequest
from batchgen.runner.commits import draft_path, save_picture
from batchgen.runner.crash_note import crash_note
from batchgen.runner.crew import Lease, Report
from batchgen.runner.identity import Job
from batchgen.runner.maker import Failed, Made, Maker
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.stopping import Watchdog

logger = logging.getLogger(__name__)

_NO_PIXELS = np.zeros((0, 0, 3), dtype=np.uint8)
_CORES = Path("/sys/devices/system/cpu/online")


@dataclass(frozen=True, slots=True)
class Here:
    """Where a worker runs."""

    host: str
    pid: int
    seconds: float
    """Its clock, since the epoch."""
    seen: str | None
    """What the file holds that the driver wrote; None where it is not there."""
    has_cwd: bool
    cores: list[int]
    """All of the host, whatever the process is bound to."""
    npus: str | None
    """`ASCEND_RT_VISIBLE_DEVICES`."""


class RayWorker:
    """Makes the leases of one worker, one after another."""

    def __init__(self, number: int, silence_s: float) -> None:
        """Take a number; the process ends after so many seconds without `sign`."""
        self._number = number
        self._silence_s = silence_s
        self._heard = time.monotonic()
        self._cache = PipelineCache()
        self._is_skipping = False
        threading.Thread(target=self._end_when_alone, name="life", daemon=True).start()

    def enter(self, cwd: str, shared: str) -> Here:
        """Go to the driver's working folder, and tell what is seen from here.

        Args:
            cwd: The folder that relative paths begin at.
            shared: A file that the driver wrote into the job's folder.
        """
        try:
            os.chdir(cwd)
            has_cwd = True
        except OSError:
            has_cwd = False
        try:
            seen = Path(shared).read_text(encoding="ascii")
        except OSError:
            seen = None
        return Here(
            socket.gethostname(),
            os.getpid(),
            time.time(),
            seen,
            has_cwd,
            _all_cores(),
            os.environ.get("ASCEND_RT_VISIBLE_DEVICES"),
        )

    def bind(self, cores: Sequence[int]) -> None:
        """Keep to some cores; before mindspore is imported, which counts them."""
        if cores:
            os.sched_setaffinity(0, cores)
            os.environ["OMP_NUM_THREADS"] = str(len(cores))

    def open(self, job: Job, run_id: str) -> BatchgenError | None:
        """Load the model of a job, where the last one was another. Returns what refuses it."""
        self._is_skipping = False
        self._job = job
        versions = {name: _version(name) for name in job.versions}
        if versions != job.versions:
            return DeviceError(
                f"{socket.gethostname()} has {_named(versions)}, and the driver has "
                f"{_named(job.versions)}: the pictures could differ. Install the same versions."
            )
        npus = os.environ.get("ASCEND_RT_VISIBLE_DEVICES", "")
        if job.device is DeviceKind.ascend and not npus.isdecimal():
            return DeviceError(
                f"Worker {self._number} on {socket.gethostname()} should see one NPU, and has "
                f"ASCEND_RT_VISIBLE_DEVICES={npus!r}. Unset "
                "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES there."
            )
        self._note = job.folder.crash_note(f"{run_id}-{self._number}")
        self._learned: dict[str, Rung] = {}
        try:
            pipeline = self._cache.get(job)
        except BatchgenError as error:
            return error
        watchdog = Watchdog(job.config.timeout.batch_s, self._on_hang, _leave)

        @contextmanager
        def around(_: Sequence[ImageRequest]) -> Iterator[None]:
            with watchdog.watching():
                yield

        self._maker = Maker(
            pipeline,
            {},
            is_tiled=job.config.model.is_tiled,
            on_rung=self._learned.__setitem__,
            around=around,
        )
        return None

    def make(self, lease: Lease) -> Report:
        """Make the pictures of a lease and write their files."""
        report = Report(self._number, lease.number)
        if self._is_skipping:
            return replace(report, is_skipped=True)
        self._learned.clear()
        self._maker.learn(lease.rungs)
        outcomes: list[tuple[Made, Saved] | Failed] = []
        try:
            with crash_note(self._note):
                for outcome in self._maker.make(lease.batch):
                    if not isinstance(outcome, Made):
                        outcomes.append(portable(outcome))
                    elif not lease.is_probe:
                        outcomes.append(self._saved(outcome, lease.mark))
        except DeviceLost as error:
            return replace(report, lost=str(error))
        except BatchgenError as error:
            return replace(report, outcomes=outcomes, rungs=dict(self._learned), error=error)
        return replace(report, outcomes=outcomes, rungs=dict(self._learned))

    def skip(self) -> None:
        """Leave all leases undone that are not begun, until another job is opened."""
        self._is_skipping = True

    def sign(self) -> float:
        """Hear that the driver lives, and return the time here."""
        self._heard = time.monotonic()
        return time.time()

    def _saved(self, made: Made, mark: str) -> tuple[Made, Saved] | Failed:
        try:
            saved = save_picture(self._job, made, draft_path(self._job, made.request, mark))
        except ImageError as error:
            return portable(Failed(made.request, error, len(made.call.batch.requests)))
        return _without_pixels(made), saved

    def _on_hang(self, batch_s: float) -> None:
        self._note.write_text(f"{DeviceHung.__name__}: over timeout.batch_s={batch_s:g}\n")

    def _end_when_alone(self) -> None:
        while time.monotonic() - self._heard < self._silence_s:
            time.sleep(min(1.0, self._silence_s / 4))
        _leave()


def portable(failed: Failed) -> Failed:
    """Return a failure that another process can read, which need not have the error's class."""
    error, kind = failed.error, type(failed.error)
    frames = failed.frames or "".join(traceback.format_exception(error, limit=-6))
    told: BaseException
    if kind.__module__ == errors.__name__:
        told = kind(str(error))
    else:
        told = type(kind.__name__, (Exception,), {})(str(error))
    return replace(failed, error=told, frames=frames)


def _without_pixels(made: Made) -> Made:
    generation = made.call.generation
    pictures = [
        Picture(_NO_PIXELS, one.is_finite, one.token_count, one.truncated)
        for one in generation.pictures
    ]
    call = replace(made.call, generation=replace(generation, pictures=pictures))
    return replace(made, call=call)


def _leave() -> None:
    os._exit(1)


def _version(name: str) -> str:
    try:
        return distributions.version(name)
    except distributions.PackageNotFoundError:
        return "none"


def _named(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _all_cores() -> list[int]:
    """Return the cores of this host; a Ray worker inherits the mask of whoever started Ray."""
    try:
        ranges = [part.split("-") for part in _CORES.read_text().strip().split(",")]
    except OSError:
        return sorted(os.sched_getaffinity(0))
    return [core for ends in ranges for core in range(int(ends[0]), int(ends[-1]) + 1)]
