"""Batches made in this process, with one pipeline."""

from __future__ import annotations

from typing import Any

from batchgen.ledger.writer import Ledger
from batchgen.pipelines.base import Pipeline
from batchgen.pipelines.factory import load
from batchgen.runner.executor import Work
from batchgen.runner.identity import Job
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.stopping import Stop
from batchgen.runner.worker import Worker


class PipelineCache:
    """Keeps the last pipeline loaded, so that a grid of jobs loads its model once."""

    def __init__(self) -> None:
        self._key: Any = None
        self._pipeline: Pipeline | None = None

    def get(self, job: Job) -> Pipeline:
        """Return the pipeline of a job, loading it if the last one was another."""
        key = (job.config.model, job.config.device, job.device, job.adapters)
        if self._pipeline is None or self._key != key:
            self.close()
            self._pipeline = load(*key)
            self._key = key
        return self._pipeline

    def close(self) -> None:
        """Close the pipeline, if one is loaded."""
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = None


class LocalExecutor:
    """Makes batches one after another in this process."""

    def __init__(self) -> None:
        self.cache = PipelineCache()
        self._pipeline: Pipeline | None = None

    def open(self, job: Job) -> None:
        """Load the model of a job; see `Executor`."""
        self._pipeline = self.cache.get(job)

    def worker(self, ready: Opened, ledger: Ledger, progress: Progress, stop: Stop) -> Work:
        """Return what makes the batches of a start."""
        if self._pipeline is None:
            raise RuntimeError("no job is open")
        return Worker(ready, ledger, progress, stop, self._pipeline)

    def close(self) -> None:
        """Close the pipeline."""
        self._pipeline = None
        self.cache.close()
