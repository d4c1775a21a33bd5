"""The executor that a config names; ray is imported when a job has work for it."""

from __future__ import annotations

from importlib.util import find_spec

from batchgen.config.workers import ExecutorConfig, ExecutorKind
from batchgen.errors import ConfigError
from batchgen.executors.local import LocalExecutor
from batchgen.ledger.writer import Ledger
from batchgen.runner.executor import Executor, Work
from batchgen.runner.identity import Job
from batchgen.runner.opening import Opened
from batchgen.runner.progress import Progress
from batchgen.runner.stopping import Stop


def executor_of(config: ExecutorConfig) -> Executor:
    """Return an executor that nothing was started for yet.

    Raises `ConfigError` for `ray` where Ray is not installed.
    """
    if config.kind is ExecutorKind.local:
        return LocalExecutor()
    if find_spec("ray") is None:
        raise ConfigError(
            ["executor=ray needs Ray, which is not installed: pip install 'batchgen[ray]'."]
        )
    return _RayOnDemand(config)


class _RayOnDemand:
    """A `RayExecutor` from the first job on that has something to make."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self._executor: Executor | None = None

    def open(self, job: Job) -> None:
        if self._executor is None:
            from batchgen.executors.ray_executor import RayExecutor

            self._executor = RayExecutor(self._config)
        self._executor.open(job)

    def worker(self, ready: Opened, ledger: Ledger, progress: Progress, stop: Stop) -> Work:
        if self._executor is None:
            raise RuntimeError("no job is open")
        return self._executor.worker(ready, ledger, progress, stop)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.close()
