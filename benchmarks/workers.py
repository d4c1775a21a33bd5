"""What a driver could commit, and the rate of many workers over the ideal one.

    python benchmarks/workers.py [--images 20000] [--workers 2,4,8] [--seconds 60]

A crew that draws nothing hands the driver finished rows with empty files; the driver's peak memory
after a job of a tenth stands beside that after all. Then `model=fake` sleeps half a second an
image, over a Ray cluster on this host; loading is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections import deque
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import batchgen
from batchgen.config.names import config_from
from batchgen.executors.choice import executor_of
from batchgen.images.image_file import Saved
from batchgen.ledger.writer import Ledger
from batchgen.pipelines.base import Generation, Picture
from batchgen.runner.commits import draft_path
from batchgen.runner.crew import Death, Lease, Report
from batchgen.runner.executor import Work
from batchgen.runner.identity import Job
from batchgen.runner.leasing import Leasing
from batchgen.runner.maker import Call, Made
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.start import run_job
from batchgen.runner.stopping import Stop

LATENCY_S = 0.5
_EMPTY = hashlib.sha256(b"").hexdigest()
_NONE = np.zeros((0, 0, 3), dtype=np.uint8)


class Nothing:
    """An executor, and its crew of 64 workers, whose leases are finished when they are given."""

    def __init__(self) -> None:
        self._reports: deque[Report] = deque()
        self._folders: set[Path] = set()

    def open(self, job: Job) -> None:
        """Take the job."""
        self._job = job

    def worker(self, ready: Opened, ledger: Ledger, progress: Progress, stop: Stop) -> Work:
        """Return the loop over the leases."""
        return Leasing(ready, ledger, progress, stop, self)

    def close(self) -> None:
        """Nothing is held."""

    @property
    def workers(self) -> Collection[int]:
        """All of them."""
        return range(64)

    @property
    def n_coming(self) -> int:
        """None."""
        return 0

    def give(self, worker: int, lease: Lease) -> None:
        """Write an empty file and have the report ready."""
        image = lease.batch.requests[0]
        generation = Generation([Picture(_NONE, True)], 0.0, 0.0, 0.0, 0)
        made = Made(image, 0, Call(lease.batch, generation, 0.0, Rung(), False))
        draft = draft_path(self._job, image, lease.mark)
        if draft.parent not in self._folders:
            draft.parent.mkdir(exist_ok=True)
            self._folders.add(draft.parent)
        draft.touch()
        self._reports.append(Report(worker, lease.number, [(made, Saved(_EMPTY, _EMPTY, 0))]))

    def wait(self, seconds: float) -> list[Report | Death]:
        """Return some reports: four at a time are more than 64 NPUs give at once."""
        del seconds
        return [self._reports.popleft() for _ in range(min(4, len(self._reports)))]

    def replace(self) -> None:
        """No worker dies."""

    def dismiss(self, worker: int) -> None:
        """No worker is dismissed."""

    def skip(self) -> None:
        """Nothing is waiting."""

    def signs(self) -> dict[int, dict[str, Any]]:
        """Return what status.json says of workers."""
        return {n: {"device": "none", "pid": 0, "seen": time.time()} for n in self.workers}


def table(folder: Path, n_rows: int) -> Path:
    """Write a table of prompts."""
    path = folder / "t.csv"
    path.write_text("prompt\n" + "".join(f"a drawing of {n} cats\n" for n in range(n_rows)))
    return path


def share_of_ideal(n_workers: int, seconds: float) -> float:
    """Return the rate of workers that sleep, once all have begun, over the one they sleep at."""
    n_images = int(seconds / LATENCY_S) * n_workers
    with tempfile.TemporaryDirectory() as place:
        config = config_from({
            "table": str(table(Path(place), n_images)), "output_root": place,
            "model": {"name": "fake", "latency_s": LATENCY_S},
            "sampling": {"width": 64, "height": 64},
            "executor": {"kind": "ray", "workers": n_workers, "cpus_per_worker": 0.25},
        })  # fmt: skip
        with closing(executor_of(config.executor)) as executor:
            folder = run_job(config, executor, Stop(None)).folder
        created = batchgen.read_metadata(folder)["created_at"].sort_values()
    begun = created.iloc[n_workers - 1]
    n_after = int((created > begun).sum())
    return float(n_after * LATENCY_S / n_workers / (created.iloc[-1] - begun).total_seconds())


def driver_alone(n_images: int) -> float:
    """Return the images a driver commits in a second."""
    with tempfile.TemporaryDirectory() as place:
        config = config_from({
            "table": str(table(Path(place), n_images)), "output_root": place, "model": "fake",
            "sampling": {"width": 64, "height": 64},
        })  # fmt: skip
        begun = time.perf_counter()
        result = run_job(config, Nothing(), Stop(None))
        seconds = time.perf_counter() - begun
    if result.n_made != n_images:
        raise RuntimeError(result.message)
    return n_images / seconds


def peak_mib() -> float:
    """Return the most memory this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", default="2,4,8")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    driver_alone(options.images // 10)
    before = peak_mib()
    rate = driver_alone(options.images)
    print(
        f"driver alone: {rate:.0f} images/s over {options.images:,}; peak memory {peak_mib():.0f} "
        f"MiB, and {before:.0f} MiB after a job of a tenth"
    )
    for n_workers in map(int, filter(None, options.workers.split(","))):
        share = share_of_ideal(n_workers, options.seconds)
        print(f"{n_workers} workers: {share:.3f} of the ideal rate", flush=True)


if __name__ == "__main__":
    main()
