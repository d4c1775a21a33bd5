"""Progress of a job: a bar on a terminal, a line now and then elsewhere, and status.json."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from tqdm import tqdm

from batchgen.errors import StorageError
from batchgen.ledger.records import Key
from batchgen.runner.streams import Courtesy
from batchgen.storage.folder import JobFolder

logger = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
LINE_S = 30.0


class Progress:
    """Counts what is done and failed; a thread updates the terminal and status.json."""

    def __init__(
        self,
        folder: JobFolder,
        run_id: str,
        *,
        n_images: int,
        n_done: int,
        failed_before: Counter[str],
    ) -> None:
        """Start counting; `failed_before` are the images that are failed for good, by type."""
        self._folder = folder
        self._run_id = run_id
        self._n_images, self._n_done = n_images, n_done
        self._failed_before = failed_before
        self._failed: dict[Key, str] = {}
        self._n_before = n_done + failed_before.total()
        self._started = time.time()
        self._state = "loading"
        self._load_s: float | None = None
        self._warm_up_s, self._n_warm_up = 0.0, 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._n_done_before = n_done
        self.workers: Callable[[], list[dict[str, Any]]] = list
        """Returns what is known of each worker, where there are several."""
        terminal = Courtesy(sys.stderr)
        self._bar = tqdm(
            total=n_images,
            initial=self._n_before,
            unit="image",
            file=terminal,
            disable=not terminal.isatty(),
            smoothing=0.05,
        )

    @contextmanager
    def started(self, beat: Callable[[], None]) -> Iterator[None]:
        """Report until the `with` block ends; `beat` is called with every heartbeat."""
        self.write()
        thread = threading.Thread(
            target=self._keep_reporting, args=(beat,), name="heartbeat", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._bar.close()

    @property
    def n_done(self) -> int:
        """Images that are committed."""
        return self._n_done

    @property
    def n_failed(self) -> int:
        """Images that failed and were not made since."""
        return self._failed_before.total() + len(self._failed)

    @property
    def n_left(self) -> int:
        """Images neither done nor failed."""
        return max(self._n_images - self._n_done - self.n_failed, 0)

    def done(self, keys: Collection[Key]) -> None:
        """Count images that were committed; they no longer count as failed."""
        with self._lock:
            self._n_done += len(keys)
            for key in keys:
                self._failed.pop(key, None)
            self._bar.update(len(keys))

    def failed(self, key: Key, error_type: str) -> None:
        """Count an image that failed; a second time changes the type only."""
        with self._lock:
            self._failed[key] = error_type

    def warmed_up(self, seconds: float, n_images: int) -> None:
        """Leave images out of the rate that were made while kernels were compiled."""
        with self._lock:
            self._warm_up_s += seconds
            self._n_warm_up += n_images

    def enter(self, state: str) -> None:
        """Set the state: running, stopping, finished, stopped, broken, refused or merged."""
        self._state = state
        if state == "running":
            self._load_s = time.time() - self._started
        self.write()

    def write(self) -> None:
        """Write status.json; where that fails, the job goes on, and its own files tell more."""
        try:
            with self._writing:  # an older snapshot must not replace a newer one
                self._folder.write_json(self._folder.status_json, self.snapshot())
        except StorageError as error:
            logger.warning("status.json is not up to date: %s", error)

    def snapshot(self) -> dict[str, Any]:
        """Return the content of status.json; times are UTC."""
        workers = self.workers()
        with self._lock:
            rate = self._images_per_s()
            return {
                "state": self._state,
                "run_id": self._run_id,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": utc(self._started),
                "heartbeat": utc(time.time()),
                "n_images": self._n_images,
                "n_done": self._n_done,
                "n_made": self._n_done - self._n_done_before,
                "n_failed": self.n_failed,
                "n_left": self.n_left,
                "failed_by_type": dict(self._failed_before + Counter(self._failed.values())),
                "load_s": None if self._load_s is None else round(self._load_s, 3),
                "warm_up_s": round(self._warm_up_s, 3),
                "images_per_s": round(rate, 4),
                "left_s": round(self.n_left / rate, 1) if rate else None,
                **({"workers": workers} if workers else {}),
            }

    def _images_per_s(self) -> float:
        """Return the rate without loading and warm-up; with all of it before there is another."""
        seconds = time.time() - self._started
        n_made = self._n_done + self.n_failed - self._n_before
        n_steady = n_made - self._n_warm_up
        if n_steady > 0:
            n_made, seconds = n_steady, seconds - (self._load_s or 0.0) - self._warm_up_s
        return max(n_made, 0) / max(seconds, 1e-9)

    def _keep_reporting(self, beat: Callable[[], None]) -> None:
        last_line = time.monotonic()
        while not self._over.wait(HEARTBEAT_S):
            try:
                self.write()
                beat()
            except StorageError as error:  # the job's own next write raises it too, and stops
                logger.warning("no heartbeat: %s", error)
            if self._bar.disable and time.monotonic() - last_line >= LINE_S:
                last_line = time.monotonic()
                Courtesy(sys.stderr).write(f"{line(self.snapshot())}\n")


def line(status: dict[str, Any]) -> str:
    """Return a status in one line: done, failed, left, rate and time left."""
    left = _left(status["left_s"])
    failed = f", {status['n_failed']} failed" if status["n_failed"] else ""
    return (
        f"{status['n_done']}/{status['n_images']} images{failed}, {status['n_left']} to go, "
        f"{status['images_per_s']:.3g} images/s, {left}"
    )


def _left(left_s: float | None) -> str:
    if left_s is None:
        return "time left unknown"
    return f"{left_s / 3600:.1f} h left" if left_s >= 5400 else f"{left_s / 60:.0f} min left"


def utc(seconds: float) -> str:
    """Return seconds since the epoch as status.json has them."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
